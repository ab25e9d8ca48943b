package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/malote/malote/gateway/sigv4"
)

// How far a client's clock may be off.
const (
	jsonWindow = 5 * time.Minute
	xmlWindow  = 15 * time.Minute
)

// nobodysSecret stands in for the secret of an unknown access key, and nobodysKey is looked
// for when the signature of a known one is wrong, whose owner is remembered: an answer
// takes as long for a key that does not exist as for one with a wrong signature.
const (
	nobodysSecret = "****************************************"
	nobodysKey    = "AKIANOBODYNOBODYNOBO"
)

// authenticate finds out who signed the request, whose body hashes to payload. The
// error is nil, a *failure for the client, or internal.
func (e *exchange) authenticate(a *sigv4.Authorization, payload string) (*Credential, *failure, error) {
	d := e.service.dialect()
	if err := e.scope(a); err != nil {
		return nil, signatureFailure(err, d), nil
	}
	credential, err := e.g.cfg.Credentials.Lookup(e.r.Context(), a.AccessKeyID, a.SessionToken)
	if err != nil {
		e.g.verifier.Verify(a, e.r, payload, nobodysSecret)
		f, err := lookupFailure(err, d, a.AccessKeyID)
		return nil, f, err
	}
	verified := e.g.verifier.Verify(a, e.r, payload, credential.SecretAccessKey)
	if !verified {
		_, _ = e.g.cfg.Credentials.Lookup(e.r.Context(), nobodysKey, "")
	}
	if !credential.Expires.IsZero() && !e.start.Before(credential.Expires) {
		return nil, expiredToken.failure(d), nil
	}
	window := jsonWindow
	if d != dialectJSON {
		window = xmlWindow
	}
	if err := a.CheckTime(e.start, window); err != nil {
		return nil, e.untimely(a, err), nil
	}
	if !verified {
		return nil, signatureFailure(sigv4.ErrMismatch, d).ofKey(a.AccessKeyID, d), nil
	}
	return credential, nil, nil
}

// ofKey adds the access key, which S3 repeats.
func (f *failure) ofKey(accessKeyID string, d dialect) *failure {
	if d == dialectREST {
		f.elements = [][2]string{{"AWSAccessKeyId", accessKeyID}}
	}
	return f
}

// lookupFailure words that nobody was found who has an access key, or returns why nobody could
// be looked for.
func lookupFailure(err error, d dialect, accessKeyID string) (*failure, error) {
	switch {
	case errors.Is(err, ErrUnknownKey):
		return unknownKey.failure(d).ofKey(accessKeyID, d), nil
	case errors.Is(err, ErrInvalidToken):
		return invalidToken.failure(d), nil
	case errors.Is(err, ErrExpiredToken):
		return expiredToken.failure(d), nil
	}
	return nil, fmt.Errorf("looking up access key %s: %w", accessKeyID, err)
}

// untimely words a signature that is not of this time. S3 tells one that was given too
// short a life from a clock that is wrong.
func (e *exchange) untimely(a *sigv4.Authorization, err *sigv4.Error) *failure {
	f := signatureFailure(err, e.service.dialect())
	switch now := e.start.UTC().Format(time.RFC3339); {
	case e.service.dialect() != dialectREST:
	case a.Presigned && e.start.After(a.Time):
		f.code, f.text = "AccessDenied", "Request has expired"
		f.elements = [][2]string{
			{"X-Amz-Expires", strconv.FormatInt(int64(a.Expires/time.Second), 10)},
			{"Expires", a.Time.Add(a.Expires).UTC().Format(time.RFC3339)}, {"ServerTime", now},
		}
	default:
		f.code, f.text = "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
		f.elements = [][2]string{
			{"RequestTime", a.Time.UTC().Format(time.RFC3339)}, {"ServerTime", now},
			{"MaxAllowedSkewMilliseconds", strconv.FormatInt(xmlWindow.Milliseconds(), 10)},
		}
	}
	return f
}

// scope refuses a signature made for another service or region, or for any operation.
func (e *exchange) scope(a *sigv4.Authorization) *sigv4.Error {
	if e.service != nil && a.Service != e.service.name {
		return &sigv4.Error{Code: sigv4.Invalid, Text: fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", e.service.name)}
	}
	if e.service == nil && e.g.byName[a.Service] == nil {
		return &sigv4.Error{Code: sigv4.Invalid, Text: "Credential should be scoped to a valid service. "}
	}
	// It names the operation: unsigned, whoever has hold of a signed request or a presigned
	// URL could make another of it.
	if e.r.Header["X-Amz-Target"] != nil && !slices.Contains(a.SignedHeaders, "x-amz-target") {
		return &sigv4.Error{Code: sigv4.Invalid, Text: "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."}
	}
	if !e.g.validRegion(a.Service, a.Region) {
		return &sigv4.Error{Code: sigv4.Invalid, Text: "Credential should be scoped to a valid region. "}
	}
	return nil
}

// validRegion reports whether a request may name the region. It becomes part of ARNs
// and of the keys of the store, so it is never anything odd.
func (g *gateway) validRegion(service, region string) bool {
	if region == "" || len(region) > 64 {
		return false
	}
	for _, c := range []byte(region) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	if g.cfg.Regions == nil || slices.Contains(g.cfg.Regions, region) {
		return true
	}
	return region == "us-east-1" && (service == "iam" || service == "sts" || service == "organizations")
}
