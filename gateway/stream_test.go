package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
)

// lines streams its caller and then a line a millisecond until its context ends.
func lines(ended chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %q\n", caller.From(r.Context()).Principal.ARN, caller.From(r.Context()).Service, r.URL.Path, body)
		w.(http.Flusher).Flush()
		for r.Context().Err() == nil {
			fmt.Fprintln(w, "line")
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	w := start(t, func(c *gateway.Config) { c.Handlers = map[string]http.Handler{"/acs": lines(ended)} })

	for _, tt := range []struct {
		name   string
		q      request
		status int
		want   string
	}{
		{"unsigned", request{path: "/acs", unsigned: true}, 400, `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		{"wrongly signed", request{path: "/acs", service: "ecs", key: aliceKey, secret: "x"}, 400, `{"__type":"InvalidSignatureException","message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}`},
		{"for a service that is not here", request{path: "/acs", service: "dynamodb"}, 400, `{"__type":"InvalidSignatureException","message":"Credential should be scoped to a valid service. "}`},
		{"beside it", request{path: "/acsx", service: "ecs"}, 404, `{"__type":"UnknownOperationException"}`},
	} {
		response, body := tt.q.send(t, w.url)
		if response.StatusCode != tt.status || body != tt.want {
			t.Errorf("%s: %d %s", tt.name, response.StatusCode, body)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := signedRequest(t, ctx, "POST", w.url+"/acs/health?x=1", "ecs", `{"a":1}`)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	var got []string
	for len(got) < 3 && scanner.Scan() {
		got = append(got, scanner.Text())
	}
	if want := "arn:aws:iam::123456789012:user/alice ecs /acs/health \"{\\\"a\\\":1}\"\nline\nline"; strings.Join(got, "\n") != want {
		t.Errorf("stream = %q, want %q", got, want)
	}
	cancel()
	wait(t, ended, "the handler's context to end")
}

func wait(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	h, err := gateway.New(gateway.Config{Services: services(), Credentials: directory{}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := (&world{url: "https://malote.internal"}).alice()
	cfg.HTTPClient = &http.Client{Transport: gateway.Transport(h)}
	client := secretsmanager.NewFromConfig(cfg)
	out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("who")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:iam::123456789012:user/alice eu-central-1 secretsmanager GetSecretValue 127.0.0.1 secure=true"; !strings.HasPrefix(*out.SecretString, want) {
		t.Errorf("caller = %q, want %q", *out.SecretString, want)
	}
	_, err = client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("missing")})
	if len(requestID(err)) != 36 {
		t.Errorf("request id of %v = %q", err, requestID(err))
	}
}

func roundTrip(ctx context.Context, h http.HandlerFunc, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://memory/path?q=1", body)
	if err != nil {
		return nil, err
	}
	return gateway.Transport(h).RoundTrip(r)
}

func TestTransportStreams(t *testing.T) {
	t.Parallel()
	// An echo: each side waits for the other's line.
	in, write := io.Pipe()
	response, err := roundTrip(t.Context(), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-odd", "1")
		w.WriteHeader(http.StatusAccepted)
		w.(http.Flusher).Flush()
		w.Header().Set("Too-Late", "1")
		scanner := bufio.NewScanner(r.Body)
		for scanner.Scan() {
			fmt.Fprintf(w, "echo %s\n", scanner.Text())
			w.(http.Flusher).Flush()
		}
	}, in)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 202 || response.Header.Get("X-Odd") != "1" || response.Header.Get("Too-Late") != "" {
		t.Errorf("response = %+v", response)
	}
	reader := bufio.NewReader(response.Body)
	for _, word := range []string{"one", "two"} {
		fmt.Fprintln(write, word)
		if line, err := reader.ReadString('\n'); line != "echo "+word+"\n" {
			t.Fatalf("line = %q, %v", line, err)
		}
	}
	_ = write.Close()
	if _, err := reader.ReadByte(); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestTransportEnds(t *testing.T) {
	t.Parallel()
	blocked := func(ended chan struct{}) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(ended)
		}
	}
	t.Run("cancelled before the answer", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		ended := make(chan struct{})
		if _, err := roundTrip(ctx, blocked(ended), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
		wait(t, ended, "the handler")
	})
	t.Run("closed while it streams", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{})
		response, err := roundTrip(t.Context(), func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			blocked(ended)(w, r)
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		wait(t, ended, "the handler")
	})
	t.Run("cancelled while it streams", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		response, err := roundTrip(ctx, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			blocked(ended)(w, r)
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.ReadAll(response.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("reading = %v, want %v", err, context.Canceled)
		}
		wait(t, ended, "the handler")
	})
	t.Run("a panic", func(t *testing.T) {
		t.Parallel()
		if _, err := roundTrip(t.Context(), func(http.ResponseWriter, *http.Request) { panic("x") }, nil); err == nil {
			t.Error("no error")
		}
		response, err := roundTrip(t.Context(), func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic(http.ErrAbortHandler) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(response.Body); err == nil || err == io.EOF {
			t.Errorf("reading = %v, want an error", err)
		}
	})
	t.Run("a long answer", func(t *testing.T) {
		t.Parallel()
		want := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
		response, err := roundTrip(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			for part := range chunks(want, 5000) {
				_, _ = w.Write(part)
			}
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
		}
	})
	t.Run("nothing at all", func(t *testing.T) {
		t.Parallel()
		response, err := roundTrip(t.Context(), func(http.ResponseWriter, *http.Request) {}, nil)
		if err != nil || response.StatusCode != 200 || response.ContentLength != 0 {
			t.Errorf("response = %+v, %v", response, err)
		}
	})
}

func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			part := b[:min(n, len(b))]
			b = b[len(part):]
			if !yield(part) {
				return
			}
		}
	}
}

func TestListenPlain(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, "0.0.0.0:0": false, ":0": false} {
		server, err := gateway.Listen(t.Context(), gateway.ListenConfig{Addr: addr})
		if err == nil {
			_ = server.Close()
		} else if addr == "[::1]:0" && !errors.Is(err, gateway.ErrPlain) {
			continue // a machine without IPv6
		}
		if got := !errors.Is(err, gateway.ErrPlain); got != want {
			t.Errorf("Listen(%s) = %v", addr, err)
		}
	}
	server, err := gateway.Listen(t.Context(), gateway.ListenConfig{Addr: "0.0.0.0:0", AllowPlain: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if _, err := gateway.Listen(t.Context(), gateway.ListenConfig{Addr: "127.0.0.1:0", CertFile: "x"}); err == nil {
		t.Error("a certificate without a key is taken")
	}
	if _, err := gateway.Listen(t.Context(), gateway.ListenConfig{Addr: "127.0.0.1:0", CertFile: "missing", KeyFile: "missing"}); err == nil {
		t.Error("a missing certificate is taken")
	}
}

// writeCertificate makes a certificate with the serial number in dir.
func writeCertificate(t *testing.T, dir string, serial int64) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(certificate)
	return certFile, keyFile, pool
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, pool := writeCertificate(t, dir, 1)
	h, err := gateway.New(gateway.Config{Services: services(), Credentials: directory{}})
	if err != nil {
		t.Fatal(err)
	}
	logged := new(journal)
	server, err := gateway.Listen(t.Context(), gateway.ListenConfig{
		Addr: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Log: slog.New(slog.NewTextHandler(logged, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := server.Certificate().SerialNumber.Int64(); got != 1 {
		t.Errorf("Certificate has the serial number %d, want 1", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, h) }()

	for _, http2 := range []bool{false, true} {
		protocols := &http.Protocols{}
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: protocols}}
		cfg := (&world{url: server.URL()}).alice()
		cfg.HTTPClient = client
		out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("who")})
		if err != nil {
			t.Fatalf("http2=%t: %v", http2, err)
		}
		if !strings.Contains(*out.SecretString, "secure=true") {
			t.Errorf("caller = %q", *out.SecretString)
		}
		client.CloseIdleConnections()
	}

	// A new certificate is served without a restart; one that cannot be read is not.
	_, _, pool = writeCertificate(t, dir, 2)
	serial := func() int64 {
		conn, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	deadline := time.Now().Add(20 * time.Second)
	for serial() != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not served")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := os.WriteFile(certFile, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := serial(); got != 2 {
		t.Errorf("serial = %d, want 2", got)
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := serial(); got != 2 {
		t.Errorf("serial without a file = %d, want 2", got)
	}
	for _, want := range []string{"failed to find any PEM data", "no such file or directory"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, logged)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// At the end, requests finish and streams stop.
func TestShutdown(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	slow := make(chan struct{})
	h, err := gateway.New(gateway.Config{Services: services(), Credentials: directory{}, Handlers: map[string]http.Handler{"/acs": lines(ended)}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := gateway.Listen(t.Context(), gateway.ListenConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(slow)
				<-ctx.Done()
				if err := r.Context().Err(); err != nil {
					t.Errorf("a request is cut off: %v", err)
				}
				_, _ = io.WriteString(w, "finished")
				return
			}
			h.ServeHTTP(w, r)
		}))
	}()
	stream, err := http.DefaultClient.Do(signedRequest(t, t.Context(), "GET", server.URL()+"/acs", "ecs", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get(server.URL() + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	wait(t, slow, "the slow request")
	stop()
	if got := <-answer; got != "finished" {
		t.Errorf("the slow request got %q", got)
	}
	wait(t, ended, "the stream")
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
