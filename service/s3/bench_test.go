package s3_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/malote/malote/malotetest"
)

const benchSize = 64 << 20

func BenchmarkPutObject(b *testing.B) {
	request := transfers(b)
	content := bytes.Repeat([]byte("0123456789abcdef"), benchSize/16)
	b.SetBytes(benchSize)
	for b.Loop() {
		request(http.MethodPut, content)
	}
}

func BenchmarkGetObject(b *testing.B) {
	request := transfers(b)
	request(http.MethodPut, bytes.Repeat([]byte("0123456789abcdef"), benchSize/16))
	b.SetBytes(benchSize)
	for b.Loop() {
		request(http.MethodGet, nil)
	}
}

// transfers sends requests for one object whose signatures say nothing of the body, so that
// the client has no work.
func transfers(b *testing.B) func(method string, content []byte) {
	sys := malotetest.New(b)
	newBucket(b, client(sys.Config()), "bench")
	keys, err := sys.Config().Credentials.Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return func(method string, content []byte) {
		r, err := http.NewRequestWithContext(b.Context(), method, sys.Endpoint()+"/bench/k", bytes.NewReader(content))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		if err := v4.NewSigner().SignHTTP(b.Context(), keys, r, "UNSIGNED-PAYLOAD", "s3", malotetest.Region, time.Now()); err != nil {
			b.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			b.Fatal(response.Status)
		}
	}
}
