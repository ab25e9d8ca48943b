package etcd_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/etcd"
	"github.com/malote/malote/store/etcd/etcdtest"
	"github.com/malote/malote/store/storetest"
)

var shared etcdtest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

func TestStore(t *testing.T) {
	server := shared.Server(t)
	storetest.Test(t, server.Store)
}

// The cluster survives; what must be whole is each transaction of a control plane that dies.
func TestCrash(t *testing.T) {
	endpoint := os.Getenv("ETCD_TEST_ENDPOINT") // of the parent, in the process to be killed
	if endpoint == "" {
		endpoint = shared.Server(t).Endpoint
		t.Setenv("ETCD_TEST_ENDPOINT", endpoint)
	}
	storetest.Crash(t, "crash/", func(tb testing.TB, prefix string) store.Store {
		return (&etcdtest.Server{Endpoint: endpoint}).Open(tb, prefix)
	})
}

// Two control planes on one cluster see each other's writes and nudge each other.
func TestTwoClients(t *testing.T) {
	server := shared.Server(t)
	a, b := server.Open(t, "two/"), server.Open(t, "two/")
	defer a.Close()
	defer b.Close()
	nudges := a.Watch(t.Context(), "k")
	<-nudges // accepted
	if err := b.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-nudges:
	case <-time.After(10 * time.Second):
		t.Error("no nudge")
	}
	attempts := 0
	err := a.Update(t.Context(), func(tx store.Tx) error {
		attempts++
		value, err := tx.Get("k")
		if err != nil {
			return err
		}
		if attempts == 1 {
			if err := b.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", []byte("2")) }); err != nil {
				return err
			}
		}
		return tx.Put("k", append(value, '!'))
	})
	if err != nil {
		t.Fatal(err)
	}
	if attempts != 2 {
		t.Errorf("%d attempts, want 2: the first read what b then changed", attempts)
	}
	err = b.View(t.Context(), func(tx store.Tx) error {
		value, err := tx.Get("k")
		if string(value) != "2!" {
			t.Errorf("k = %q, want 2!", value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Stores under different prefixes of one cluster do not see each other.
func TestPrefix(t *testing.T) {
	server := shared.Server(t)
	a, b := server.Open(t, "pre/"), server.Open(t, "pre0/")
	defer a.Close()
	defer b.Close()
	if err := a.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", nil) }); err != nil {
		t.Fatal(err)
	}
	err := b.View(t.Context(), func(tx store.Tx) error {
		for e := range tx.Scan("", "") {
			t.Errorf("sees %q", e.Key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Deletes in many groups need a mark each: the one way past etcd's limit that the
// limits of every store leave open.
func TestTooManyMarks(t *testing.T) {
	s := shared.Server(t).Store(t)
	defer s.Close()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := range store.MaxWrites {
			if err := tx.Delete(fmt.Sprintf("a/%d/x", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Update = %v, want ErrTooLarge", err)
	}
}

func TestNoServer(t *testing.T) {
	_, err := etcd.Open(t.Context(), etcd.Config{Endpoints: []string{"http://127.0.0.1:1"}, Timeout: 200 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("Open = %v, want an error that names the endpoint", err)
	}
}

// A cluster that was away for long is asked again soon, however often it did not answer.
func TestAwayForLong(t *testing.T) {
	t.Parallel()
	server := shared.Server(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var mu sync.Mutex
	var through []net.Conn
	var asked []time.Time // while away
	away := false
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if away {
				asked = append(asked, time.Now())
				conn.Close()
			} else if up, err := net.Dial("tcp", strings.TrimPrefix(server.Endpoint, "http://")); err != nil {
				t.Error(err)
				conn.Close()
			} else {
				through = append(through, conn, up)
				go io.Copy(up, conn)
				go io.Copy(conn, up)
			}
			mu.Unlock()
		}
	}()
	s, err := etcd.Open(t.Context(), etcd.Config{Endpoints: []string{"http://" + listener.Addr().String()}, Prefix: "away/", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	read := func() error {
		return s.View(t.Context(), func(tx store.Tx) error {
			if _, err := tx.Get("k"); !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return nil
		})
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	away = true
	for _, conn := range through {
		conn.Close()
	}
	mu.Unlock()
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); {
		if err := read(); err == nil {
			t.Fatal("read while the cluster was away")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) < 4 {
		t.Fatalf("asked %d times in six seconds", len(asked))
	}
	for i := 1; i < len(asked); i++ {
		// A second, gRPC's fifth more, and what a busy machine adds.
		if gap := asked[i].Sub(asked[i-1]); gap > 1800*time.Millisecond {
			t.Errorf("not asked for %v", gap)
		}
	}
}

// TestSecure has the whole suite over TLS, logged in as who may touch the prefix alone.
func TestSecure(t *testing.T) {
	etcdtest.Need(t)
	server, err := etcdtest.StartSecure(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	right := etcd.Config{Endpoints: []string{server.Endpoint}, TLS: server.TLS, Username: server.User, Password: server.Password, Timeout: 20 * time.Second}

	var stores atomic.Int64
	t.Run("store", func(t *testing.T) {
		storetest.Test(t, func(tb testing.TB) store.Store {
			config := right
			config.Prefix = fmt.Sprintf("malote/test%d/", stores.Add(1))
			opened, err := etcd.Open(tb.Context(), config)
			if err != nil {
				tb.Fatal(err)
			}
			return opened
		})
	})

	port := server.Endpoint[strings.LastIndexByte(server.Endpoint, ':'):]
	for _, tt := range []struct {
		name   string
		change func(*etcd.Config)
		want   string
	}{
		{"of an unknown authority", func(c *etcd.Config) { c.TLS = &tls.Config{Certificates: c.TLS.Certificates} }, "certificate signed by unknown authority"},
		{"by another name", func(c *etcd.Config) { c.Endpoints = []string{"https://localhost" + port} }, "certificate is not valid for any names, but wanted to match localhost"},
		{"without a certificate", func(c *etcd.Config) { c.TLS = &tls.Config{RootCAs: c.TLS.RootCAs} }, "certificate"},
		{"with another password", func(c *etcd.Config) { c.Password = "wrong" }, "does not know user malote with that password"},
		{"without login", func(c *etcd.Config) { c.Username, c.Password = "", "" }, "refuses keys below malote/: "},
		{"beyond the prefix", func(c *etcd.Config) { c.Prefix = "other/" }, "refuses keys below other/: store: reading: etcdserver: permission denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := right
			config.Timeout = 2 * time.Second
			tt.change(&config)
			opened, err := etcd.Open(t.Context(), config)
			if err == nil {
				opened.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), right.Password) {
				t.Errorf("Open = %v, want one with %q", err, tt.want)
			}
		})
	}

	// Each member is asked for its own name.
	config := right
	config.Endpoints = []string{"https://localhost:1", server.Endpoint}
	opened, err := etcd.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
}
