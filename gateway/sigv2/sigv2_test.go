package sigv2_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/malote/malote/gateway/sigv2"
)

const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// signature signs a text that a test spells out.
func signature(text string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// verify reads and checks a request; the error is that of reading.
func verify(t *testing.T, method, target, bucket string, header http.Header) (bool, *sigv2.Error) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	a, wrong := sigv2.Parse(r, query)
	if wrong != nil {
		return false, wrong
	}
	return a.Verify(r, query, bucket, secret), nil
}

func TestVerify(t *testing.T) {
	t.Parallel()
	const who = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1175139620&Signature="
	sign := func(text string) string { return who + url.QueryEscape(signature(text)) }
	for name, tt := range map[string]struct {
		method, target, bucket string
		header                 http.Header
		want                   bool
	}{
		// The example of AWS's page, with its signature.
		"documented":     {"GET", "/photos/puppy.jpg?" + who + "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", "johnsmith", nil, true},
		"in the path":    {"GET", "/johnsmith/photos/puppy.jpg?" + who + "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", "", nil, true},
		"another key":    {"GET", "/photos/puppies.jpg?" + who + "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", "johnsmith", nil, false},
		"another bucket": {"GET", "/photos/puppy.jpg?" + who + "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", "janesmith", nil, false},
		"another method": {"PUT", "/photos/puppy.jpg?" + who + "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", "johnsmith", nil, false},
		"another time":   {"GET", "/photos/puppy.jpg?" + strings.Replace(who, "1175139620", "2175139620", 1) + "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", "johnsmith", nil, false},
		"no base64":      {"GET", "/photos/puppy.jpg?" + who + "!!!!", "johnsmith", nil, false},

		"parameters":       {"GET", "/b/k?" + sign("GET\n\n\n1175139620\n/b/k?response-content-type=text/plain; a&versionId=v") + "&versionId=v&response-content-type=text%2Fplain%3B%20a&x-id=GetObject", "", nil, true},
		"one more of them": {"GET", "/b/k?" + sign("GET\n\n\n1175139620\n/b/k") + "&versionId=v", "", nil, false},
		"one less":         {"GET", "/b/k?" + sign("GET\n\n\n1175139620\n/b/k?versionId=v"), "", nil, false},
		"a flag":           {"PUT", "/b/k?" + sign("PUT\n\n\n1175139620\n/b/k?tagging") + "&tagging", "", nil, true},

		"headers in the query":        {"PUT", "/b/k?" + sign("PUT\n\ntext/plain\n1175139620\nx-amz-meta-a:1\nx-amz-security-token:t+/=\n/b/k") + "&x-amz-security-token=t%2B%2F%3D&x-amz-meta-a=1&content-type=text/plain", "", nil, true},
		"headers":                     {"PUT", "/b/k?" + sign("PUT\nbWQ1\ntext/plain\n1175139620\nx-amz-meta-a:1\n/b/k"), "", http.Header{"Content-Md5": {"bWQ1"}, "Content-Type": {" text/plain "}, "X-Amz-Meta-A": {" 1 "}}, true},
		"another header":              {"PUT", "/b/k?" + sign("PUT\n\n\n1175139620\n/b/k"), "", http.Header{"X-Amz-Meta-A": {"1"}}, false},
		"another type":                {"PUT", "/b/k?" + sign("PUT\n\n\n1175139620\n/b/k"), "", http.Header{"Content-Type": {"text/plain"}}, false},
		"the header before the query": {"PUT", "/b/k?" + sign("PUT\n\n\n1175139620\nx-amz-meta-a:1\n/b/k") + "&x-amz-meta-a=1", "", http.Header{"X-Amz-Meta-A": {"2"}}, false},
		"as it is escaped":            {"GET", "/b/a%20b%2Fc?" + sign("GET\n\n\n1175139620\n/b/a%20b%2Fc"), "", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := verify(t, tt.method, tt.target, tt.bucket, tt.header); err != nil || got != tt.want {
				t.Errorf("%v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// What could be read in two ways is not read at all.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const good = "/b/k?AWSAccessKeyId=A&Expires=1&Signature=x"
	for name, tt := range map[string]struct {
		target string
		header http.Header
		want   string
	}{
		"no key":             {"/b/k?Expires=1&Signature=x", nil, sigv2.TextIncomplete},
		"no time":            {"/b/k?AWSAccessKeyId=A&Signature=x", nil, sigv2.TextIncomplete},
		"no signature":       {"/b/k?AWSAccessKeyId=A&Expires=1", nil, sigv2.TextIncomplete},
		"no number":          {"/b/k?AWSAccessKeyId=A&Expires=soon&Signature=x", nil, "Invalid date (should be seconds since epoch): soon"},
		"before 1970":        {"/b/k?AWSAccessKeyId=A&Expires=-1&Signature=x", nil, "Invalid date"},
		"after 9999":         {"/b/k?AWSAccessKeyId=A&Expires=999999999999&Signature=x", nil, "Invalid date"},
		"two keys":           {good + "&AWSAccessKeyId=B", nil, "AWSAccessKeyId is there more than once"},
		"two versions":       {good + "&versionId=1&versionId=2", nil, "versionId is there more than once"},
		"two headers in it":  {good + "&x-amz-meta-a=1&x-amz-meta-a=2", nil, "x-amz-meta-a is there more than once"},
		"two headers":        {good, http.Header{"X-Amz-Meta-A": {"1", "2"}}, "x-amz-meta-a is there more than once"},
		"a line more":        {good + "&x-amz-meta-a=1%0Ax-amz-meta-b:2", nil, "x-amz-meta-a cannot be a header"},
		"two in one":         {good + "&x-amz-meta-a%3Ab=c", nil, "x-amz-meta-a:b cannot be a header"},
		"a line in a name":   {good + "&x-amz-acl%3Aprivate%0Ax-amz-tagging=t", nil, "cannot be a header"},
		"one within another": {good + "&response-content-type=a%26versionId%3Dv", nil, "response-content-type cannot have another within it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := verify(t, "GET", tt.target, "", tt.header); err == nil || !strings.Contains(err.Text, tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// FuzzVerify: whatever the query is, reading it ends, and it is verified only when it is the
// one that was signed, in another order or with parameters that choose nothing.
func FuzzVerify(f *testing.F) {
	const query = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1175139620&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
	f.Add(query, "")
	f.Add(query+"&versionId=v&x-amz-meta-a=1", "a")
	f.Add("Signature=&Expires=%31", "\n")
	f.Fuzz(func(t *testing.T, raw, meta string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/photos/puppy.jpg", RawQuery: raw}, Header: http.Header{}}
		if meta != "" {
			r.Header.Set("X-Amz-Meta-A", meta)
		}
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		a, wrong := sigv2.Parse(r, values)
		if wrong != nil || !a.Verify(r, values, "johnsmith", secret) {
			return
		}
		if a.AccessKeyID == "" || a.Expires.Unix() != 1175139620 || values.Has("versionId") || values.Has("response-content-type") || len(r.Header) > 0 {
			t.Errorf("%q with %q passes for what was signed: %+v", raw, r.Header, a)
		}
	})
}
