package sigv4

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var testTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// The example of AWS's documentation, whose every step is printed there.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func TestDocumentedExample(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/?Action=ListUsers&Version=2010-05-08", nil)
	r.Host = "iam.amazonaws.com"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "+
		"SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	a, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	canonical := string(appendCanonical(nil, a, r, hashOf(""), false))
	if got, want := hashOf(canonical), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"; got != want {
		t.Errorf("hash of the canonical request = %s, want %s:\n%s", got, want, canonical)
	}
	var v Verifier
	if !v.Verify(a, r, hashOf(""), testSecret) {
		t.Error("the documented signature does not verify")
	}
	if v.Verify(a, r, hashOf("x"), testSecret) {
		t.Error("it verifies with another body")
	}
	if v.Verify(a, r, hashOf(""), testSecret+"x") {
		t.Error("it verifies with another secret, although the key is remembered")
	}
}

// Cases of AWS's published test suite: https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite
func TestPublishedSuite(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method, target, headers, signature string }{
		{"get-vanilla", "GET", "/", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"post-vanilla", "POST", "/", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"get-vanilla-query-unreserved", "GET", "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, tt.target, nil)
			r.Host = "example.amazonaws.com"
			r.Header.Set("X-Amz-Date", "20150830T123600Z")
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+tt.headers+", Signature="+tt.signature)
			a, err := Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			var v Verifier
			if !v.Verify(a, r, hashOf(""), testSecret) {
				t.Errorf("does not verify; canonical request:\n%s", appendCanonical(nil, a, r, hashOf(""), false))
			}
		})
	}
}

func signed(t testing.TB, method, target, body, service string, headers http.Header, opts ...func(*v4.SignerOptions)) *http.Request {
	t.Helper()
	out, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range headers {
		out.Header[name] = values
	}
	credentials := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "a/session+token=="}
	if err := v4.NewSigner(opts...).SignHTTP(t.Context(), credentials, out, hashOf(body), service, "eu-central-1", testTime); err != nil {
		t.Fatal(err)
	}
	return received(t, out)
}

// received is a client's request as a server reads it from the wire.
func received(t testing.TB, out *http.Request) *http.Request {
	t.Helper()
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.WithoutCancel(r.Context()))
	}))
	defer server.Close()
	host := out.URL.Host
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	out.Host = host
	out.URL.Host, out.URL.Scheme = address.Host, "http"
	response, err := server.Client().Do(out)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return got
}

// Whatever Amazon's own signer signs verifies after it has been through a server, and
// nothing else does.
func TestSDKSigner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, url, body, service string
		headers                          http.Header
	}{
		{"json", "POST", "https://kms.eu-central-1.amazonaws.com/", `{"KeyId":"x"}`, "kms", http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Content-Type": {"application/x-amz-json-1.1"}}},
		{"port", "POST", "http://127.0.0.1:4510/", `{}`, "kms", nil},
		{"no path", "POST", "http://127.0.0.1:4510", ``, "sts", nil},
		{"query", "GET", "https://sts.amazonaws.com/?Version=2011-06-15&Action=GetCallerIdentity&b=2&a=&a=1", ``, "sts", nil},
		{"query unreserved", "GET", "https://sts.amazonaws.com/?x=%7E%2A-._~*&%2F=%2f&e=%C3%A9&space=a%20b&plus=a%2Bb", ``, "sts", nil},
		{"query without value", "GET", "https://sts.amazonaws.com/?x&y", ``, "sts", nil},
		{"spaces in headers", "POST", "https://sts.amazonaws.com/", `a`, "sts", http.Header{"X-Odd": {"  a   b  c "}, "My-List": {"one", "two , three"}}},
		{"path", "GET", "https://ecs.amazonaws.com/acs/a%20b/c%2Fd", ``, "ecs", nil},
		{"unicode path", "GET", "https://ecs.amazonaws.com/acs/ol%C3%A9!$&'()*+,;=:@", ``, "ecs", nil},
		{"trailing slash", "GET", "https://ecs.amazonaws.com/acs/", ``, "ecs", nil},
		{"delete", "DELETE", "https://ecs.amazonaws.com/acs", ``, "ecs", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := signed(t, tt.method, tt.url, tt.body, tt.service, tt.headers)
			a, err := Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			if a.AccessKeyID != testKey || a.Region != "eu-central-1" || a.Service != tt.service || a.SessionToken != "a/session+token==" || !a.Time.Equal(testTime) {
				t.Errorf("Parse = %+v", a)
			}
			var v Verifier
			for range 2 { // derived, and remembered
				if !v.Verify(a, r, hashOf(tt.body), testSecret) {
					t.Fatalf("does not verify; canonical request:\n%s", appendCanonical(nil, a, r, hashOf(tt.body), false))
				}
			}
			for what, change := range map[string]func(r *http.Request){
				"method": func(r *http.Request) { r.Method = "PUT" },
				"path":   func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/other", "" },
				"query":  func(r *http.Request) { r.URL.RawQuery += "&more=1" },
				"host":   func(r *http.Request) { r.Host = "evil.example" },
				"token":  func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "another") },
			} {
				altered := r.Clone(t.Context())
				change(altered)
				if v.Verify(a, altered, hashOf(tt.body), testSecret) {
					t.Errorf("verifies with another %s", what)
				}
			}
		})
	}
}

func TestSDKPresigner(t *testing.T) {
	t.Parallel()
	out, err := http.NewRequest("GET", "https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Header.Set("X-K8s-Aws-Id", "a cluster")
	credentials := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "a/session+token=="}
	link, _, err := v4.NewSigner().PresignHTTP(t.Context(), credentials, out, hashOf(""), "sts", "us-east-1", testTime)
	if err != nil {
		t.Fatal(err)
	}
	out, err = http.NewRequest("GET", link, nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Header.Set("X-K8s-Aws-Id", "a cluster")
	r := received(t, out)
	a, parseErr := Parse(r)
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	if !a.Presigned || a.Expires != time.Minute || a.SessionToken != "a/session+token==" {
		t.Errorf("Parse = %+v", a)
	}
	var v Verifier
	if !v.Verify(a, r, hashOf(""), testSecret) {
		t.Fatalf("does not verify; canonical request:\n%s", appendCanonical(nil, a, r, hashOf(""), false))
	}
	if err := a.CheckTime(testTime.Add(time.Minute), 15*time.Minute); err != nil {
		t.Errorf("at its end: %v", err)
	}
	if err := a.CheckTime(testTime.Add(61*time.Second), 15*time.Minute); err == nil || err.Text != "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T123701Z - 1 min.)" {
		t.Errorf("after its end: %v", err)
	}
	r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Expires=60", "X-Amz-Expires=600", 1)
	if a, err := Parse(r); err != nil || v.Verify(a, r, hashOf(""), testSecret) {
		t.Errorf("verifies with another end (%v)", err)
	}
}

func TestCheckTime(t *testing.T) {
	t.Parallel()
	at := func(stamp string) *Authorization {
		signedAt, ok := parseDate(stamp)
		if !ok {
			t.Fatal(stamp)
		}
		return &Authorization{Time: signedAt, stamp: stamp}
	}
	now := time.Date(2024, 5, 22, 12, 14, 8, 0, time.UTC)
	for _, tt := range []struct {
		stamp  string
		window time.Duration
		want   string
	}{
		{"20240522T121408Z", 5 * time.Minute, ""},
		{"20240522T120908Z", 5 * time.Minute, ""},
		{"20240522T121908Z", 5 * time.Minute, ""},
		{"20240522T115547Z", 5 * time.Minute, "Signature expired: 20240522T115547Z is now earlier than 20240522T120908Z (20240522T121408Z - 5 min.)"},
		{"20240522T115547Z", 15 * time.Minute, "Signature expired: 20240522T115547Z is now earlier than 20240522T115908Z (20240522T121408Z - 15 min.)"},
		{"20240522T122001Z", 5 * time.Minute, "Signature not yet current: 20240522T122001Z is still later than 20240522T121908Z (20240522T121408Z + 5 min.)"},
	} {
		got := ""
		if err := at(tt.stamp).CheckTime(now, tt.window); err != nil {
			got = err.Text
		}
		if got != tt.want {
			t.Errorf("CheckTime(%s, %s) = %q, want %q", tt.stamp, tt.window, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const good = "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/kms/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	for _, tt := range []struct {
		name, header, date, target string
		code                       Code
		want                       string
	}{
		{"nothing", "", "20150830T123600Z", "/", Missing, "Missing Authentication Token"},
		{"another scheme", "Bearer x", "20150830T123600Z", "/", Missing, "Missing Authentication Token"},
		{"SigV4a", strings.Replace(good, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1), "20150830T123600Z", "/", Incomplete, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		{"no date", good, "", "/", Incomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=" + good},
		{"two parts missing", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e", "20150830T123600Z", "/", Incomplete, "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4-HMAC-SHA256 Credential=a/b/c/d/e"},
		{"key with a space", "AWS4-HMAC-SHA256 Credential=AK ID/20150830/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0", "20150830T123600Z", "/", Incomplete,
			"'ID/20150830/us-east-1/kms/aws4_request' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 Credential=AK ID/20150830/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0'."},
		{"short scope", strings.Replace(good, "/kms", "", 1), "20150830T123600Z", "/", Incomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKID/20150830/us-east-1/aws4_request'."},
		{"terminator", strings.Replace(good, "aws4_request", "aws5_request", 1), "20150830T123600Z", "/", Invalid, "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."},
		{"odd date", good, "yesterday", "/", Incomplete, "Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"impossible date", good, "20150231T123600Z", "/", Incomplete, "Date must be in ISO-8601 'basic format'. Got '20150231T123600Z'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"another day", good, "20150831T123600Z", "/", Invalid, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150830' != '20150831', from '20150831T123600Z'."},
		{"host unsigned", strings.Replace(good, "host;", "", 1), "20150830T123600Z", "/", Invalid, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"twice", good, "20150830T123600Z", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256", Incomplete, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified."},
		{"presigned in part", "", "", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", Incomplete, "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."},
		{"presigned for ever", "", "", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0&X-Amz-Credential=a&X-Amz-SignedHeaders=host&X-Amz-Date=20150830T123600Z&X-Amz-Expires=604801", Incomplete, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", tt.target, nil)
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			if tt.date != "" {
				r.Header.Set("X-Amz-Date", tt.date)
			}
			_, err := Parse(r)
			if err == nil {
				t.Fatalf("Parse succeeded, want %q", tt.want)
			}
			if err.Code != tt.code || err.Text != tt.want {
				t.Errorf("Parse = %d %q, want %d %q", err.Code, err.Text, tt.code, tt.want)
			}
		})
	}
}

func TestDateHeader(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Date", "Sun, 30 Aug 2015 12:36:00 GMT")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/kms/aws4_request,SignedHeaders=host,Signature=00")
	a, err := Parse(r)
	if err != nil || !a.Time.Equal(testTime) || a.stamp != "20150830T123600Z" {
		t.Fatalf("Parse = %+v, %v", a, err)
	}
	var v Verifier
	if v.Verify(a, r, hashOf(""), testSecret) {
		t.Error("a signature of two digits verifies")
	}
}

// The memory of derived keys is bounded, and nobody without a secret gets into it.
func TestVerifierBounded(t *testing.T) {
	t.Parallel()
	var v Verifier
	for i := range 3*maxKeys + 5 {
		v.keep(keyID{accessKeyID: strconv.Itoa(i)}, &signingKey{})
	}
	if n := len(v.young) + len(v.old); n > 2*maxKeys {
		t.Errorf("%d keys are remembered, want at most %d", n, 2*maxKeys)
	}
	v = Verifier{}
	r := signed(t, "POST", "https://kms.amazonaws.com/", "", "kms", nil)
	a, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if v.Verify(a, r, hashOf(""), "wrong") || len(v.young) != 0 {
		t.Errorf("a wrong signature is remembered")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("POST", "/", "a=1&b=%20", "x  y", []byte("body"))
	f.Add("GET", "/a//b/../c%2F%zz", "X-Amz-Signature=1&&=&%", "\t", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, query, header string, body []byte) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "h", Header: http.Header{
			"X-Odd": {header}, "X-Amz-Date": {"20150830T123600Z"},
			"Authorization": {"AWS4-HMAC-SHA256 Credential=" + testKey + "/20150830/r/kms/aws4_request,SignedHeaders=host;x-odd,Signature=" + strings.Repeat("0", 64)},
		}}
		a, err := Parse(r)
		if err != nil {
			return
		}
		// Its own signature is the only one that verifies.
		payload := hashOf(string(body))
		var v Verifier
		a.signature = derive(testSecret, a).sign(a, r, payload)
		if !v.Verify(a, r, payload, testSecret) {
			t.Fatal("its own signature does not verify")
		}
		a.signature[len(body)%32] ^= 1 << (len(query) % 8)
		if v.Verify(a, r, payload, testSecret) {
			t.Fatal("an altered signature verifies")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/20150830/r/kms/aws4_request,SignedHeaders=host,Signature=0", "20150830T123600Z", "X-Amz-Expires=1")
	f.Fuzz(func(t *testing.T, header, date, query string) {
		r := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{"Authorization": {header}, "X-Amz-Date": {date}}}
		a, err := Parse(r)
		if err == nil && len(a.stamp) != len(isoBasic) {
			t.Errorf("Parse took the date %q", a.stamp)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := signed(b, "POST", "https://kms.eu-central-1.amazonaws.com/", `{"KeyId":"x"}`, "kms", http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Content-Type": {"application/x-amz-json-1.1"}})
	payload := hashOf(`{"KeyId":"x"}`)
	var v Verifier
	b.ReportAllocs()
	for b.Loop() {
		a, err := Parse(r)
		if err != nil || !v.Verify(a, r, payload, testSecret) {
			b.Fatal("does not verify")
		}
	}
}

// A request of 60 KB must not cost hundreds of MB, which anybody could send: the key need
// not exist.
func TestRepeatedHeaders(t *testing.T) {
	t.Parallel()
	for _, names := range []string{"host" + strings.Repeat(";x", 15000), "host;x;X", "x;host", "host;;x", ";host"} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("X", strings.Repeat("x", 1<<10))
		r.Header.Set("X-Amz-Date", "20150830T123600Z")
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders="+names+", Signature="+strings.Repeat("0", 64))
		if _, err := Parse(r); err == nil || err.Code != Invalid {
			t.Errorf("%.20s: error = %v, want that the names are not proper", names, err)
		}
	}
}
