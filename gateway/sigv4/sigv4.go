// Package sigv4 checks AWS Signature Version 4, in the Authorization header or in the
// query of a presigned URL.
//
// It promises: Verify is true only for who has the secret of the access key, for this
// very method, path, query, body and signed headers; it compares in constant time.
//
// It does not know whose keys are whose, nor which protocol words an error how: the
// gateway does. Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
package sigv4

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	isoBasic   = "20060102T150405Z"

	// maxExpires is the longest life of a presigned URL.
	maxExpires = 7 * 24 * time.Hour
)

// Code is the kind of an Error. Each protocol has its own word for it.
type Code uint8

const (
	Missing    Code = iota + 1 // no signature at all
	Incomplete                 // one that cannot be read
	Invalid                    // wrong, or for another scope
	Untimely                   // not of this time
)

// An Error says why a request's signature is refused, in AWS's words.
type Error struct {
	Code Code
	Text string
}

func (e *Error) Error() string { return e.Text }

// Authorization is what a request says about who signed it, unverified.
type Authorization struct {
	AccessKeyID   string
	SessionToken  string
	Region        string
	Service       string
	Time          time.Time
	Presigned     bool
	Expires       time.Duration // of a presigned request, counted from Time
	SignedHeaders []string

	scopeDate string // yyyymmdd
	stamp     string // Time as it is signed
	signature [32]byte
	broken    bool // the signature is not even 64 hexadecimal digits
}

// Parse finds the signature of r and reads it.
func Parse(r *http.Request) (*Authorization, *Error) {
	header := r.Header.Get("Authorization")
	if r.URL.RawQuery != "" && strings.Contains(strings.ToLower(r.URL.RawQuery), "x-amz-") {
		query := queryParameters(r.URL.RawQuery)
		if _, ok := query["x-amz-signature"]; ok || query["x-amz-algorithm"] != "" {
			if header != "" {
				return nil, &Error{Incomplete, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified."}
			}
			return parseQuery(query)
		}
	}
	if header == "" {
		return nil, missing
	}
	return parseHeader(header, r.Header)
}

// Signs reports whether a query has, or means to have, a signature.
func Signs(raw string) bool {
	if raw == "" || !strings.Contains(strings.ToLower(raw), "x-amz-") {
		return false
	}
	query := queryParameters(raw)
	for _, name := range []string{"x-amz-signature", "x-amz-algorithm", "x-amz-credential"} {
		if _, ok := query[name]; ok {
			return true
		}
	}
	return false
}

var missing = &Error{Missing, "Missing Authentication Token"}

func parseHeader(header string, h http.Header) (*Authorization, *Error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if scheme != algorithm {
		if strings.HasPrefix(scheme, "AWS4-") {
			return nil, &Error{Incomplete, fmt.Sprintf("Unsupported AWS 'algorithm': '%s'.", scheme)}
		}
		return nil, missing
	}
	a := &Authorization{SessionToken: h.Get("X-Amz-Security-Token")}
	var credential, signedHeaders, signature string
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok || strings.ContainsAny(part, " \t\r\n") {
			// A space within is how a key copied with its line's end shows.
			if i := strings.IndexAny(part, " \t\r\n"); ok && i >= 0 {
				part = strings.TrimSpace(part[i:])
			}
			return nil, &Error{Incomplete, fmt.Sprintf("'%s' not a valid key=value pair (missing equal-sign) in Authorization header: '%s'.", part, header)}
		}
		switch key {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signedHeaders = value
		case "Signature":
			signature = value
		}
	}
	date := h.Get("X-Amz-Date")
	if date == "" {
		date = h.Get("Date")
	}
	if credential != "" && signedHeaders != "" && signature != "" && date != "" {
		return a, a.fill(credential, signedHeaders, signature, date)
	}
	var lacks []string
	for _, p := range []struct{ name, value string }{{"Credential", credential}, {"Signature", signature}, {"SignedHeaders", signedHeaders}} {
		if p.value == "" {
			lacks = append(lacks, fmt.Sprintf("Authorization header requires '%s' parameter.", p.name))
		}
	}
	if date == "" {
		lacks = append(lacks, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return nil, &Error{Incomplete, fmt.Sprintf("%s Authorization=%s", strings.Join(lacks, " "), header)}
}

func parseQuery(query map[string]string) (*Authorization, *Error) {
	if got := query["x-amz-algorithm"]; got != algorithm && got != "" {
		return nil, &Error{Incomplete, fmt.Sprintf("Unsupported AWS 'algorithm': '%s'.", got)}
	}
	var lacks []string
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date", "X-Amz-Expires"} {
		if query[strings.ToLower(name)] == "" {
			// STS alone lets a URL do without an end; then the clock window is its life.
			if name != "X-Amz-Expires" {
				lacks = append(lacks, fmt.Sprintf("AWS query-string parameters must include '%s'.", name))
			}
		}
	}
	if lacks != nil {
		return nil, &Error{Incomplete, strings.Join(lacks, " ") + " Re-examine the query-string parameters."}
	}
	a := &Authorization{Presigned: true, SessionToken: query["x-amz-security-token"]}
	if text := query["x-amz-expires"]; text != "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		switch {
		case err != nil:
			return nil, &Error{Incomplete, "X-Amz-Expires should be a number"}
		case seconds < 1:
			return nil, &Error{Incomplete, "X-Amz-Expires must be non-negative"}
		case seconds > int64(maxExpires/time.Second):
			return nil, &Error{Incomplete, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"}
		}
		a.Expires = time.Duration(seconds) * time.Second
	}
	return a, a.fill(query["x-amz-credential"], query["x-amz-signedheaders"], query["x-amz-signature"], query["x-amz-date"])
}

func (a *Authorization) fill(credential, signedHeaders, signature, date string) *Error {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 {
		return &Error{Incomplete, fmt.Sprintf("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'.", credential)}
	}
	a.AccessKeyID, a.scopeDate, a.Region, a.Service = scope[0], scope[1], scope[2], scope[3]

	t, ok := parseDate(date)
	if !ok {
		return &Error{Incomplete, fmt.Sprintf("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)}
	}
	a.Time = t
	a.stamp = date
	if len(date) != len(isoBasic) {
		a.stamp = t.Format(isoBasic)
	}
	if scope[4] != terminator {
		return &Error{Invalid, fmt.Sprintf("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, scope[4])}
	}
	if a.scopeDate != a.stamp[:8] {
		return &Error{Invalid, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", a.scopeDate, a.stamp[:8], a.stamp)}
	}
	a.SignedHeaders = strings.Split(signedHeaders, ";")
	if !properNames(a.SignedHeaders) {
		return &Error{Invalid, "SignedHeaders must be names in lower case, sorted, each of them once."}
	}
	if !slices.Contains(a.SignedHeaders, "host") {
		return &Error{Invalid, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."}
	}
	if len(signature) != hex.EncodedLen(len(a.signature)) {
		a.broken = true
	} else if _, err := hex.Decode(a.signature[:], []byte(signature)); err != nil {
		a.broken = true
	}
	return nil
}

// properNames reports whether names are sorted, in lower case and each there once, as AWS
// has it. A name that came again and again would have its header's value written again and
// again, for whoever asks.
func properNames(names []string) bool {
	for i, name := range names {
		if name == "" || i > 0 && name <= names[i-1] || strings.ToLower(name) != name {
			return false
		}
	}
	return true
}

// parseDate reads the two forms that X-Amz-Date and Date have.
func parseDate(s string) (time.Time, bool) {
	if len(s) == len(isoBasic) && s[8] == 'T' && s[15] == 'Z' {
		if t, ok := parseISO(s); ok {
			return t, true
		}
	}
	t, err := http.ParseTime(s)
	return t.UTC(), err == nil
}

// parseISO is time.Parse(isoBasic, s) at a tenth of its cost.
func parseISO(s string) (time.Time, bool) {
	number := func(from, to int) int {
		n := 0
		for _, c := range []byte(s[from:to]) {
			if c < '0' || c > '9' {
				return -1 << 20
			}
			n = n*10 + int(c-'0')
		}
		return n
	}
	y, mo, d, h, mi, sec := number(0, 4), number(4, 6), number(6, 8), number(9, 11), number(11, 13), number(13, 15)
	if y < 0 || mo < 1 || mo > 12 || d < 1 || h < 0 || h > 23 || mi < 0 || mi > 59 || sec < 0 || sec > 59 {
		return time.Time{}, false
	}
	t := time.Date(y, time.Month(mo), d, h, mi, sec, 0, time.UTC)
	return t, t.Day() == d // the 31st of February is none
}

// CheckTime refuses a signature that is not of this time. The window is how far the
// clocks may differ: five minutes for the JSON services, fifteen for the others.
func (a *Authorization) CheckTime(now time.Time, window time.Duration) *Error {
	now = now.UTC().Truncate(time.Second)
	if a.Time.After(now.Add(window)) {
		return &Error{Untimely, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)",
			a.stamp, now.Add(window).Format(isoBasic), now.Format(isoBasic), window/time.Minute)}
	}
	if a.Presigned && a.Expires > 0 {
		window = a.Expires
	}
	if a.Time.Before(now.Add(-window)) {
		return &Error{Untimely, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)",
			a.stamp, now.Add(-window).Format(isoBasic), now.Format(isoBasic), window/time.Minute)}
	}
	return nil
}

// queryParameters are the signing parameters in a query, by lower-case name.
func queryParameters(raw string) map[string]string {
	found := map[string]string{}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name = strings.ToLower(name); !strings.HasPrefix(name, "x-amz-") {
			continue
		}
		if value, err := url.PathUnescape(value); err == nil {
			found[name] = value
		}
	}
	return found
}
