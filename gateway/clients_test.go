package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
)

// serving starts a server that says who asked, and over what.
func serving(t *testing.T, cfg gateway.ListenConfig) *gateway.Server {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	server, err := gateway.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler
	handler, err = gateway.New(gateway.Config{Services: services(), Credentials: directory{}, Handlers: map[string]http.Handler{
		"/within": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, answer := ask(t, &http.Client{Transport: gateway.Transport(handler)}, signedRequest(t, r.Context(), http.MethodGet, "http://malote/who", "ecs", ""))
			fmt.Fprint(w, answer)
		}),
		"/who": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			request := caller.From(r.Context())
			fmt.Fprintf(w, "%s secure=%v", request.SourceIP, request.Secure)
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, handler) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return server
}

func prefixes(values ...string) (out []netip.Prefix) {
	for _, v := range values {
		out = append(out, netip.MustParsePrefix(v))
	}
	return out
}

func who(t *testing.T, client *http.Client, server *gateway.Server, forwarded ...string) (int, string) {
	t.Helper()
	r := signedRequest(t, t.Context(), http.MethodGet, server.URL()+"/who", "ecs", "")
	for _, h := range forwarded {
		name, value, _ := strings.Cut(h, "=")
		r.Header.Add(name, value)
	}
	return ask(t, client, r)
}

func ask(t *testing.T, client *http.Client, r *http.Request) (int, string) {
	t.Helper()
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// Whoever has another address is hung up on without having said a word.
func TestAllowFrom(t *testing.T) {
	t.Parallel()
	refused := serving(t, gateway.ListenConfig{AllowFrom: prefixes("10.0.0.0/8", "::1/128")})
	conn, err := net.Dial("tcp", refused.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("read = %d, %v, want the end", n, err)
	}

	allowed := serving(t, gateway.ListenConfig{AllowFrom: prefixes("127.0.0.0/8")})
	if status, answer := who(t, new(http.Client), allowed); status != 200 || answer != "127.0.0.1 secure=false" {
		t.Errorf("%d %s", status, answer)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		config    gateway.ListenConfig
		forwarded []string
		status    int
		want      string
	}{
		{"nobody is trusted unasked", gateway.ListenConfig{}, []string{"X-Forwarded-For=10.1.1.1", "X-Forwarded-Proto=https"}, 200, "127.0.0.1 secure=false"},
		{"another is trusted", gateway.ListenConfig{TrustedProxies: prefixes("192.0.2.0/24")}, []string{"X-Forwarded-For=10.1.1.1", "X-Forwarded-Proto=https"}, 200, "127.0.0.1 secure=false"},
		{"trusted", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=10.1.1.1", "X-Forwarded-Proto=https"}, 200, "10.1.1.1 secure=true"},
		{"its client came without TLS", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=10.1.1.1", "X-Forwarded-Proto=http"}, 200, "10.1.1.1 secure=false"},
		{"it does not say how", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=10.1.1.1"}, 200, "10.1.1.1 secure=false"},
		{"one of two says otherwise", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=10.1.1.1", "X-Forwarded-Proto=https, http"}, 200, "10.1.1.1 secure=false"},
		{"what the client invented", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=172.16.0.1, 10.1.1.1"}, 200, "10.1.1.1 secure=false"},
		{"in a header of its own", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=172.16.0.1", "X-Forwarded-For=10.1.1.1"}, 200, "10.1.1.1 secure=false"},
		{"two proxies", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32", "192.0.2.0/24")}, []string{"X-Forwarded-For=172.16.0.1, 10.1.1.1, 192.0.2.7"}, 200, "10.1.1.1 secure=false"},
		{"with ports", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=[2001:db8::1]:443"}, 200, "2001:db8::1 secure=false"},
		{"nonsense", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, []string{"X-Forwarded-For=10.1.1.1, unknown"}, 200, "127.0.0.1 secure=false"},
		{"nothing", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")}, nil, 200, "127.0.0.1 secure=false"},
		{"its client may come in", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32"), AllowFrom: prefixes("10.0.0.0/8")}, []string{"X-Forwarded-For=10.1.1.1"}, 200, "10.1.1.1 secure=false"},
		{"its client may not", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32"), AllowFrom: prefixes("10.0.0.0/8")}, []string{"X-Forwarded-For=11.1.1.1"}, 403, "malote: this address may not ask\n"},
		{"nor it for itself", gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32"), AllowFrom: prefixes("10.0.0.0/8")}, nil, 403, "malote: this address may not ask\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if status, answer := who(t, new(http.Client), serving(t, tt.config), tt.forwarded...); status != tt.status || answer != tt.want {
				t.Errorf("%d %q, want %d %q", status, answer, tt.status, tt.want)
			}
		})
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	server := serving(t, gateway.ListenConfig{MaxPerAddress: 2})
	var open []net.Conn
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	answers := func(conn net.Conn) bool {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: malote\r\n\r\n"); err != nil {
			return false
		}
		n, err := conn.Read(make([]byte, 1024))
		if isTimeout(err) {
			t.Fatal("neither answered nor refused")
		}
		return n > 0
	}
	for range 2 {
		open = append(open, dial())
		if !answers(open[len(open)-1]) {
			t.Fatal("not answered")
		}
	}
	if answers(dial()) {
		t.Error("a third connection was answered")
	}
	open[0].Close()
	for deadline := time.Now().Add(10 * time.Second); !answers(dial()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place of one that ended stays taken")
		}
	}
	if !answers(open[1]) {
		t.Error("an old connection was hung up on")
	}
}

// A certificate that is asked for serves HTTP/1.1 and HTTP/2, and requests are secure.
func TestCertificateFunction(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	server := serving(t, gateway.ListenConfig{Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	}})
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	if status, answer := who(t, client, server); status != 200 || answer != "127.0.0.1 secure=true" {
		t.Errorf("%d %s", status, answer)
	}
	if _, err := gateway.Listen(t.Context(), gateway.ListenConfig{Addr: "127.0.0.1:0", CertFile: "a", KeyFile: "b",
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}); err == nil {
		t.Error("two certificates were accepted")
	}
}

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"10.1.1.1", "10.1.1.1, 127.0.0.1", "[::1]:80", ",,", "::ffff:10.0.0.1%eth0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r, err := http.NewRequest(http.MethodGet, "http://malote/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header["X-Forwarded-For"] = []string{header}
		client := gateway.Forwarded(prefixes("127.0.0.0/8"), netip.MustParseAddr("127.0.0.1"), r)
		if !client.IsValid() || client.Is4In6() || client.Zone() != "" {
			t.Errorf("client = %v", client)
		}
	})
}

// What is asked in memory within a request has no part in whom that came from.
func TestTransportWithinRequest(t *testing.T) {
	t.Parallel()
	server := serving(t, gateway.ListenConfig{TrustedProxies: prefixes("127.0.0.1/32")})
	r := signedRequest(t, t.Context(), http.MethodGet, server.URL()+"/within", "ecs", "")
	r.Header.Set("X-Forwarded-For", "10.1.1.1")
	r.Header.Set("X-Forwarded-Proto", "https")
	if status, answer := ask(t, new(http.Client), r); status != 200 || answer != "127.0.0.1 secure=false" {
		t.Errorf("%d %s", status, answer)
	}
}
