//go:build clouds

package blobs_test

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/malote/malote/service/s3/blobs"
)

// connection is Azurite's, which every Azurite has.
//
// https://learn.microsoft.com/en-us/azure/storage/common/storage-connect-azurite
const connection = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://"

// Microsoft's emulator is a place like the others.
func TestAzurite(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	azurite := exec.Command("azurite-blob", "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", t.TempDir(), "--blobHost", host, "--blobPort", port)
	azurite.Stdout, azurite.Stderr = os.Stderr, os.Stderr
	if err := azurite.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = azurite.Process.Kill(); _ = azurite.Wait() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	text := connection + address + "/devstoreaccount1;"
	client, err := container.NewClientFromConnectionString(text, "bodies", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", text)
	place, err := blobs.Open(t.Context(), "azblob://bodies?prefix=malote/")
	if err != nil {
		t.Fatal(err)
	}
	keepsItsPromises(t, place)
}
