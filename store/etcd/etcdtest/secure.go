package etcdtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/malote/malote/store/etcd"
)

// Secure is a server as operators run it: it speaks TLS alone, with who has a certificate of
// its authority, and who wants to read or write logs in.
type Secure struct {
	*Server
	CA, Cert, Key string // PEM files: the authority, and what a client shows
	User          string // who may read and write malote/ and nothing else
	PasswordFile  string
	TLS           *tls.Config // of a client that has these files
	Password      string
}

// StartSecure runs an etcd whose certificate is for 127.0.0.1 alone. Files are made in dir.
func StartSecure(dir string) (*Secure, error) {
	s := &Secure{
		CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "client.pem"), Key: filepath.Join(dir, "client.key"),
		User: "malote", Password: "of-etcd-" + rand.Text(), PasswordFile: filepath.Join(dir, "password"),
	}
	served, servedKey := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	ca, err := newAuthority(s.CA)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		ca.issue(served, servedKey, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}),
		ca.issue(s.Cert, s.Key, &x509.Certificate{Subject: pkix.Name{CommonName: "nobody"}}), // no user of etcd's
		os.WriteFile(s.PasswordFile, []byte(s.Password+"\n"), 0o600),
	)
	if err != nil {
		return nil, err
	}
	shown, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(ca.certificate)
	s.TLS = &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{shown}}
	s.Server, err = startAgain("https", etcd.Config{TLS: s.TLS},
		"--cert-file", served, "--key-file", servedKey, "--trusted-ca-file", s.CA, "--client-cert-auth")
	if err != nil {
		return nil, err
	}
	if err := s.wantLogin(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// wantLogin makes the user, and turns authentication on.
func (s *Secure) wantLogin() error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint}, TLS: s.TLS, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, step := range []func() error{
		func() error { _, err := client.UserAdd(ctx, "root", rand.Text()); return err },
		func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := client.RoleAdd(ctx, "malote"); return err },
		func() error {
			_, err := client.RoleGrantPermission(ctx, "malote", "malote/", clientv3.GetPrefixRangeEnd("malote/"), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := client.UserAdd(ctx, s.User, s.Password); return err },
		func() error { _, err := client.UserGrantRole(ctx, s.User, "malote"); return err },
		func() error { _, err := client.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// authority issues certificates for a day.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(file string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcdtest"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key}, writePEM(file, "CERTIFICATE", der)
}

// issue writes a certificate and its key; template says for whom.
func (a *authority) issue(certFile, keyFile string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = a.certificate.NotBefore, a.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} // the server is a client of its own gateway
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(certFile, "CERTIFICATE", der), writePEM(keyFile, "PRIVATE KEY", private))
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
