// Package authority is a private certificate authority, for a malote that was given no
// certificate of anybody's.
//
// It promises: the authority is made once and kept in the store, so that all control
// planes on one store have the same; its key is nowhere else; a server's certificate,
// whose key is in memory alone, is another well before it ends.
//
// It does not listen (see gateway), nor tell clients whom to trust (see cmd/malote).
package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// heirAhead is how long before an authority's end its heir is made, and clients are told
	// of both; soleAhead is how long before it the heir takes over.
	heirAhead = 365 * 24 * time.Hour
	soleAhead = 90 * 24 * time.Hour

	serverLife  = 30 * 24 * time.Hour
	renewBefore = 20 * 24 * time.Hour
	// backdated is how far behind a client's clock may be.
	backdated = time.Hour
)

const recordKey = "authority"

// record is what the store has.
type record struct {
	Authorities []pair // the oldest first
}

type pair struct {
	Certificate []byte // DER
	Key         []byte // PKCS #8
}

// Authority signs certificates of servers. It is safe for concurrent use.
type Authority struct {
	store   store.Store
	records *store.Table[record]
	now     func() time.Time

	mu     sync.Mutex // guards the rest
	all    []*signer
	serial int // of all: another after every change
}

type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Open finds the authority of a store that seals its values, or makes it. Now may be nil.
func Open(ctx context.Context, st store.Store, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	a := &Authority{store: st, records: store.NewTable[record]("certificate authority"), now: now}
	return a, a.update(ctx, func(r *record) error {
		t := now()
		r.Authorities = slices.DeleteFunc(r.Authorities, func(p pair) bool {
			certificate, err := x509.ParseCertificate(p.Certificate)
			return err == nil && t.After(certificate.NotAfter)
		})
		if n := len(r.Authorities); n > 0 {
			newest, err := x509.ParseCertificate(r.Authorities[n-1].Certificate)
			if err != nil {
				return err
			}
			if newest.NotAfter.Sub(t) > heirAhead {
				return nil
			}
		}
		return r.add(t)
	})
}

// Replace makes another authority at once, which clients have to be told of, and forgets
// the old one: for a key that somebody else may have.
func (a *Authority) Replace(ctx context.Context) error {
	return a.update(ctx, func(r *record) error {
		r.Authorities = nil
		return r.add(a.now())
	})
}

// update changes the record, in one transaction, and learns it.
func (a *Authority) update(ctx context.Context, change func(*record) error) error {
	var after record
	err := a.store.Update(ctx, func(tx store.Tx) error {
		after = record{}
		before, err := a.records.Get(tx, recordKey)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if before != nil {
			after.Authorities = slices.Clone(before.Authorities)
		}
		if err := change(&after); err != nil {
			return err
		}
		if before != nil && slices.EqualFunc(before.Authorities, after.Authorities, func(x, y pair) bool { return bytes.Equal(x.Certificate, y.Certificate) }) {
			return nil
		}
		return a.records.Put(tx, recordKey, &after)
	})
	if err != nil {
		return fmt.Errorf("the certificate authority: %w", err)
	}
	var all []*signer
	for _, p := range after.Authorities {
		certificate, err := x509.ParseCertificate(p.Certificate)
		if err != nil {
			return fmt.Errorf("reading the certificate authority: %w", err)
		}
		key, err := x509.ParsePKCS8PrivateKey(p.Key)
		if err != nil {
			return errors.New("reading the certificate authority: its key is none")
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			return errors.New("reading the certificate authority: its key is of another sort")
		}
		all = append(all, &signer{certificate, ec})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = all
	a.serial++
	return nil
}

// add makes an authority that may sign servers and nobody who signs.
func (r *record) add(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial := serialNumber()
	template := &x509.Certificate{
		SerialNumber: serial,
		// Two authorities of one name would be taken for each other in a client's store.
		Subject:               pkix.Name{Organization: []string{"malote"}, CommonName: "malote authority " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore:             now.Add(-backdated),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	sealed, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	r.Authorities = append(r.Authorities, pair{certificate, sealed})
	return nil
}

// serialNumber is positive and of sixteen bytes.
func serialNumber() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// PEM is what clients are to trust: the authority's certificate and, in its last year, its
// heir's.
func (a *Authority) PEM() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []byte
	for _, s := range a.all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw})...)
	}
	return out
}

// signer is who signs today.
func (a *Authority) signer(now time.Time) (*signer, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.all {
		if s.certificate.NotAfter.Sub(now) > soleAhead {
			return s, a.serial
		}
	}
	return a.all[len(a.all)-1], a.serial
}

// Server is the certificate of one server, always current.
type Server struct {
	authority *Authority
	names     []string
	addresses []netip.Addr
	log       *slog.Logger

	mu      sync.Mutex // guards the rest
	current *tls.Certificate
	serial  int // of the authority's
}

// Server makes the certificate of a server that clients find under names: host names,
// wildcards for one label (*.s3.example.com), addresses.
func (a *Authority) Server(names []string, log *slog.Logger) (*Server, error) {
	s := &Server{authority: a, log: log}
	for _, name := range names {
		if address, err := netip.ParseAddr(name); err == nil {
			s.addresses = append(s.addresses, address.Unmap().WithZone(""))
			continue
		}
		if err := CheckName(name); err != nil {
			return nil, err
		}
		s.names = append(s.names, strings.ToLower(name))
	}
	_, err := s.GetCertificate(nil)
	return s, err
}

var hostName = lazyregexp.New(`^(\*\.)?[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)*$`)

// CheckName refuses what no certificate can be for.
func CheckName(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	if len(name) > 253 || !hostName.MatchString(name) {
		return fmt.Errorf("%q is neither a host's name (malote.example.com, *.s3.example.com) nor an address", name)
	}
	return nil
}

// GetCertificate is tls.Config's. It makes another certificate when the one that it has
// comes near its end, or when the authority is another.
func (s *Server) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	signer, serial := s.authority.signer(now)
	if s.current != nil && serial == s.serial && s.current.Leaf.NotAfter.Sub(now) > renewBefore && !now.Before(s.current.Leaf.NotBefore) {
		return s.current, nil
	}
	made, err := s.make(signer, now)
	if err != nil {
		if s.current == nil {
			return nil, fmt.Errorf("making a certificate: %w", err)
		}
		s.log.Error("certificate not renewed", "err", err)
		return s.current, nil
	}
	if s.current != nil {
		s.log.Info("certificate renewed", "until", made.Leaf.NotAfter)
	}
	s.current, s.serial = made, serial
	return made, nil
}

func (s *Server) make(by *signer, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serialNumber(),
		Subject:      pkix.Name{Organization: []string{"malote"}},
		NotBefore:    now.Add(-backdated),
		NotAfter:     now.Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     s.names,
	}
	if template.NotAfter.After(by.certificate.NotAfter) {
		template.NotAfter = by.certificate.NotAfter
	}
	for _, address := range s.addresses {
		template.IPAddresses = append(template.IPAddresses, address.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
