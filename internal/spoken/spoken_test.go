package spoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/internal/spoken"
)

// The errors are those that the SDK's clients make of what a server answers.
func TestTextOfTheSDK(t *testing.T) {
	t.Parallel()
	answer := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Amzn-Requestid", "00000000-0000-0000-0000-000000000000")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const absent = `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`
	get := func(ctx context.Context, config aws.Config) error {
		_, err := secretsmanager.NewFromConfig(config).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
		return err
	}
	for _, tt := range []struct {
		name   string
		server http.HandlerFunc
		call   func(context.Context, aws.Config) error
		want   string
	}{
		{"modelled", answer(400, "application/x-amz-json-1.1", absent), get, "ResourceNotFoundException: Secrets Manager can't find the specified secret."},
		{"without a message", answer(400, "application/x-amz-json-1.1", `{"__type":"ResourceNotFoundException"}`), get, "ResourceNotFoundException (GetSecretValue)"},
		{"not modelled", answer(400, "application/x-amz-json-1.1", `{"__type":"AccessDeniedException","Message":"no"}`), get, "AccessDeniedException: no"},
		{"tried again", answer(500, "application/x-amz-json-1.1", `{"__type":"InternalServiceError","Message":"An internal error occurred."}`), get, "InternalServiceError: An internal error occurred."},
		{"with words around it", answer(400, "application/x-amz-json-1.1", absent), func(ctx context.Context, config aws.Config) error {
			return errors.Join(fmt.Errorf("reading %s: %w", "db", get(ctx, config)), errors.New("another"))
		}, "reading db: ResourceNotFoundException: Secrets Manager can't find the specified secret.\nanother"},
		{"S3", answer(404, "application/xml", "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"), func(ctx context.Context, config aws.Config) error {
			_, err := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
			return err
		}, "NoSuchKey: The specified key does not exist."},
		{"credentials", answer(403, "text/xml", "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>"), func(ctx context.Context, config aws.Config) error {
			assuming := config.Copy()
			assuming.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(config), "arn:aws:iam::123456789012:role/app"))
			return get(ctx, assuming)
		}, "get identity: get credentials: failed to refresh cached credentials, AccessDenied: User is not authorized to perform: sts:AssumeRole"},
		{"a proxy", answer(502, "text/html", "<html>"), get, "HTTP status 502: deserialization failed, failed to decode response body, invalid character '<' looking for beginning of value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tt.server)
			defer server.Close()
			err := tt.call(t.Context(), aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKID", "key", "")})
			if got := spoken.Text(err); got != tt.want {
				t.Errorf("Text(%v) = %q, want %q", err, got, tt.want)
			}
		})
	}
}

func TestTextOfAConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	config := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String("http://" + address), Credentials: credentials.NewStaticCredentialsProvider("AKID", "key", "")}
	call := func(ctx context.Context) error {
		_, err := secretsmanager.NewFromConfig(config).ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
		return err
	}
	refused := call(t.Context())
	want := fmt.Sprintf(`listing: Post "http://%s/": dial tcp %[1]s: connect: connection refused`, address)
	if got := spoken.Text(fmt.Errorf("listing: %w", refused)); got != want {
		t.Errorf("Text(%v) = %q, want %q", refused, got, want)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := call(over); spoken.Text(err) != "context canceled" {
		t.Errorf("Text(%v) = %q", err, spoken.Text(err))
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	if err := spoken.Error(nil); err != nil {
		t.Errorf("Error(nil) = %v", err)
	}
	plain := &url.Error{Op: "Get", URL: "http://malote/", Err: io.ErrUnexpectedEOF}
	if err := spoken.Error(plain); err != error(plain) {
		t.Errorf("Error(%v) = %#v", plain, err)
	}
	absent := &types.ResourceNotFoundException{Message: aws.String("there is none")}
	err := spoken.Error(&smithy.OperationError{ServiceID: "Secrets Manager", OperationName: "GetSecretValue", Err: absent})
	if err.Error() != "ResourceNotFoundException: there is none" {
		t.Errorf("Error(…) = %v", err)
	}
	if found := new(types.ResourceNotFoundException); !errors.As(err, &found) || found != absent {
		t.Errorf("%v does not unwrap to what the SDK made", err)
	}
}
