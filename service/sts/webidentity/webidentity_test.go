package webidentity_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/service/sts/webidentity"
	"github.com/malote/malote/service/sts/webidentity/webidentitytest"
)

// world is a verifier with a clock and an issuer that it trusts.
type world struct {
	*webidentitytest.Issuer
	*webidentity.Verifier
	provider *webidentity.Provider

	mu  sync.Mutex // guards now
	now time.Time
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{Issuer: webidentitytest.New(t, "/realm"), now: time.Now()}
	roots := x509.NewCertPool()
	roots.AddCert(w.Server.Certificate())
	w.Verifier = webidentity.New(roots, w.time, slog.New(slog.DiscardHandler))
	w.provider = &webidentity.Provider{ID: "a", Issuer: w.URL}
	return w
}

// check verifies a token from its text to its identity.
func (w *world) check(t *testing.T, text string) (*webidentity.Identity, error) {
	t.Helper()
	token, err := webidentity.Parse(text)
	if err != nil {
		return nil, err
	}
	if err := w.Verify(t.Context(), token, w.provider); err != nil {
		return nil, err
	}
	return token.Identity(w.time(), []string{"sts.amazonaws.com", "web"})
}

func want(t *testing.T, err error, reason webidentity.Reason, text string) {
	t.Helper()
	refused := new(webidentity.Error)
	if !errors.As(err, &refused) || refused.Reason != reason || !strings.Contains(refused.Text, text) {
		t.Errorf("error = %v, want %d: %s", err, reason, text)
	}
}

const noKey = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"

func TestAlgorithms(t *testing.T) {
	w := newWorld(t)
	rs, es, weak := webidentitytest.RSA(t, "rs", 2048), webidentitytest.P256(t, "es"), webidentitytest.RSA(t, "weak", 1024)
	w.Publish(rs, es, weak)
	claims := w.Claims(w.now, nil)
	for _, key := range []webidentitytest.Key{rs, es} {
		if _, err := w.check(t, webidentitytest.Sign(t, key, claims)); err != nil {
			t.Errorf("%s: %v", key.Algorithm, err)
		}
	}
	// Without a key's id the keys of that kind are tried.
	nameless := rs
	nameless.ID = ""
	if _, err := w.check(t, webidentitytest.Sign(t, nameless, claims)); err != nil {
		t.Errorf("without kid: %v", err)
	}
	_, err := w.check(t, webidentitytest.Sign(t, weak, claims))
	want(t, err, webidentity.Invalid, noKey)

	const notValid = "not a valid JWT"
	// The public key as a secret, none at all, and a token that is encrypted or cut off.
	der, _ := x509.MarshalPKIXPublicKey(rs.Private.Public())
	_, err = w.check(t, webidentitytest.SignWithSecret(t, der, "rs", claims))
	want(t, err, webidentity.Invalid, notValid)
	payload, _ := json.Marshal(claims)
	text := base64.RawURLEncoding.EncodeToString
	signed := webidentitytest.Sign(t, rs, claims)
	for _, forged := range []string{
		text([]byte(`{"alg":"none"}`)) + "." + text(payload) + ".",
		text([]byte(`{"alg":"none","kid":"rs"}`)) + "." + text(payload) + "." + signed[strings.LastIndexByte(signed, '.')+1:],
		signed[:strings.LastIndexByte(signed, '.')], "", "a.b.c", "a.b.c.d.e", "null", strings.Repeat(".", 1000),
		text([]byte(`{"alg":"RS256"}`)) + "." + text([]byte(`[]`)) + ".AAAA",
		text([]byte(`{"alg":"RS256"}`)) + "." + text([]byte(`null`)) + ".AAAA",
		text([]byte(`{"alg":"RS256"}`)) + "." + text([]byte(`{} {}`)) + ".AAAA",
	} {
		_, err = w.check(t, forged)
		want(t, err, webidentity.Invalid, notValid)
	}
	// A key that the token brings along is not asked.
	mallory := webidentitytest.RSA(t, "rs", 2048)
	_, err = w.check(t, webidentitytest.Sign(t, mallory, claims))
	want(t, err, webidentity.Invalid, "signature")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: mallory.Private}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.check(t, embedded)
	want(t, err, webidentity.Invalid, "signature")

	// One altered character of any part never passes.
	for i := 0; i < len(signed); i += 7 {
		altered := []byte(signed)
		if altered[i] == '.' {
			continue
		}
		altered[i] = map[bool]byte{true: 'B', false: 'A'}[altered[i] == 'A']
		if _, err := w.check(t, string(altered)); err == nil && !sameBytes(signed, string(altered)) {
			t.Fatalf("a token altered at %d passed", i)
		}
	}
}

// sameBytes reports that two tokens decode to the same bytes: the last character of a part
// may have bits that mean nothing.
func sameBytes(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range as {
		x, _ := base64.RawURLEncoding.DecodeString(as[i])
		y, err := base64.RawURLEncoding.DecodeString(bs[i])
		if err != nil || string(x) != string(y) {
			return false
		}
	}
	return true
}

func TestClaims(t *testing.T) {
	w := newWorld(t)
	key := webidentitytest.P256(t, "k")
	w.Publish(key)
	now := w.now.Unix()
	const tags = "https://aws.amazon.com/tags"
	for _, tt := range []struct {
		name   string
		claims map[string]any
		reason webidentity.Reason
		text   string // "" is fine
	}{
		{"as they are", nil, 0, ""},
		{"another issuer", map[string]any{"iss": "https://evil.example.com"}, webidentity.Invalid, "No OpenIDConnect provider found in your account for https://evil.example.com"},
		{"no issuer", map[string]any{"iss": nil}, webidentity.Invalid, "Missing a required claim: iss"},
		{"an issuer with a line", map[string]any{"iss": "https://x\n.example.com"}, webidentity.Invalid, "The iss claim"},
		{"no expiry", map[string]any{"exp": nil}, webidentity.Invalid, "Missing a required claim: exp"},
		{"an expiry in words", map[string]any{"exp": "tomorrow"}, webidentity.Invalid, "Missing a required claim: exp"},
		{"an expiry beyond years", map[string]any{"exp": 1e300}, webidentity.Invalid, "Missing a required claim: exp"},
		{"expired, but for the clock", map[string]any{"exp": now - 299}, 0, ""},
		{"expired", map[string]any{"exp": now - 301}, webidentity.Expired, fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", now, now-301)},
		{"no issue date", map[string]any{"iat": nil}, webidentity.Invalid, "Missing a required claim: iat"},
		{"issued soon", map[string]any{"iat": now + 299}, 0, ""},
		{"issued in the future", map[string]any{"iat": now + 302}, webidentity.Invalid, "issued in the future"},
		{"valid soon", map[string]any{"nbf": now + 299}, 0, ""},
		{"not yet valid", map[string]any{"nbf": now + 302}, webidentity.Invalid, "not yet valid"},
		{"nbf in words", map[string]any{"nbf": "now"}, webidentity.Invalid, "nbf"},
		{"no subject", map[string]any{"sub": nil}, webidentity.Invalid, "Missing a required claim: sub"},
		{"an empty subject", map[string]any{"sub": ""}, webidentity.Invalid, "Missing a required claim: sub"},
		{"a subject of another kind", map[string]any{"sub": []string{"a"}}, webidentity.Invalid, "sub claim"},
		{"a subject too long", map[string]any{"sub": strings.Repeat("a", 256)}, webidentity.Invalid, "sub claim"},
		{"another audience", map[string]any{"aud": "others"}, webidentity.Invalid, "Incorrect token audience"},
		{"one of several audiences", map[string]any{"aud": []string{"others", "web"}}, 0, ""},
		{"no audience", map[string]any{"aud": nil}, webidentity.Invalid, "Missing a required claim: aud"},
		{"issued to one of ours", map[string]any{"aud": "others", "azp": "web"}, 0, ""},
		{"issued to another", map[string]any{"azp": "others"}, webidentity.Invalid, "Incorrect token audience"},
		{"issued to many", map[string]any{"azp": []string{"web"}}, webidentity.Invalid, "azp"},
		{"tags of no object", map[string]any{tags: []string{"a"}}, webidentity.Rejected, "must be an object"},
		{"tags of another kind", map[string]any{tags: map[string]any{"principal_tags": "a"}}, webidentity.Rejected, "principal_tags"},
		{"a tag with two values", map[string]any{tags: map[string]any{"principal_tags": map[string]any{"a": []string{"1", "2"}}}}, webidentity.Rejected, "one string"},
		{"a tag without value", map[string]any{tags: map[string]any{"principal_tags": map[string]any{"a": []string{}}}}, webidentity.Rejected, "one string"},
		{"a tag of AWS's", map[string]any{tags + "/principal_tags/aws:x": "1"}, webidentity.Rejected, "aws: prefixed"},
		{"a key of strange characters", map[string]any{tags + "/principal_tags/a*": "1"}, webidentity.Rejected, "characters"},
		{"a key twice", map[string]any{tags + "/principal_tags/a": "1", tags + "/principal_tags/A": "2"}, webidentity.Rejected, "Duplicate tag keys"},
		{"a transitive key without tag", map[string]any{tags + "/transitive_tag_keys": []string{"a"}}, webidentity.Rejected, "must be included in the requested tags"},
		{"transitive keys of another kind", map[string]any{tags + "/transitive_tag_keys": "a"}, webidentity.Rejected, "transitive_tag_keys"},
		{"a source identity", map[string]any{"https://aws.amazon.com/source_identity": "alice"}, 0, ""},
		{"a source identity too short", map[string]any{"https://aws.amazon.com/source_identity": "a"}, webidentity.Rejected, "source_identity"},
		{"a source identity of AWS's", map[string]any{"https://aws.amazon.com/source_identity": "AWS:me"}, webidentity.Rejected, "source_identity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.check(t, webidentitytest.Sign(t, key, w.Claims(w.now, tt.claims)))
			if tt.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want(t, err, tt.reason, tt.text)
		})
	}

	got, err := w.check(t, webidentitytest.Sign(t, key, w.Claims(w.now, map[string]any{
		"aud": []string{"api", "web"}, "azp": "web", "amr": []string{"pwd", "otp"}, "run": 7, "protected": true, "nested": map[string]any{"a": 1},
		"SUB": "somebody else", "Ref": "1", "ref": "2", "iat": w.now.Unix(), "exp": w.now.Unix() + 60,
		tags:                                     map[string]any{"principal_tags": map[string]any{"Team": []string{"blue"}}, "transitive_tag_keys": []string{"team", "TEAM"}},
		tags + "/principal_tags/Project":         []string{"p1"},
		"https://aws.amazon.com/source_identity": "alice",
	})))
	if err != nil {
		t.Fatal(err)
	}
	diff := cmp.Diff(&webidentity.Identity{
		Subject: "repo:example/shop", Audience: "web", SourceIdentity: "alice",
		Tags: []webidentity.Tag{{Key: "Project", Value: "p1"}, {Key: "Team", Value: "blue"}}, TransitiveTags: []string{"team"},
		Claims: map[string][]string{
			"iss": {w.URL}, "aud": {"web"}, "oaud": {"api", "web"}, "sub": {"repo:example/shop"}, "azp": {"web"}, "amr": {"pwd", "otp"}, "run": {"7"}, "protected": {"true"},
			"iat": {fmt.Sprint(w.now.Unix())}, "exp": {fmt.Sprint(w.now.Unix() + 60)},
		},
	}, got)
	if diff != "" {
		t.Error(diff)
	}
}

// Keys are remembered, and asked for again when there may be others, not at a stranger's pace.
func TestKeysAreRemembered(t *testing.T) {
	w := newWorld(t)
	old, fresh := webidentitytest.P256(t, "old"), webidentitytest.P256(t, "fresh")
	w.Publish(old)
	ofOld := webidentitytest.Sign(t, old, w.Claims(w.now, map[string]any{"exp": w.now.Add(24 * time.Hour).Unix()}))
	ofFresh := webidentitytest.Sign(t, fresh, w.Claims(w.now, map[string]any{"exp": w.now.Add(24 * time.Hour).Unix()}))
	asked := func(more int, what string) {
		t.Helper()
		if got := w.Asked(); got != more {
			t.Errorf("%s: %d requests, want %d", what, got, more)
		}
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := w.check(t, ofOld); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	asked(2, "twenty at once")

	_, err := w.check(t, ofFresh)
	want(t, err, webidentity.Invalid, noKey)
	asked(2, "an unknown key, right after")
	w.Publish(fresh)
	w.pass(31 * time.Second)
	for range 3 {
		if _, err := w.check(t, ofFresh); err != nil {
			t.Fatal(err)
		}
	}
	asked(4, "an unknown key, half a minute later")
	_, err = w.check(t, ofOld)
	want(t, err, webidentity.Invalid, noKey)

	// Without an answer the keys of up to an hour ago do, and then none.
	w.pass(11 * time.Minute)
	w.Answer = func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(http.StatusBadGateway); return true }
	if _, err := w.check(t, ofFresh); err != nil {
		t.Fatal(err)
	}
	asked(5, "after ten minutes")
	if _, err := w.check(t, ofFresh); err != nil {
		t.Fatal(err)
	}
	asked(5, "right after a failure")
	w.pass(time.Hour)
	_, err = w.check(t, ofFresh)
	want(t, err, webidentity.Unreachable, "could not be reached")
	_, err = w.check(t, ofFresh)
	want(t, err, webidentity.Unreachable, "could not be reached")
	asked(6, "a failure is remembered for seconds")
	w.Answer = nil
	w.pass(6 * time.Second)
	if _, err := w.check(t, ofFresh); err != nil {
		t.Error(err)
	}

	// A key that its issuer has withdrawn signs nothing after ten minutes.
	w.Publish(old)
	w.pass(11 * time.Minute)
	_, err = w.check(t, ofFresh)
	want(t, err, webidentity.Invalid, noKey)
}

// Whoever has no credentials may have a token checked: an issuer does not make that dear.
func TestFewAndSmallKeys(t *testing.T) {
	w := newWorld(t)
	key := webidentitytest.RSA(t, "large", 2048)
	claims := w.Claims(w.now, nil)
	large := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 4096, 1), E: 65537} // of 4097 bits
	w.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/keys") {
			return false
		}
		public, err := (&jose.JSONWebKey{Key: large, KeyID: "large"}).MarshalJSON()
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(rw, `{"keys":[%s]}`, public)
		return true
	}
	_, err := w.check(t, webidentitytest.Sign(t, key, claims))
	want(t, err, webidentity.Invalid, noKey)

	w.Answer = nil
	w.pass(11 * time.Minute)
	var nameless []webidentitytest.Key
	for range 11 {
		nameless = append(nameless, webidentitytest.P256(t, ""))
	}
	w.Publish(nameless...)
	if _, err := w.check(t, webidentitytest.Sign(t, nameless[9], claims)); err != nil {
		t.Errorf("by the tenth key: %v", err)
	}
	_, err = w.check(t, webidentitytest.Sign(t, nameless[10], claims))
	want(t, err, webidentity.Invalid, "signature")
}

// Keys that take much memory are not remembered for all of a thousand providers.
func TestLargeKeysAreForgotten(t *testing.T) {
	w := newWorld(t)
	key := webidentitytest.P256(t, strings.Repeat("k", 1_000_000))
	w.Publish(key)
	token, err := webidentity.Parse(webidentitytest.Sign(t, webidentitytest.P256(t, "other"), w.Claims(w.now, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const providers = 80
	round := func() int {
		before := w.Asked()
		for i := range providers {
			_ = w.Verify(t.Context(), token, &webidentity.Provider{ID: fmt.Sprint(i), Issuer: w.URL})
		}
		return (w.Asked() - before) / 2
	}
	if asked := round(); asked != providers {
		t.Fatalf("%d providers were asked, want %d", asked, providers)
	}
	// 64 MB are remembered, so these 80 do not fit.
	if asked := round(); asked < providers-64 {
		t.Errorf("%d of %d providers with a megabyte each were asked again, want at least %d", asked, providers, providers-64)
	}
}

// What an issuer may answer, and where it may send us.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		path   string
		answer func(w *world, rw http.ResponseWriter, r *http.Request)
		reason webidentity.Reason
		text   string
	}{
		{"not found", "openid-configuration", func(_ *world, rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) }, webidentity.Invalid, noKey},
		{"unavailable", "openid-configuration", func(_ *world, rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }, webidentity.Unreachable, "could not be reached"},
		{"too many", "openid-configuration", func(_ *world, rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(429) }, webidentity.Unreachable, "could not be reached"},
		{"cut off", "openid-configuration", func(_ *world, rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			fmt.Fprint(rw, "{")
		}, webidentity.Unreachable, "could not be reached"},
		{"no JSON", "openid-configuration", func(_ *world, rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") }, webidentity.Invalid, noKey},
		{"another issuer's", "openid-configuration", func(w *world, rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw, `{"issuer":"https://other.example.com","jwks_uri":%q}`, w.URL+"/keys")
		}, webidentity.Invalid, noKey},
		{"keys without TLS", "openid-configuration", func(w *world, rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q}`, w.URL, strings.Replace(w.URL, "https", "http", 1)+"/keys")
		}, webidentity.Invalid, noKey},
		{"keys in a file", "openid-configuration", func(w *world, rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, w.URL)
		}, webidentity.Invalid, noKey},
		{"a redirect", "openid-configuration", func(w *world, rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.URL+"/elsewhere", http.StatusFound)
		}, webidentity.Invalid, noKey},
		{"a redirect of the keys", "/keys", func(w *world, rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.URL+"/elsewhere", http.StatusTemporaryRedirect)
		}, webidentity.Invalid, noKey},
		{"an answer without end", "/keys", func(_ *world, rw http.ResponseWriter, _ *http.Request) {
			for range 1 << 10 {
				fmt.Fprint(rw, strings.Repeat(" ", 2<<10))
			}
		}, webidentity.Invalid, noKey},
		{"too many keys", "/keys", func(_ *world, rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw, `{"keys":[%s{}]}`, strings.Repeat("{},", 200))
		}, webidentity.Invalid, noKey},
		{"a secret among the keys", "/keys", func(_ *world, rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(rw, `{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}`)
		}, webidentity.Invalid, noKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			key := webidentitytest.P256(t, "k")
			w.Publish(key)
			w.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/elsewhere") {
					t.Error("followed a redirect")
				}
				if !strings.HasSuffix(r.URL.Path, tt.path) {
					return false
				}
				tt.answer(w, rw, r)
				return true
			}
			_, err := w.check(t, webidentitytest.Sign(t, key, w.Claims(w.now, nil)))
			want(t, err, tt.reason, tt.text)
		})
	}
	t.Run("nobody", func(t *testing.T) {
		w := newWorld(t)
		key := webidentitytest.P256(t, "k")
		w.Server.Close()
		_, err := w.check(t, webidentitytest.Sign(t, key, w.Claims(w.now, nil)))
		want(t, err, webidentity.Unreachable, "could not be reached")
	})
	t.Run("the client hangs up", func(t *testing.T) {
		w := newWorld(t)
		key := webidentitytest.P256(t, "k")
		w.Publish(key)
		ctx, cancel := context.WithCancel(t.Context())
		w.Answer = func(http.ResponseWriter, *http.Request) bool { cancel(); return false }
		text := webidentitytest.Sign(t, key, w.Claims(w.now, nil))
		token, err := webidentity.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify(ctx, token, w.provider); err != nil {
			t.Errorf("Verify = %v: who hangs up would make the next one fail", err)
		}
	})
}

func TestTrust(t *testing.T) {
	w := newWorld(t)
	key := webidentitytest.P256(t, "k")
	w.Publish(key)
	token, err := webidentity.Parse(webidentitytest.Sign(t, key, w.Claims(w.now, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const noTrust = "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"
	right, wrong := w.Thumbprint(), strings.Repeat("a", 40)
	for _, tt := range []struct {
		name        string
		roots       *x509.CertPool
		thumbprints []string
		want        string
	}{
		{"nobody vouches", x509.NewCertPool(), nil, noTrust},
		{"another's thumbprint", x509.NewCertPool(), []string{wrong}, noTrust},
		{"its thumbprint", x509.NewCertPool(), []string{wrong, strings.ToUpper(right)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := webidentity.New(tt.roots, time.Now, slog.New(slog.DiscardHandler))
			err := v.Verify(t.Context(), token, &webidentity.Provider{ID: "a", Issuer: w.URL, Thumbprints: tt.thumbprints})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want(t, err, webidentity.Invalid, tt.want)
			// What one account trusts is not another's.
			if err := v.Verify(t.Context(), token, &webidentity.Provider{ID: "b", Issuer: w.URL, Thumbprints: []string{right}}); err != nil {
				t.Error(err)
			}
			if err := v.Verify(t.Context(), token, &webidentity.Provider{ID: "a", Issuer: w.URL, Thumbprints: tt.thumbprints}); err == nil {
				t.Error("trusted by another's thumbprint")
			}
		})
	}

	// A thumbprint stands for an authority, not for a name: the test's certificate is not localhost's.
	elsewhere := strings.Replace(w.URL, "127.0.0.1", "localhost", 1)
	claims := w.Claims(w.now, map[string]any{"iss": elsewhere})
	other, err := webidentity.Parse(webidentitytest.Sign(t, key, claims))
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(w.Server.Certificate().DNSNames, "localhost") {
		t.Fatal("the certificate is localhost's too")
	}
	v := webidentity.New(x509.NewCertPool(), time.Now, slog.New(slog.DiscardHandler))
	want(t, v.Verify(t.Context(), other, &webidentity.Provider{ID: "a", Issuer: elsewhere, Thumbprints: []string{right}}), webidentity.Invalid, noTrust)
}

// Whatever comes from a client, it is refused or understood; what was not signed never passes.
func FuzzToken(f *testing.F) {
	key := webidentitytest.P256(f, "k")
	issuer := webidentitytest.New(f, "")
	issuer.Publish(key)
	roots := x509.NewCertPool()
	roots.AddCert(issuer.Server.Certificate())
	v := webidentity.New(roots, time.Now, slog.New(slog.DiscardHandler))
	provider := &webidentity.Provider{ID: "a", Issuer: issuer.URL}
	text := base64.RawURLEncoding.EncodeToString
	claims := `{"iss":"` + issuer.URL + `","sub":"s","aud":"web","iat":1,"exp":99999999999,"https://aws.amazon.com/tags":{"principal_tags":{"a":["1"]},"transitive_tag_keys":["a"]}}`
	f.Add(text([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + text([]byte(claims)) + "." + text(make([]byte, 64)))
	f.Add(text([]byte(`{"alg":"none"}`)) + "." + text([]byte(claims)) + ".")
	f.Add("")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := webidentity.Parse(raw)
		if err != nil {
			if refused := new(webidentity.Error); !errors.As(err, &refused) || refused.Text == "" {
				t.Fatalf("error = %#v", err)
			}
			return
		}
		if err := v.Verify(t.Context(), token, provider); err == nil {
			t.Fatalf("%q passed unsigned", raw)
		}
		id, err := token.Identity(time.Unix(1000, 0), []string{"web"})
		if err != nil {
			return
		}
		if id.Subject == "" || id.Audience != "web" || len(id.Claims["sub"]) != 1 || id.Claims["sub"][0] != id.Subject || len(id.Tags) > 50 {
			t.Fatalf("identity = %+v", id)
		}
	})
}
