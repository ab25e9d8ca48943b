package authority_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/malote/malote/controlplane/authority"
	"github.com/malote/malote/keyring"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, st store.Store, c *clock) *authority.Authority {
	t.Helper()
	a, err := authority.Open(t.Context(), st, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// handshake connects and returns the certificate that was shown.
func handshake(t *testing.T, server *authority.Server, trust []byte, name string, at time.Time) (*x509.Certificate, error) {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(trust) {
		t.Fatal("no certificates")
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: server.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(io.Discard, conn)
	}()
	ours, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(ours, &tls.Config{RootCAs: pool, ServerName: name, Time: func() time.Time { return at }})
	err = client.Handshake()
	var shown *x509.Certificate
	if err == nil {
		shown = client.ConnectionState().PeerCertificates[0]
	}
	ours.Close()
	<-done
	listener.Close()
	return shown, err
}

func TestNames(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now()}
	a := open(t, memory.New(), c)
	server, err := a.Server([]string{"Malote.example.com", "*.s3.example.com", "127.0.0.1", "::1"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"malote.example.com": true, "bucket.s3.example.com": true, "127.0.0.1": true, "::1": true,
		"s3.example.com": false, "dotted.bucket.s3.example.com": false, "example.com": false, "10.0.0.1": false,
	} {
		if _, err := handshake(t, server, a.PEM(), name, c.now()); (err == nil) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	for _, bad := range []string{"", "a b", "https://malote", "malote:4510", "*", "s3.*.example.com", "-a"} {
		if _, err := a.Server([]string{bad}, quiet); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

func TestAStrangersAuthorityIsNotOurs(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now()}
	a, b := open(t, memory.New(), c), open(t, memory.New(), c)
	server, err := a.Server([]string{"localhost"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, b.PEM(), "localhost", c.now()); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("error = %v", err)
	}
}

// The certificate is another well before it ends, and clients notice nothing.
func TestRenewal(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now()}
	a := open(t, memory.New(), c)
	trust := a.PEM()
	server, err := a.Server([]string{"localhost"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 40 {
		shown, err := handshake(t, server, trust, "localhost", c.now())
		if err != nil {
			t.Fatal(err)
		}
		if left := shown.NotAfter.Sub(c.now()); left < 15*24*time.Hour {
			t.Fatalf("%v are left", left)
		}
		seen[shown.SerialNumber.String()] = true
		c.advance(24 * time.Hour)
	}
	if len(seen) < 3 || len(seen) > 5 {
		t.Errorf("%d certificates in 40 days", len(seen))
	}
}

// All control planes on one store have one authority, whichever was first; it outlives them.
func TestOneStoreOneAuthority(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now()}
	st := memory.New()
	pems := make([][]byte, 8)
	var planes sync.WaitGroup
	for i := range pems {
		planes.Go(func() {
			a, err := authority.Open(context.Background(), st, c.now)
			if err != nil {
				t.Error(err)
				return
			}
			pems[i] = a.PEM()
		})
	}
	planes.Wait()
	for _, p := range pems[1:] {
		if !bytes.Equal(p, pems[0]) {
			t.Fatal("two authorities")
		}
	}
	if !bytes.Equal(open(t, st, c).PEM(), pems[0]) {
		t.Error("another authority after a restart")
	}
}

// In the last year of an authority clients are told of its heir, which takes over before
// the end: whoever fetched the file in that time notices nothing.
func TestHeir(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now()}
	st := memory.New()
	first := open(t, st, c).PEM()
	c.advance((3650 - 300) * 24 * time.Hour)
	both := open(t, st, c)
	if n := bytes.Count(both.PEM(), []byte("BEGIN")); n != 2 {
		t.Fatalf("%d authorities, want 2", n)
	}
	server, err := both.Server([]string{"localhost"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, first, "localhost", c.now()); err != nil {
		t.Errorf("who knows the first alone: %v", err)
	}
	c.advance(250 * 24 * time.Hour)
	shown, err := handshake(t, server, both.PEM(), "localhost", c.now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, first, "localhost", c.now()); err == nil {
		t.Errorf("the first still signs, until %v", shown.NotAfter)
	}
	c.advance(100 * 24 * time.Hour)
	if n := bytes.Count(open(t, st, c).PEM(), []byte("BEGIN")); n != 1 {
		t.Errorf("%d authorities after the end of the first", n)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now()}
	st := memory.New()
	a := open(t, st, c)
	old := a.PEM()
	server, err := a.Server([]string{"localhost"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Replace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, a.PEM(), "localhost", c.now()); err != nil {
		t.Errorf("with the new authority: %v", err)
	}
	if _, err := handshake(t, server, old, "localhost", c.now()); err == nil {
		t.Error("the old authority still signs")
	}
	if !bytes.Equal(open(t, st, c).PEM(), a.PEM()) {
		t.Error("the old authority is back after a restart")
	}
}

// What the store has of the key is sealed.
func TestTheKeyIsSealed(t *testing.T) {
	t.Parallel()
	raw := memory.New()
	ring, err := keyring.Open(t.Context(), raw, seal.NewFile(filepath.Join(t.TempDir(), "root.key")))
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{t: time.Now()}
	open(t, ring, c)
	found := false
	err = raw.View(t.Context(), func(tx store.Tx) error {
		for entry, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			found = found || entry.Key == "authority"
			if bytes.Contains(entry.Value, []byte("malote authority")) || bytes.Contains(entry.Value, []byte{0x2b, 0x81, 0x04}) {
				t.Errorf("%s is readable", entry.Key)
			}
		}
		return nil
	})
	if err != nil || !found {
		t.Errorf("found = %v, %v", found, err)
	}
}
