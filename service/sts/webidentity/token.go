// Package webidentity finds out whom a web identity token speaks of, and whether the issuer
// that it names has signed it.
//
// It promises: nothing of a Token is believed before Verify has held it against keys that
// came from the issuer's own https address, and only issuers that it is given are ever asked.
//
// It does not know which issuers an account trusts (see directory), nor what their tokens
// are good for (see sts).
package webidentity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Reason is why a token is refused.
type Reason int

const (
	Invalid     Reason = iota // it is no token, or not one of that issuer for that audience
	Expired                   // it was one
	Rejected                  // it is one, and claims what cannot be granted
	Unreachable               // the issuer does not answer: another try may go better
)

// Error is a refusal, in AWS's words where these are known. Cause is for a log and may be nil.
type Error struct {
	Reason Reason
	Text   string
	Cause  error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Text
	}
	return e.Text + ": " + e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

func invalid(format string, args ...any) *Error {
	return &Error{Reason: Invalid, Text: fmt.Sprintf(format, args...)}
}

const noToken = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"

// algorithms are those that issuers may sign with: RSA and ECDSA, and above all none whose
// key is a secret that both sides know, and not the absence of one.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

const maxIssuer = 255 + len("https://")

// Token is a JSON Web Token as it came.
type Token struct {
	jws    *jose.JSONWebSignature
	claims map[string]any
	issuer string
}

// Parse reads a token and believes nothing of it. Its error is an *Error.
func Parse(text string) (*Token, error) {
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, &Error{Reason: Invalid, Text: noToken, Cause: err}
	}
	t := &Token{jws: jws}
	d := json.NewDecoder(bytes.NewReader(jws.UnsafePayloadWithoutVerification()))
	d.UseNumber()
	if err := d.Decode(&t.claims); err != nil || t.claims == nil || d.More() {
		return nil, &Error{Reason: Invalid, Text: noToken, Cause: err}
	}
	t.issuer, _ = t.claims["iss"].(string)
	if t.issuer == "" {
		return nil, invalid("Missing a required claim: iss")
	}
	if len(t.issuer) > maxIssuer || strings.ContainsFunc(t.issuer, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, invalid("The iss claim is not the URL of an issuer.")
	}
	return t, nil
}

// Issuer is who the token says has issued it.
func (t *Token) Issuer() string { return t.issuer }

// leeway is how far an issuer's clock may be off.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
const leeway = 5 * time.Minute

// Identity is what a token says, once it has been verified.
type Identity struct {
	Subject  string
	Audience string // the client id that was found among those of the provider

	// Claims are what policies may ask about, by the claim's name: "sub", "aud", "repository".
	Claims map[string][]string

	Tags           []Tag
	TransitiveTags []string
	SourceIdentity string // "" for none
}

// Identity checks the claims of a token that Verify has found genuine: that it is of this
// time and for one of the client ids. Its error is an *Error.
func (t *Token) Identity(now time.Time, clientIDs []string) (*Identity, error) {
	if err := t.timely(now); err != nil {
		return nil, err
	}
	id := &Identity{}
	var err error
	if id.Subject, err = t.subject(); err != nil {
		return nil, err
	}
	audiences, err := t.audiences()
	if err != nil {
		return nil, err
	}
	for _, audience := range audiences {
		for _, known := range clientIDs {
			if id.Audience == "" && audience == known {
				id.Audience = audience
			}
		}
	}
	if id.Audience == "" {
		return nil, invalid("Incorrect token audience")
	}
	id.Claims = t.keys(audiences)
	if err := t.tags(id); err != nil {
		return nil, err
	}
	return id, nil
}

func (t *Token) timely(now time.Time) error {
	expires, ok := t.time("exp")
	if !ok {
		return invalid("Missing a required claim: exp")
	}
	issued, ok := t.time("iat")
	if !ok {
		return invalid("Missing a required claim: iat")
	}
	if !now.Before(expires.Add(leeway)) {
		return &Error{Reason: Expired, Text: fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), expires.Unix())}
	}
	if now.Add(leeway).Before(issued) {
		return invalid("Token issued in the future: current date/time %d must be after the issue date/time %d", now.Unix(), issued.Unix())
	}
	if _, there := t.claims["nbf"]; there {
		from, ok := t.time("nbf")
		if !ok {
			return invalid("The nbf claim is not a number of seconds.")
		}
		if now.Add(leeway).Before(from) {
			return invalid("Token not yet valid: current date/time %d must be after the not-before date/time %d", now.Unix(), from.Unix())
		}
	}
	return nil
}

// time is a claim in seconds since 1970, within the years that times are written in.
func (t *Token) time(claim string) (time.Time, bool) {
	n, ok := t.claims[claim].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > 253402300799 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

const maxSubject = 255

func (t *Token) subject() (string, error) {
	value, there := t.claims["sub"]
	subject, text := value.(string)
	switch {
	case !there || text && subject == "":
		return "", invalid("Missing a required claim: sub")
	case !text || len(subject) > maxSubject:
		return "", invalid("The sub claim must be a string of %d characters at most.", maxSubject)
	}
	return subject, nil
}

// audiences are whom the token is for: whom it was issued to, when it says that, else the
// audience.
func (t *Token) audiences() ([]string, error) {
	if azp, there := t.claims["azp"]; there {
		if text, ok := azp.(string); ok && text != "" {
			return []string{text}, nil
		}
		return nil, invalid("The azp claim must be a string.")
	}
	audiences := texts(t.claims["aud"])
	if len(audiences) == 0 {
		return nil, invalid("Missing a required claim: aud")
	}
	return audiences, nil
}

// keys are the claims that are plain values or lists of these. aud is whom the token was
// issued to, and oaud its own audience.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
func (t *Token) keys(audiences []string) map[string][]string {
	keys := map[string][]string{"aud": audiences}
	if original := texts(t.claims["aud"]); len(original) > 0 {
		keys["oaud"] = original
	}
	for _, claim := range [...]string{"sub", "amr", "email"} {
		if values := texts(t.claims[claim]); len(values) > 0 {
			keys[claim] = values
		}
	}
	// Condition keys have no case. A claim that differs from one of those in case alone would
	// be taken for it, and of two others nobody could say which is meant.
	seen := map[string]int{"aud": 1, "oaud": 1, "sub": 1, "amr": 1, "email": 1}
	for claim := range t.claims {
		seen[strings.ToLower(claim)]++
	}
	for claim, value := range t.claims {
		if seen[strings.ToLower(claim)] > 1 || strings.HasPrefix(claim, awsClaim) {
			continue
		}
		if values := texts(value); len(values) > 0 {
			keys[claim] = values
		}
	}
	return keys
}

// texts are the values of a claim as policies compare them, none when it is an object or
// has one in it.
func texts(claim any) []string {
	list, ok := claim.([]any)
	if !ok {
		list = []any{claim}
	}
	values := make([]string, 0, len(list))
	for _, item := range list {
		switch v := item.(type) {
		case string:
			values = append(values, v)
		case json.Number:
			values = append(values, v.String())
		case bool:
			values = append(values, strconv.FormatBool(v))
		default:
			return nil
		}
	}
	return values
}
