package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/store/etcd/etcdtest"
)

func TestParseStore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in        string
		endpoints []string // nil for an error
		prefix    string
		secure    bool
	}{
		{in: "etcd://a:1", endpoints: []string{"http://a:1"}},
		{in: "etcd://a:1,b:2/", endpoints: []string{"http://a:1", "http://b:2"}},
		{in: "etcds://a.example.com:2379,b.example.com:2379/shop/x", endpoints: []string{"https://a.example.com:2379", "https://b.example.com:2379"}, prefix: "shop/x", secure: true},
		{in: "etcds://[::1]:2379,[fd00::1]:2379/a%20b", endpoints: []string{"https://[::1]:2379", "https://[fd00::1]:2379"}, prefix: "a b", secure: true},
		{in: "etcd://"},
		{in: "etcd:///x"},
		{in: "etcd://a"},
		{in: "etcd://a:1,"},
		{in: "etcd://a:1,b/x"},
		{in: "etcd://a:1/%zz"},
		{in: "http://a:1"},
		{in: "a:1"},
		{in: "etcds://malote:hunter2@a:1"},
		{in: "etcd://malote:hunter2%zz@a:1"},
		{in: "etcd://malote:1/hunter2@a:1"},
		{in: "https://malote:hunter2@a:1"},
		{in: "etcds://a:1?password=hunter2"},
	} {
		endpoints, prefix, secure, err := parseStore(tt.in)
		if !slices.Equal(endpoints, tt.endpoints) || prefix != tt.prefix || secure != tt.secure || (err != nil) != (tt.endpoints == nil) {
			t.Errorf("parseStore(%q) = %v, %q, %v, %v, want %v, %q, %v", tt.in, endpoints, prefix, secure, err, tt.endpoints, tt.prefix, tt.secure)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.HasPrefix(err.Error(), "--store ")) {
			t.Errorf("parseStore(%q) = %v", tt.in, err)
		}
	}
}

// An error says which flag, and which file.
func TestStoreFlagsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty, words, gone := file("empty", "\n"), file("words", "hunter2"), filepath.Join(dir, "gone")
	cert, key := certificateFor(t, "a")
	_, other := certificateFor(t, "a")
	for _, tt := range []struct {
		flags storeFlags
		usage bool
		want  string
	}{
		{storeFlags{StoreUser: "u"}, true, "--store-user is for an etcd cluster: want --store as well"},
		{storeFlags{StorePasswordFile: words}, true, "--store-password-file is for an etcd cluster: want --store as well"},
		{storeFlags{Store: "etcd://a:1", StoreCA: cert}, true, "--store-ca, --store-cert and --store-key are for TLS: want --store etcds://…"},
		{storeFlags{Store: "etcds://a:1", StoreCert: cert}, true, "--store-cert and --store-key go together: want both"},
		{storeFlags{Store: "etcds://a:1", StoreUser: "u"}, true, "--store-user and --store-password-file go together: want both"},
		{storeFlags{Store: "etcds://a:1", StorePasswordFile: words}, true, "--store-user and --store-password-file go together: want both"},
		{storeFlags{Store: "etcds://a:1", StoreUser: "u", StorePasswordFile: gone}, false, "--store-password-file: open " + gone + ": no such file or directory"},
		{storeFlags{Store: "etcds://a:1", StoreUser: "u", StorePasswordFile: empty}, false, "--store-password-file " + empty + ": there is no password in it"},
		{storeFlags{Store: "etcds://a:1", StoreCA: gone}, false, "--store-ca: open " + gone + ": no such file or directory"},
		{storeFlags{Store: "etcds://a:1", StoreCA: words}, false, "--store-ca " + words + ": there is no certificate in it"},
		{storeFlags{Store: "etcds://a:1", StoreCert: cert, StoreKey: gone}, false, "--store-cert " + cert + " with --store-key " + gone + ": open " + gone + ": no such file or directory"},
		{storeFlags{Store: "etcds://a:1", StoreCert: cert, StoreKey: other}, false, "--store-cert " + cert + " with --store-key " + other + ": tls: private key does not match public key"},
		{storeFlags{Store: "etcds://u:hunter2@a:1"}, true, "--store has an @ or a ?: no user, no password and no options belong in it, but in --store-user, --store-password-file and the other flags"},
	} {
		_, err := tt.flags.openStore(t.Context(), dir, slog.New(slog.DiscardHandler))
		usage := (*usageError)(nil)
		if err == nil || err.Error() != tt.want || errors.As(err, &usage) != tt.usage {
			t.Errorf("openStore(%+v) = %v, want %s", tt.flags, err, tt.want)
		}
	}
	if _, err := (storeFlags{Store: "etcds://a:1", StoreCert: cert, StoreKey: key}).etcd(); err != nil {
		t.Error(err)
	}
}

// A control plane on a cluster as operators run it: TLS both ways, and a login.
func TestSecureStore(t *testing.T) {
	t.Parallel()
	etcdtest.Need(t)
	server, err := etcdtest.StartSecure(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	store := storeFlags{
		Store: "etcds://" + strings.TrimPrefix(server.Endpoint, "https://"), StoreCA: server.CA, StoreCert: server.Cert, StoreKey: server.Key,
		StoreUser: server.User, StorePasswordFile: server.PasswordFile,
	}
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	flags := planeFlags{DataDir: t.TempDir(), storeFlags: store}
	untrusting := flags
	untrusting.StoreCA = ""
	_, err = untrusting.open(t.Context(), log)
	if hinted := (hinter)(nil); !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "--store-ca") {
		t.Errorf("without --store-ca: %v, want an error with a hint", err)
	}
	if err != nil && strings.Contains(err.Error(), server.Password) {
		t.Error("the password was told")
	}
	for _, made := range []bool{true, false} { // the second finds the account of the first
		plane, err := flags.open(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		if got := plane.Made.AccessKeyID != ""; got != made {
			t.Errorf("made an account: %v, want %v", got, made)
		}
		ready := func() (int, string) {
			answer := httptest.NewRecorder()
			plane.Handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ready", nil))
			return answer.Code, answer.Body.String()
		}
		if code, body := ready(); code != http.StatusOK {
			t.Errorf("GET /ready = %d %s", code, body)
		}
		if !made { // and then the cluster is gone
			server.Stop()
			time.Sleep(1100 * time.Millisecond)
			if code, body := ready(); code != http.StatusServiceUnavailable || !strings.Contains(body, `"reason":"the store does not answer"`) {
				t.Errorf("GET /ready without a cluster = %d %s", code, body)
			}
		}
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(logged.String(), server.Password) {
		t.Error("the password was logged")
	}
}

// A login without TLS is one that others read, but on this machine.
func TestPasswordInClear(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"etcd://127.0.0.1:1": true, "etcd://localhost:1,[::1]:1": true, "etcd://127.0.0.1:1,192.0.2.1:1": false, "etcd://etcd:1": false,
	} {
		endpoints, _, _, err := parseStore(address)
		if got := allLoopback(endpoints); got != want || err != nil {
			t.Errorf("allLoopback(%s) = %v, %v, want %v", address, got, err, want)
		}
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer // of one that nobody answers
	_, err := storeFlags{Store: "etcd://192.0.2.1:1", StoreUser: "u", StorePasswordFile: password}.openStore(t.Context(), "", slog.New(slog.NewTextHandler(&logged, nil)))
	if !strings.Contains(logged.String(), `level=WARN msg="the password for etcd is sent in clear`) || err == nil {
		t.Errorf("logged %s, %v, want a warning", logged.String(), err)
	}
}
