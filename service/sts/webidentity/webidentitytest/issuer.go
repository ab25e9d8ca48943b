// Package webidentitytest is an issuer of web identity tokens, for tests: a real server over
// TLS, with keys that can be rolled and faults that can be asked for.
package webidentitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer signs tokens and says with which keys.
type Issuer struct {
	URL    string // as its tokens name it
	Server *httptest.Server

	// Answer, when it is set, answers instead.
	Answer func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex // guards the rest
	keys  []jose.JSONWebKey
	asked int
}

// New starts an issuer at a path ("" or "/realm") that has no keys yet.
func New(t testing.TB, path string) *Issuer {
	t.Helper()
	i := &Issuer{}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	i.Server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	i.Server.StartTLS()
	t.Cleanup(i.Server.Close)
	i.URL = i.Server.URL + path
	return i
}

// Thumbprint is that of the server's certificate.
func (i *Issuer) Thumbprint() string {
	sum := sha1.Sum(i.Server.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

// Asked is how many requests there were.
func (i *Issuer) Asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked++
	keys, answer := i.keys, i.Answer
	i.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	path := i.URL[len(i.Server.URL):]
	switch r.URL.Path {
	case path + "/.well-known/openid-configuration":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	case path + "/keys":
		public := []json.RawMessage{json.RawMessage(`{"kty":"XYZ","kid":"of the future"}`)}
		for _, key := range keys {
			text, err := key.MarshalJSON()
			if err != nil {
				panic(err)
			}
			public = append(public, text)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": public})
	default:
		http.NotFound(w, r)
	}
}

// Key is what an issuer signs with.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
}

// RSA and P256 are new keys.
func RSA(t testing.TB, id string, bits int) Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return Key{id, jose.RS256, private}
}

func P256(t testing.TB, id string) Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Key{id, jose.ES256, private}
}

// Publish has the issuer say that these are its keys, and no others.
func (i *Issuer) Publish(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = nil
	for _, k := range keys {
		i.keys = append(i.keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"})
	}
}

// Claims are those of a token of this issuer for an hour, with more laid over them; a value
// of nil takes one away.
func (i *Issuer) Claims(now time.Time, more map[string]any) map[string]any {
	claims := map[string]any{
		"iss": i.URL, "sub": "repo:example/shop", "aud": "sts.amazonaws.com", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, more)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Sign makes a token of claims.
func Sign(t testing.TB, k Key, claims map[string]any) string {
	t.Helper()
	return sign(t, jose.SigningKey{Algorithm: k.Algorithm, Key: k.Private}, k.ID, claims)
}

// SignWithSecret makes a token that a secret stands for, as no issuer should be believed.
func SignWithSecret(t testing.TB, secret []byte, kid string, claims map[string]any) string {
	t.Helper()
	return sign(t, jose.SigningKey{Algorithm: jose.HS256, Key: secret}, kid, claims)
}

func sign(t testing.TB, key jose.SigningKey, kid string, claims map[string]any) string {
	t.Helper()
	options := new(jose.SignerOptions)
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
