package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	"golang.org/x/crypto/bcrypt"
)

// A Registry is Debian's docker-registry behind a password, for images that are
// private. Docker speaks plain HTTP with it, as it does with any of the loopback.
type Registry struct {
	Address            string // 127.0.0.1:port
	Username, Password string
}

// NewRegistry starts a registry for the duration of the test.
func NewRegistry(t testing.TB, username, password string) *Registry {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Registry{listener.Addr().String(), username, password}
	listener.Close()
	dir := t.TempDir()
	users, settings := filepath.Join(dir, "users"), filepath.Join(dir, "registry.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\nauth: {htpasswd: {realm: test, path: %q}}\n",
		filepath.Join(dir, "data"), r.Address, users)
	for path, content := range map[string]string{users: username + ":" + string(hash) + "\n", settings: config} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var output bytes.Buffer
	command := exec.Command("docker-registry", "serve", settings)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatalf("starting docker-registry (Debian package docker-registry): %v", err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("docker-registry: %s", output.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + r.Address + "/v2/")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusUnauthorized {
				return r
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("docker-registry does not answer: %v", err)
		}
	}
}

// Push puts an image into the registry, and only there, and returns its reference.
func (r *Registry) Push(t testing.TB, docker *client.Client, name string, image Image) string {
	t.Helper()
	image.Ref = r.Address + "/" + name
	ref := Build(t, docker, image)
	auth, err := authconfig.Encode(registry.AuthConfig{Username: r.Username, Password: r.Password})
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := docker.ImagePush(t.Context(), ref, client.ImagePushOptions{RegistryAuth: auth})
	if err == nil {
		err = pushed.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("pushing %s: %v", ref, err)
	}
	r.Forget(t, docker, ref)
	return ref
}

// Forget has Docker drop its copy of an image, so that it must be pulled.
func (r *Registry) Forget(t testing.TB, docker *client.Client, ref string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if _, err := docker.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: true, PruneChildren: true}); err != nil {
		t.Fatalf("removing %s: %v", ref, err)
	}
}
