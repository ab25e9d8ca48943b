package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/malote/malote/controlplane/authority"
	"github.com/malote/malote/gateway"
)

// caFile is in the data directory. Who vouches is no secret.
const caFile = "ca.pem"

type caCommand struct {
	DataDir    string `help:"Whose authority." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	storeFlags `embed:""`
	Replace    bool `help:"Make another authority first: for a key that somebody else may have. Clients trust malote again when they have its certificate."`
}

func (caCommand) Help() string {
	return `malote up --tls and malote server --tls have certificates of an authority of their own. On
other machines clients are told of it by a file:

    malote ca > ca.pem
    AWS_CA_BUNDLE=ca.pem aws --endpoint-url https://malote.example.com:4510 …

AWS_CA_BUNDLE is for the AWS CLI, the SDKs, Terraform and malote itself, SSL_CERT_FILE for
what uses OpenSSL or Go, NODE_EXTRA_CA_CERTS for Node.js. See docs/tls.md.`
}

func (c *caCommand) Run(ctx context.Context, p *program) error {
	dir := dataDirOr(c.DataDir)
	if c.Replace {
		_, err := callControl(ctx, dir, http.MethodPost, "/ca/replace")
		if errors.Is(err, errNotRunning) {
			err = c.offline(ctx, dir)
		}
		if err != nil {
			return fmt.Errorf("replacing the authority: %w", err)
		}
	}
	certificates, err := os.ReadFile(filepath.Join(dir, caFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &hintError{fmt.Errorf("%s: no malote has an authority here", dir), "start one with malote up --tls" + dataDirFlag(c.DataDir) + ", or name its --data-dir"}
	}
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(certificates)
	return err
}

func (c *caCommand) offline(ctx context.Context, dir string) (err error) {
	if !exists(filepath.Join(dir, caFile)) {
		return &hintError{fmt.Errorf("%s: no malote has an authority here", dir), "start one with malote up --tls" + dataDirFlag(c.DataDir) + ", or name its --data-dir"}
	}
	plane, err := planeFlags{DataDir: dir, storeFlags: c.storeFlags, existing: true}.open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Close()) }()
	ca, err := plane.Authority(ctx)
	if err != nil {
		return err
	}
	return replaceAuthority(ctx, ca, filepath.Join(dir, caFile))
}

var errNoAuthority = errors.New("the malote that runs here was not started with --tls")

// certify gives the server its certificate and writes down who vouches for it. The function
// is for malote ca --replace.
func (f *serveFlags) certify(ctx context.Context, p *plane, log *slog.Logger) (replace func(context.Context) error, err error) {
	ca, err := p.Authority(ctx)
	if err != nil {
		return nil, err
	}
	names, err := f.certificateNames()
	if err != nil {
		return nil, err
	}
	if f.certificate, err = ca.Server(names, log); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return replaceAuthority(ctx, ca, f.caBundle) }, writeCA(f.caBundle, ca)
}

func replaceAuthority(ctx context.Context, ca *authority.Authority, path string) error {
	if err := ca.Replace(ctx); err != nil {
		return err
	}
	return writeCA(path, ca)
}

// writeCA never leaves half of a file.
func writeCA(path string, ca *authority.Authority) error {
	next := path + ".new"
	if err := os.WriteFile(next, ca.PEM(), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// certificateNames are those under which clients find this server.
func (f *serveFlags) certificateNames() ([]string, error) {
	names := append([]string{"localhost", "*.localhost", "127.0.0.1", "::1"}, f.TLSName...)
	if len(f.TLSName) == 0 {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		if authority.CheckName(host) == nil {
			names = append(names, host)
		}
	}
	for _, address := range []string{f.Listen, f.MetricsListen} {
		host, _, _ := net.SplitHostPort(address)
		if ip, err := netip.ParseAddr(host); host != "" && host != "localhost" && (err != nil || !ip.IsUnspecified() && !ip.IsLoopback()) {
			names = append(names, host)
		}
	}
	for _, domain := range f.S3Domain {
		names = append(names, domain, "*."+domain)
	}
	return distinct(names), nil
}

// urls are the endpoints for others and for this machine. One that listens on every address
// goes by the names that its certificate has. Public is "" where others alone know what they
// call this malote.
func (f *serveFlags) urls(server *gateway.Server) (public, local string) {
	address, ok := server.Addr().(*net.TCPAddr)
	if !ok {
		return server.URL(), server.URL()
	}
	_, port, _ := net.SplitHostPort(address.String())
	at := func(host string) string { return "https://" + net.JoinHostPort(host, port) }
	brought := server.Certificate()
	switch {
	case brought != nil && (address.IP.IsUnspecified() || brought.VerifyHostname(address.IP.String()) != nil):
		return "", at(nameHere(brought))
	case !address.IP.IsUnspecified():
		return server.URL(), server.URL()
	case !f.TLS:
		return "", "http://" + net.JoinHostPort("127.0.0.1", port)
	case len(f.TLSName) > 0 && f.TLSName[0][0] != '*':
		return at(f.TLSName[0]), at("localhost")
	}
	if host, err := os.Hostname(); err == nil && authority.CheckName(host) == nil {
		return at(host), at("localhost")
	}
	return at("localhost"), at("localhost")
}

// nameHere is what a client on this machine may call a server with that certificate: an address
// of the machine itself, or else a name that has to lead here.
func nameHere(certificate *x509.Certificate) string {
	names := append([]string{"127.0.0.1", "::1", "localhost"}, certificate.DNSNames...)
	for _, address := range certificate.IPAddresses {
		names = append(names, address.String())
	}
	for _, name := range names {
		if name[0] != '*' && certificate.VerifyHostname(name) == nil {
			return name
		}
	}
	return names[0]
}

// trusting is a client that trusts who is in the file, and nobody else.
func trusting(file string) (aws.HTTPClient, error) {
	certificates, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("who vouches for malote: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificates) {
		return nil, fmt.Errorf("who vouches for malote: %s has no certificate", file)
	}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig.RootCAs = pool }), nil
}

// prefixes reads a flag whose values are CIDR blocks, or single addresses.
func prefixes(flag string, values []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, value := range values {
		p, err := netip.ParsePrefix(value)
		if address, single := netip.ParseAddr(value); single == nil && address.Zone() == "" {
			p, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil || p.Masked() != p || p.Addr().Is4In6() {
			return nil, &usageError{fmt.Errorf("%s %q: want a block such as 10.0.0.0/8 or 2001:db8::/32, or one address", flag, value)}
		}
		out = append(out, p)
	}
	return out, nil
}
