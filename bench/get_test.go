package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store/bolt"
)

// BenchmarkGetSecretValue is what a request costs without net/http: for profiles.
//
//	go test -run - -bench GetSecretValue -cpuprofile cpu.out ./bench
func BenchmarkGetSecretValue(b *testing.B) {
	handler, d := openHandler(b)
	var requests []*http.Request
	var bodies [][]byte
	for _, raw := range d.reads("GetSecretValue", few) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Fatal(err)
		}
		r.RemoteAddr = "127.0.0.1:1234"
		requests, bodies = append(requests, r), append(bodies, body)
	}
	w := &answer{header: http.Header{}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := requests[i%len(requests)]
		r.Body = io.NopCloser(bytes.NewReader(bodies[i%len(requests)]))
		w.reset()
		handler.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status, string(w.body))
		}
	}
}

// answer is a http.ResponseWriter.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answer) reset()                 { clear(a.header); a.body = a.body[:0] }
func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }
func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// BenchmarkServer is GetSecretValue over net/http, client included.
func BenchmarkServer(b *testing.B) {
	handler, d := openHandler(b)
	server, err := gateway.Listen(b.Context(), gateway.ListenConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, handler) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	requests := d.reads("GetSecretValue", few)
	var next atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		c, err := dial(server.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		for pb.Next() {
			if err := c.do(requests[int(next.Add(1))%len(requests)]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// openHandler opens a control plane as malote server does.
func openHandler(b *testing.B) (http.Handler, *data) {
	run := &bench{dir: b.TempDir()}
	d, err := run.fill(b.Context(), few)
	if err != nil {
		b.Fatal(err)
	}
	file, err := bolt.Open(filepath.Join(d.dir, "malote.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	records, err := audit.Open(filepath.Join(d.dir, "audit.log"), audit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { records.Close() })
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	plane, err := controlplane.Open(b.Context(), controlplane.Config{
		Store: file, Seal: seal.NewFile(filepath.Join(d.dir, "root.key")), Audit: records,
		Log:       slog.New(slog.NewTextHandler(log, nil)),
		Bootstrap: directory.BootstrapConfig{Account: account},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { plane.Close() })
	return plane.Handler, d
}
