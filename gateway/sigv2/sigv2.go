// Package sigv2 checks AWS Signature Version 2 in the query of a presigned URL for S3:
// boto3 and version 1 of the AWS CLI still make them for the older Regions, unasked.
//
// It promises: Verify is true only for who has the secret of the access key, for this very
// method, bucket, path, time of expiry, every x-amz- header and every parameter that chooses
// what is answered; it compares in constant time. A body is not signed.
//
// It knows neither whose keys are whose nor which operations may be asked for so, and not the
// Authorization header of this version. Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
package sigv2

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Authorization is what a URL says about who signed it, unverified.
type Authorization struct {
	AccessKeyID  string
	SessionToken string
	Expires      time.Time

	expires   string // as it is signed
	signature []byte
}

// Present reports whether a query is signed, or means to be, by this version.
func Present(query url.Values) bool { return query.Has("AWSAccessKeyId") || query.Has("Signature") }

// TextIncomplete is what AWS says of a URL that lacks a parameter.
const TextIncomplete = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"

// An Error says, in AWS's words, what of a URL cannot be read.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// Parse reads the signature of a request with this query. Parameters that clients move from
// the headers into the URL (x-amz-…, Content-Type, Content-MD5) become headers of r, unless
// it has them: what is signed is then what is done.
func Parse(r *http.Request, query url.Values) (*Authorization, *Error) {
	a := &Authorization{AccessKeyID: query.Get("AWSAccessKeyId"), expires: query.Get("Expires")}
	signature := query.Get("Signature")
	if a.AccessKeyID == "" || a.expires == "" || signature == "" {
		return nil, &Error{TextIncomplete}
	}
	seconds, err := strconv.ParseInt(a.expires, 10, 64)
	if err != nil || seconds < 0 || seconds > lastSecond {
		return nil, &Error{fmt.Sprintf("Invalid date (should be seconds since epoch): %s", a.expires)}
	}
	a.Expires = time.Unix(seconds, 0)
	for name, values := range r.Header { // joined, two would pass for one with a comma
		if hoisted(name) && len(values) != 1 {
			return nil, &Error{fmt.Sprintf("The header %s is there more than once", strings.ToLower(name))}
		}
	}
	for name, values := range query {
		if len(values) != 1 && distinct(name) {
			return nil, &Error{fmt.Sprintf("The parameter %s is there more than once", name)}
		}
		if !hoisted(name) || r.Header[http.CanonicalHeaderKey(name)] != nil {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(values[0]) {
			return nil, &Error{fmt.Sprintf("The parameter %s cannot be a header", name)} // nor pass for other lines of what is signed
		}
		r.Header[http.CanonicalHeaderKey(name)] = []string{values[0]}
	}
	for name, value := range chosen(query) {
		// The parameters are signed decoded and side by side: one could pass for two.
		for other := range signed {
			if strings.Contains(value, "&"+other) {
				return nil, &Error{fmt.Sprintf("The parameter %s cannot have another within it", name)}
			}
		}
	}
	a.SessionToken = r.Header.Get("X-Amz-Security-Token")
	// One that cannot be decoded fits nothing.
	a.signature, _ = base64.StdEncoding.DecodeString(signature)
	return a, nil
}

// lastSecond is of the year 9999, the last that a time in an answer can have.
const lastSecond = 253402300799

// hoisted reports whether a parameter stands for a header.
func hoisted(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "x-amz-") || name == "content-type" || name == "content-md5"
}

// distinct reports whether a parameter means something here, and so is there once.
func distinct(name string) bool {
	return hoisted(name) || signed[name] || name == "AWSAccessKeyId" || name == "Expires" || name == "Signature"
}

// signed are the parameters that are part of the resource, and so of what is signed.
var signed = map[string]bool{
	"accelerate": true, "acl": true, "analytics": true, "attributes": true, "cors": true, "delete": true, "encryption": true, "inventory": true, "legal-hold": true, "lifecycle": true,
	"location": true, "logging": true, "metrics": true, "notification": true, "object-lock": true, "ownershipControls": true, "partNumber": true,
	"policy": true, "policyStatus": true, "publicAccessBlock": true, "replication": true, "requestPayment": true, "response-cache-control": true,
	"response-content-disposition": true, "response-content-encoding": true, "response-content-language": true, "response-content-type": true,
	"response-expires": true, "restore": true, "retention": true, "select": true, "select-type": true, "storageClass": true, "tagging": true, "torrent": true, "uploadId": true,
	"uploads": true, "versionId": true, "versioning": true, "versions": true, "website": true,
}

// chosen are the parameters of the query that are signed.
func chosen(query url.Values) map[string]string {
	found := map[string]string{}
	for name, values := range query {
		if signed[name] {
			found[name] = values[0]
		}
	}
	return found
}

// Verify reports whether a is r's signature under secret. The bucket is that of the host's
// name, "" when it is in the path.
func (a *Authorization) Verify(r *http.Request, query url.Values, bucket, secret string) bool {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(a.toSign(r, query, bucket)))
	return subtle.ConstantTimeCompare(mac.Sum(nil), a.signature) == 1
}

// toSign is what a client signs.
func (a *Authorization) toSign(r *http.Request, query url.Values, bucket string) string {
	var b strings.Builder
	for _, line := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), a.expires} {
		b.WriteString(strings.TrimSpace(line))
		b.WriteByte('\n')
	}
	headers := map[string]string{}
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			headers[name] = strings.TrimSpace(values[0])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		b.WriteString(name + ":" + headers[name] + "\n")
	}
	if bucket != "" {
		b.WriteString("/" + bucket)
	}
	if path := r.URL.EscapedPath(); path == "" {
		b.WriteByte('/')
	} else {
		b.WriteString(path)
	}
	parameters := chosen(query)
	separator := byte('?')
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		b.WriteByte(separator)
		b.WriteString(name)
		if parameters[name] != "" {
			b.WriteString("=" + parameters[name])
		}
		separator = '&'
	}
	return b.String()
}
