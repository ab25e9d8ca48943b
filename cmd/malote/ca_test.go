package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/gateway"
)

// certificateFor writes a certificate for these names, and its key.
func certificateFor(t *testing.T, names ...string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		listen        string
		tls           []string // --tls with these --tls-name
		brought       []string // what --tls-cert is for
		public, local string   // without the port
	}{
		{name: "an address", listen: "127.0.0.1", public: "http://127.0.0.1", local: "http://127.0.0.1"},
		{name: "every address", listen: "0.0.0.0", local: "http://127.0.0.1"},
		{name: "every address, of both kinds", listen: "", local: "http://127.0.0.1"},
		{name: "--tls", listen: "0.0.0.0", tls: []string{"malote.example.com"}, public: "https://malote.example.com", local: "https://localhost"},
		{name: "--tls at an address", listen: "127.0.0.1", tls: []string{"malote.example.com"}, public: "https://127.0.0.1", local: "https://127.0.0.1"},
		{name: "a name brought", listen: "0.0.0.0", brought: []string{"*.example.com", "malote.example.com", "10.0.0.1"}, local: "https://malote.example.com"},
		{name: "a name brought, at an address", listen: "127.0.0.1", brought: []string{"malote.example.com"}, local: "https://malote.example.com"},
		{name: "the address brought", listen: "127.0.0.1", brought: []string{"malote.example.com", "127.0.0.1"}, public: "https://127.0.0.1", local: "https://127.0.0.1"},
		{name: "loopback brought", listen: "0.0.0.0", brought: []string{"malote.example.com", "localhost"}, local: "https://localhost"},
		{name: "an address brought", listen: "0.0.0.0", brought: []string{"10.0.0.1"}, local: "https://10.0.0.1"},
		{name: "a wildcard brought", listen: "0.0.0.0", brought: []string{"*.example.com"}, local: "https://127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serveFlags{TLS: tt.tls != nil, TLSName: tt.tls, AllowPlainHTTP: true}
			if tt.brought != nil {
				f.TLSCert, f.TLSKey = certificateFor(t, tt.brought...)
			}
			server, err := f.listen(t.Context(), tt.listen+":0", nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { server.Close() })
			public, local := f.urls(server)
			for _, u := range []*string{&public, &local} {
				*u = strings.TrimSuffix(*u, portOf(server))
			}
			if public != tt.public || local != tt.local {
				t.Errorf("urls = %q, %q, want %q, %q", public, local, tt.public, tt.local)
			}
		})
	}
}

func portOf(server *gateway.Server) string {
	address := server.Addr().String()
	return address[strings.LastIndexByte(address, ':'):]
}
