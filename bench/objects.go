package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const objectSize = 256 << 20

// serveFiles is what objects are measured against: net/http with a folder behind it, and
// the file on disk before it is answered, as malote has it.
func serveFiles() error {
	dir, listen := os.Args[2], os.Args[3]
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(dir, filepath.Base(r.URL.Path))
		if r.Method == http.MethodGet {
			http.ServeFile(w, r, path)
			return
		}
		if err := keepFile(path, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

func keepFile(path string, body io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Sync(), f.Close())
}

// zeros would be too easy for a disk: block is sent again and again.
var block = func() []byte {
	b := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

type repeated struct{ left, at int }

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.left)], block[r.at:])
	r.left -= n
	r.at = (r.at + n) % len(block)
	return n, nil
}

// objects measures how fast the body of one object goes in and comes out.
func (b *bench) objects(ctx context.Context) (err error) {
	files, err := b.filesServer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.stop()) }()
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	key := accessKey{"AKIABENCHADMIN000001", "only-for-the-benchmark/0000000000000001"}
	dir := filepath.Join(b.dir, "objects")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	server, err := b.launch("objects", b.malote, []string{"server", "--listen", addr, "--data-dir", dir}, "MALOTE_ADMIN_ACCESS_KEY_ID="+key.id, "MALOTE_ADMIN_SECRET_ACCESS_KEY="+key.secret)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	for _, listening := range []string{addr, files.addr} {
		if err := until(ctx, func() (bool, error) {
			conn, err := net.Dial("tcp", listening)
			if err == nil {
				conn.Close()
			}
			return err == nil, nil
		}); err != nil {
			return err
		}
	}
	if _, err := transfer(ctx, &key, http.MethodPut, "http://"+addr+"/bench-objects", 0); err != nil {
		return err
	}
	objectSum() // not while the clock runs
	var puts, gets []float64
	var put, get time.Duration
	for i := range b.rounds + 1 {
		took := map[string]time.Duration{}
		for _, call := range []struct{ method, what, url string }{
			{http.MethodPut, "put malote", "http://" + addr + "/bench-objects/one"}, {http.MethodPut, "put file", "http://" + files.addr + "/one"},
			{http.MethodGet, "get malote", "http://" + addr + "/bench-objects/one"}, {http.MethodGet, "get file", "http://" + files.addr + "/one"},
		} {
			if took[call.what], err = transfer(ctx, &key, call.method, call.url, objectSize); err != nil {
				return fmt.Errorf("%s: %w", call.what, err)
			}
		}
		if i == 0 {
			continue // it warms up
		}
		puts = append(puts, took["put file"].Seconds()/took["put malote"].Seconds())
		gets = append(gets, took["get file"].Seconds()/took["get malote"].Seconds())
		put, get = took["put malote"], took["get malote"]
	}
	resident, _, err := server.resident()
	if err != nil {
		return err
	}
	rate := func(d time.Duration) float64 { return objectSize / d.Seconds() / (1 << 20) }
	b.add(figure{what: "PutObject of 256 MiB ÷ net/http to a file, throughput", value: median(puts), must: 0.5, aim: 0.7, more: true, detail: fmt.Sprintf("%s; the last %.0f MiB/s", spread(puts), rate(put))})
	b.add(figure{what: "GetObject of 256 MiB ÷ net/http from a file, throughput", value: median(gets), must: 0.5, aim: 0.7, more: true, detail: fmt.Sprintf("%s; the last %.0f MiB/s", spread(gets), rate(get))})
	b.add(figure{what: "  memory after that", value: resident, unit: "MiB", must: 100, aim: 60})
	return nil
}

func (b *bench) filesServer() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "files")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := b.launch("files", self, []string{"files", dir, addr})
	if err != nil {
		return nil, err
	}
	p.addr = addr
	return p, nil
}

// objectSum is the checksum that clients send by default.
var objectSum = sync.OnceValue(func() string {
	h := crc32.NewIEEE()
	_, _ = io.Copy(h, &repeated{left: objectSize})
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
})

// transfer sends, or gets, size bytes and says how long that took. The signature says
// nothing of the body, so that the client has no work.
func transfer(ctx context.Context, key *accessKey, method, url string, size int) (time.Duration, error) {
	var body io.Reader
	if method == http.MethodPut {
		body = &repeated{left: size}
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, err
	}
	if method == http.MethodPut {
		if r.ContentLength = int64(size); size == 0 {
			r.Body = http.NoBody
		}
	}
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	if size > 0 && method == http.MethodPut {
		r.Header.Set("X-Amz-Checksum-Crc32", objectSum())
	}
	keys := aws.Credentials{AccessKeyID: key.id, SecretAccessKey: key.secret}
	if err := v4.NewSigner().SignHTTP(ctx, keys, r, "UNSIGNED-PAYLOAD", "s3", region, time.Now()); err != nil {
		return 0, err
	}
	began := time.Now()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK || method == http.MethodGet && n != int64(size) {
		return 0, fmt.Errorf("%s, %d bytes", response.Status, n)
	}
	return time.Since(began), nil
}
