package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
	"github.com/malote/malote/store/etcd"
)

// storeFlags say where the store is, when it is no file of the data directory.
type storeFlags struct {
	Store             string `help:"An etcd cluster instead of a file: etcd://HOST:PORT,HOST:PORT[/PREFIX], or etcds://… for TLS." env:"MALOTE_STORE" placeholder:"URL"`
	StoreCA           string `name:"store-ca" help:"Certificates of who vouches for the cluster of etcds://, PEM. Default: who the system trusts." env:"MALOTE_STORE_CA" placeholder:"FILE"`
	StoreCert         string `name:"store-cert" help:"Certificate to show to the cluster, PEM. Read again for each connection." env:"MALOTE_STORE_CERT" placeholder:"FILE"`
	StoreKey          string `name:"store-key" help:"Its key, PEM." env:"MALOTE_STORE_KEY" placeholder:"FILE"`
	StoreUser         string `name:"store-user" help:"User to log in to the cluster as." env:"MALOTE_STORE_USER" placeholder:"NAME"`
	StorePasswordFile string `name:"store-password-file" help:"File with that user's password." env:"MALOTE_STORE_PASSWORD_FILE" placeholder:"FILE"`
}

// openStore opens the file in dir, or the cluster.
func (f storeFlags) openStore(ctx context.Context, dir string, log *slog.Logger) (store.Store, error) {
	if f.Store == "" {
		for _, given := range []struct{ flag, value string }{
			{"--store-ca", f.StoreCA}, {"--store-cert", f.StoreCert}, {"--store-key", f.StoreKey},
			{"--store-user", f.StoreUser}, {"--store-password-file", f.StorePasswordFile},
		} {
			if given.value != "" {
				return nil, &usageError{fmt.Errorf("%s is for an etcd cluster: want --store as well", given.flag)}
			}
		}
		return bolt.Open(filepath.Join(dir, storeFile))
	}
	config, err := f.etcd()
	if err != nil {
		return nil, err
	}
	if config.TLS == nil && config.Password != "" && !allLoopback(config.Endpoints) {
		log.Warn("the password for etcd is sent in clear: --store etcds://… sends it over TLS")
	}
	opened, err := etcd.Open(ctx, config)
	if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
		err = &hintError{err, "--store-ca names a file with the certificates of who vouches for the cluster"}
	}
	if err != nil { // no *etcd.Store in the interface
		return nil, err
	}
	return opened, nil
}

// storeName is what people call the store of dir.
func (f storeFlags) storeName(dir string) string {
	if f.Store == "" {
		return filepath.Join(dir, storeFile)
	}
	return f.Store // which has no password
}

// leftIn are the files in dir that nobody has who does not have data as well.
func leftIn(dir string) []string {
	var found []string
	for _, name := range []string{rootKeyFile, auditFile} {
		if path := filepath.Join(dir, name); exists(path) {
			found = append(found, path)
		}
	}
	return found
}

// isNew says whether a store has no keyring yet, which comes before all else.
func isNew(ctx context.Context, s store.Store) (none bool, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		none = true
		for _, err := range tx.Scan("keyring/", "") {
			none = false
			return err
		}
		return nil
	})
	return none, err
}

// etcd is what the flags say of a cluster.
func (f storeFlags) etcd() (config etcd.Config, err error) {
	var secure bool
	if config.Endpoints, config.Prefix, secure, err = parseStore(f.Store); err != nil {
		return config, &usageError{err}
	}
	switch {
	case !secure && f.StoreCA+f.StoreCert+f.StoreKey != "":
		return config, &usageError{errors.New("--store-ca, --store-cert and --store-key are for TLS: want --store etcds://…")}
	case (f.StoreCert == "") != (f.StoreKey == ""):
		return config, &usageError{errors.New("--store-cert and --store-key go together: want both")}
	case (f.StoreUser == "") != (f.StorePasswordFile == ""):
		return config, &usageError{errors.New("--store-user and --store-password-file go together: want both")}
	}
	if secure {
		if config.TLS, err = f.tls(); err != nil {
			return config, err
		}
	}
	if f.StoreUser == "" {
		return config, nil
	}
	config.Username = f.StoreUser
	password, err := os.ReadFile(f.StorePasswordFile)
	if err != nil {
		return config, fmt.Errorf("--store-password-file: %w", err)
	}
	config.Password = strings.TrimRight(string(password), "\r\n")
	if config.Password == "" {
		return config, fmt.Errorf("--store-password-file %s: there is no password in it", f.StorePasswordFile)
	}
	return config, nil
}

// tls trusts whom the flags name, and has the certificate that they name.
func (f storeFlags) tls() (*tls.Config, error) {
	config := &tls.Config{}
	if f.StoreCA != "" {
		pem, err := os.ReadFile(f.StoreCA)
		if err != nil {
			return nil, fmt.Errorf("--store-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--store-ca %s: there is no certificate in it", f.StoreCA)
		}
	}
	if f.StoreCert == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.StoreCert, f.StoreKey)
		if err != nil {
			return nil, fmt.Errorf("--store-cert %s with --store-key %s: %w", f.StoreCert, f.StoreKey, err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}

// parseStore reads --store. Its errors show nothing that could be a password.
func parseStore(s string) (endpoints []string, prefix string, secure bool, err error) {
	if strings.ContainsAny(s, "@?") {
		return nil, "", false, errors.New("--store has an @ or a ?: no user, no password and no options belong in it, but in --store-user, --store-password-file and the other flags")
	}
	wrong := fmt.Errorf("--store %q: want etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds://… for TLS", s)
	scheme, rest, _ := strings.Cut(s, "://")
	to := map[string]string{"etcd": "http://", "etcds": "https://"}[scheme]
	hosts, path, _ := strings.Cut(rest, "/")
	if prefix, err = url.PathUnescape(path); err != nil || to == "" {
		return nil, "", false, wrong
	}
	for address := range strings.SplitSeq(hosts, ",") {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return nil, "", false, wrong
		}
		endpoints = append(endpoints, to+address)
	}
	return endpoints, prefix, scheme == "etcds", nil
}

// allLoopback says whether what is sent to endpoints stays on this machine.
func allLoopback(endpoints []string) bool {
	for _, endpoint := range endpoints {
		host, _, _ := net.SplitHostPort(strings.TrimPrefix(endpoint, "http://"))
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
