package webidentity

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/malote/malote/internal/recent"
)

const (
	freshFor    = 10 * time.Minute // as long as keys are used without being asked for again
	staleFor    = time.Hour        // and when their issuer does not answer then
	unknownWait = 30 * time.Second // between two questions for a key that was not there
	failedWait  = 5 * time.Second  // after one that was not answered

	fetchTime    = 10 * time.Second // of one answer
	maxAnswer    = 1 << 20          // bytes
	maxKeys      = 200
	maxTried     = 10      // of one id, or of none
	minRSA       = 2048    // bits; the JOSE library reads none of more than 4096
	maxProviders = 1024    // whose keys are remembered
	overhead     = 1 << 10 // bytes, about, of a provider or a key beside its strings
)

const (
	noKey       = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	noTrust     = "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"
	noSignature = "The signature of the ID Token is not its issuer's"
	noAnswer    = "The identity provider that was asked to verify the incoming identity token could not be reached. Retry the request a limited number of times."
)

// Provider is an issuer that somebody trusts.
type Provider struct {
	ID          string   // whose trust it is, its ARN: keys are not shared between those who trust differently
	Issuer      string   // https://…, as its tokens name it
	Thumbprints []string // SHA-1 hashes, in hex, of certificates to be trusted where the system's authorities do not vouch
}

// id tells providers apart.
func (p *Provider) id() string {
	return p.ID + "\n" + p.Issuer + "\n" + strings.Join(p.Thumbprints, "\n")
}

// Verifier holds tokens against their issuers' keys, which it asks for and remembers. It
// is safe for concurrent use.
type Verifier struct {
	roots *x509.CertPool // nil: the system's
	now   func() time.Time
	mu    sync.Mutex // guards putting into known
	known *recent.Cache[*keys]
	log   *slog.Logger
}

// New returns a Verifier that trusts the authorities in roots; nil are the system's, which
// SSL_CERT_FILE and SSL_CERT_DIR may name. It logs why an issuer's keys are not to be had.
func New(roots *x509.CertPool, now func() time.Time, log *slog.Logger) *Verifier {
	return &Verifier{roots: roots, now: now, known: recent.New[*keys](maxProviders, 64<<20), log: log}
}

// keys are what one provider's issuer signs with.
type keys struct {
	asking chan struct{} // has room for who asks the issuer

	mu      sync.Mutex // guards the rest
	list    []jose.JSONWebKey
	fetched time.Time
	tried   time.Time
	failed  *Error // of the last try
}

func (v *Verifier) keysOf(p *Provider) *keys {
	id := p.id()
	if k, ok := v.known.Get(id); ok {
		return k
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if k, ok := v.known.Get(id); ok {
		return k
	}
	k := &keys{asking: make(chan struct{}, 1)}
	v.known.Put(id, k, overhead)
	return k
}

// Verify reports whether p's issuer has signed t, which must name it. Its error is an
// *Error, or the context's.
func (v *Verifier) Verify(ctx context.Context, t *Token, p *Provider) error {
	if t.issuer != p.Issuer {
		return invalid("No OpenIDConnect provider found in your account for %s", t.issuer)
	}
	k := v.keysOf(p)
	found, ask := k.find(t, v.now())
	if ask {
		// Who has keys does not wait for another's question.
		if len(found) > 0 {
			select {
			case k.asking <- struct{}{}:
			default:
				ask = false
			}
		} else {
			select {
			case k.asking <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if ask {
		// Who waited finds what the one before was told.
		if found, ask = k.find(t, v.now()); ask {
			v.ask(ctx, k, p)
			found, _ = k.find(t, v.now())
		}
		<-k.asking
	}
	if len(found) == 0 {
		return k.why()
	}
	for _, key := range found {
		if _, err := t.jws.Verify(key.Key); err == nil {
			return nil
		}
	}
	return invalid(noSignature)
}

// find returns the keys that may have signed t, and whether the issuer should be asked first.
func (k *keys) find(t *Token, now time.Time) (found []jose.JSONWebKey, ask bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age, last := now.Sub(k.fetched), now.Sub(k.tried)
	if age < staleFor && (k.failed == nil || k.failed.Reason == Unreachable) {
		header := t.jws.Signatures[0].Protected
		for _, key := range k.list {
			if len(found) < maxTried && (header.KeyID == "" || key.KeyID == header.KeyID) && signs(&key, header.Algorithm) {
				found = append(found, key)
			}
		}
	}
	switch {
	case k.tried.IsZero() || last < 0:
		return found, true
	case k.failed != nil:
		return found, last >= failedWait
	case age >= freshFor:
		return found, true
	}
	return found, len(found) == 0 && last >= unknownWait
}

// why is the reason for which no key was found.
func (k *keys) why() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.failed
	}
	return invalid(noKey)
}

// signs reports whether key is one for an algorithm.
func signs(key *jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") && public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		curve := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
		return public.Curve.Params().Name == curve
	}
	return false
}

// ask asks the issuer for its keys, also when whoever is the cause of it hangs up.
func (v *Verifier) ask(ctx context.Context, k *keys, p *Provider) {
	list, err := v.fetch(context.WithoutCancel(ctx), p)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.failed = v.now(), nil
	if err != nil {
		k.failed = err
		v.log.Warn("keys of an identity provider are not to be had", "arn", p.ID, "err", err)
		return
	}
	k.list, k.fetched = list, k.tried
	size := overhead
	for _, key := range list {
		size += weight(&key)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	id := p.id()
	if now, ok := v.known.Get(id); !ok || now == k {
		v.known.Put(id, k, size)
	}
}

// weight is about how many bytes a key takes.
func weight(key *jose.JSONWebKey) int {
	size := overhead + len(key.KeyID) + len(key.Algorithm)
	if public, ok := key.Key.(*rsa.PublicKey); ok {
		size += public.N.BitLen() / 8
	}
	return size
}

// fetch follows OpenID Connect Discovery 1.0: the issuer's configuration names where its
// keys are.
func (v *Verifier) fetch(ctx context.Context, p *Provider) ([]jose.JSONWebKey, *Error) {
	var configuration struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := v.get(ctx, p, strings.TrimSuffix(p.Issuer, "/")+"/.well-known/openid-configuration", &configuration); err != nil {
		return nil, err
	}
	if configuration.Issuer != p.Issuer {
		return nil, &Error{Reason: Invalid, Text: noKey, Cause: errors.New("the configuration is another issuer's")}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := v.get(ctx, p, configuration.Keys, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, &Error{Reason: Invalid, Text: noKey, Cause: fmt.Errorf("%d keys, at most %d are read", len(set.Keys), maxKeys)}
	}
	var list []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// One that is of a kind unknown here may be among those that are not.
		if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		list = append(list, jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm}) // no certificates
	}
	return list, nil
}

// get reads a JSON object. It goes nowhere but to that https URL: a redirect is no answer.
func (v *Verifier) get(ctx context.Context, p *Provider, address string, into any) *Error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return &Error{Reason: Invalid, Text: noKey, Cause: errors.New("the address of the keys is no https URL")}
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return &Error{Reason: Invalid, Text: noKey, Cause: err}
	}
	request.Header.Set("Accept", "application/json")
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12,
				// The check is below, for it has two ways to come out well.
				InsecureSkipVerify: true,
				VerifyConnection:   func(s tls.ConnectionState) error { return v.trusts(s.PeerCertificates, u.Hostname(), p.Thumbprints) },
			},
		},
	}
	response, err := client.Do(request)
	if untrusted := new(untrusted); errors.As(err, &untrusted) {
		return &Error{Reason: Invalid, Text: noTrust, Cause: untrusted}
	}
	if err != nil {
		return &Error{Reason: Unreachable, Text: noAnswer, Cause: err}
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		return &Error{Reason: Unreachable, Text: noAnswer, Cause: fmt.Errorf("status %d", response.StatusCode)}
	case response.StatusCode != http.StatusOK:
		return &Error{Reason: Invalid, Text: noKey, Cause: fmt.Errorf("status %d", response.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return &Error{Reason: Unreachable, Text: noAnswer, Cause: err}
	}
	if len(body) > maxAnswer {
		return &Error{Reason: Invalid, Text: noKey, Cause: fmt.Errorf("an answer of more than %d bytes", maxAnswer)}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &Error{Reason: Invalid, Text: noKey, Cause: errors.New("an answer that is not the JSON it should be")}
	}
	return nil
}

// untrusted is a certificate that neither an authority nor a thumbprint vouches for.
type untrusted struct{ cause error }

func (e *untrusted) Error() string { return e.cause.Error() }

// trusts checks a host's certificates against the authorities and, where none of these is
// known, against the thumbprints: one of a certificate in the chain makes that an authority.
// The name and the dates have to be right either way.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc_verify-thumbprint.html
func (v *Verifier) trusts(chain []*x509.Certificate, host string, thumbprints []string) error {
	options := x509.VerifyOptions{Roots: v.roots, Intermediates: x509.NewCertPool(), DNSName: host}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(options)
	if err == nil {
		return nil
	}
	var unknown x509.UnknownAuthorityError
	var none x509.SystemRootsError
	if !errors.As(err, &unknown) && !errors.As(err, &none) {
		return &untrusted{err}
	}
	options.Roots = x509.NewCertPool()
	pinned := false
	for _, c := range chain {
		sum := sha1.Sum(c.Raw)
		for _, t := range thumbprints {
			if strings.EqualFold(t, hex.EncodeToString(sum[:])) {
				options.Roots.AddCert(c)
				pinned = true
			}
		}
	}
	if !pinned {
		return &untrusted{err}
	}
	if _, err := chain[0].Verify(options); err != nil {
		return &untrusted{err}
	}
	return nil
}
