package gateway_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/malote/malote/gateway"
)

// discard is a response writer that costs nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkGetSecretValue is what the gateway adds to an operation: signature, decoding,
// validation, the call, encoding, the line in the log. Most of a client's wait is
// net/http's.
func BenchmarkGetSecretValue(b *testing.B) {
	for name, log := range map[string]*slog.Logger{"quiet": nil, "logging": slog.New(slog.NewJSONHandler(io.Discard, nil))} {
		b.Run(name, func(b *testing.B) {
			h, err := gateway.New(gateway.Config{Services: services(), Credentials: directory{}, Log: log})
			if err != nil {
				b.Fatal(err)
			}
			const body = `{"SecretId":"prod/shop/database-password"}`
			r := signedRequest(b, b.Context(), "POST", "http://127.0.0.1/", "secretsmanager", body)
			r.Header.Set("X-Amz-Target", getSecret)
			sign(b, r, "secretsmanager", body)
			r.RemoteAddr = "127.0.0.1:1234"
			reader := bytes.NewReader(nil)
			r.Body = io.NopCloser(reader)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset([]byte(body))
				clear(w.header)
				h.ServeHTTP(w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}
