package malotetest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/malotetest"
)

// Whoever heard a request may repeat it, byte for byte, as long as AWS takes it, and no
// longer.
func TestReplay(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	keys, err := sys.Config().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bucket := doorBucket
	if _, err := s3.NewFromConfig(sys.Config()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	request := func(method, path, target, body string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, sys.Endpoint()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case target != "":
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Target", target)
		case method == http.MethodPost:
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r
	}
	form := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}
	presigned := func(service, path, expires, hash string) *http.Request {
		r := request(http.MethodGet, path, "", "")
		query := r.URL.Query()
		if expires != "" {
			query.Set("X-Amz-Expires", expires)
		}
		r.URL.RawQuery = query.Encode()
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), keys, r, hash, service, malotetest.Region, sys.Clock.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signed); err != nil {
			t.Fatal(err)
		}
		return r
	}
	signed := func(service string, r *http.Request) *http.Request {
		sign(t, &keys, service, r, sys.Clock.Now())
		return r
	}
	const (
		expired = `Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - (\d+) min\.\)`
		early   = `Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ (\d+) min\.\)`
		skewed  = `The difference between the request time and the current time is too large\.`
		nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	)
	for _, tt := range []struct {
		name     string
		protocol model.Protocol
		capture  func() *http.Request
		good     time.Duration // after which it is taken still
		bad      time.Duration // and after which it is not
		want     refusal
	}{
		{"JSON", model.JSON, func() *http.Request {
			return signed("secretsmanager", request(http.MethodPost, "/", "secretsmanager.ListSecrets", "{}"))
		},
			4*time.Minute + 50*time.Second, 5*time.Minute + 10*time.Second, refusal{400, "InvalidSignatureException", expired}},
		{"JSON, of a clock ahead", model.JSON, func() *http.Request {
			r := request(http.MethodPost, "/", "secretsmanager.ListSecrets", "{}")
			sign(t, &keys, "secretsmanager", r, sys.Clock.Now().Add(20*time.Minute))
			return r
		},
			16 * time.Minute, 0, refusal{400, "InvalidSignatureException", early}},
		{"Query", model.Query, func() *http.Request { return signed("sts", request(http.MethodPost, "/", "", form.Encode())) },
			14*time.Minute + 50*time.Second, 15*time.Minute + 10*time.Second, refusal{403, "SignatureDoesNotMatch", expired}},
		{"S3", model.RestXML, func() *http.Request {
			return signed("s3", request(http.MethodGet, "/"+doorBucket+"?list-type=2", "", ""))
		},
			14*time.Minute + 50*time.Second, 15*time.Minute + 10*time.Second, refusal{403, "RequestTimeTooSkewed", skewed}},
		{"S3, presigned", model.RestXML, func() *http.Request {
			return presigned("s3", "/"+doorBucket+"?list-type=2", "60", "UNSIGNED-PAYLOAD")
		},
			50 * time.Second, 70 * time.Second, refusal{403, "AccessDenied", "Request has expired"}},
		{"S3, presigned for longer than the window", model.RestXML, func() *http.Request {
			return presigned("s3", "/"+doorBucket+"?list-type=2", "7200", "UNSIGNED-PAYLOAD")
		},
			119 * time.Minute, 121 * time.Minute, refusal{403, "AccessDenied", "Request has expired"}},
		{"Query, presigned", model.Query, func() *http.Request { return presigned("sts", "/?"+form.Encode(), "60", nothing) },
			50 * time.Second, 70 * time.Second, refusal{403, "SignatureDoesNotMatch", expired}},
		{"Query, presigned without an end", model.Query, func() *http.Request { return presigned("sts", "/?"+form.Encode(), "", nothing) },
			14*time.Minute + 50*time.Second, 15*time.Minute + 10*time.Second, refusal{403, "SignatureDoesNotMatch", expired}},
		{"JSON, for the engine's handlers", model.JSON, func() *http.Request {
			return signed("ecs", request(http.MethodGet, "/holdings?region=us-east-1", "", ""))
		},
			4*time.Minute + 50*time.Second, 5*time.Minute + 10*time.Second, refusal{400, "InvalidSignatureException", expired}},
	} {
		// One after another: they share a clock.
		captured := tt.capture()
		var body []byte
		if captured.Body != nil {
			var err error
			if body, err = io.ReadAll(captured.Body); err != nil {
				t.Fatal(err)
			}
		}
		at := time.Duration(0)
		replay := func(after time.Duration) (int, string) {
			sys.Clock.Advance(after - at)
			at = after
			again := captured.Clone(t.Context())
			again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			response, err := http.DefaultClient.Do(again)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			answer, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return response.StatusCode, string(answer)
		}
		refused := func() {
			status, answer := replay(tt.bad)
			code, text := errorOf(t, tt.protocol, answer)
			if status != tt.want.status || code != tt.want.code || !regexp.MustCompile(`^`+tt.want.text+`$`).MatchString(text) {
				t.Errorf("%s, replayed after %v: %d %s: %s", tt.name, tt.bad, status, code, text)
			}
		}
		taken := func() {
			if status, answer := replay(tt.good); status != http.StatusOK {
				t.Errorf("%s, replayed after %v: %d %s", tt.name, tt.good, status, answer)
			}
		}
		if tt.good > tt.bad {
			refused()
			taken()
		} else {
			taken()
			refused()
		}
	}
}
