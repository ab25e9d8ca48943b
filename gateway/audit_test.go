package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/gateway"
)

// auditor notes what it is told, and refuses what it is told to.
type auditor struct {
	begun, ended      error
	reveals           bool
	events            []string
	answered          *httptest.ResponseRecorder
	parameters, reply string
	code, message     string
}

type auditedKey struct{}

func (a *auditor) Begin(ctx context.Context, reveals bool) (context.Context, error) {
	a.events, a.reveals = append(a.events, "begin"), reveals
	return context.WithValue(ctx, auditedKey{}, a), a.begun
}

func (a *auditor) End(ctx context.Context, code, message string, parameters, response []byte) error {
	event := "end"
	if ctx.Value(auditedKey{}) != a {
		event = "end of another"
	}
	if a.answered.Body.Len() > 0 {
		event = "end after the answer"
	}
	a.events = append(a.events, event)
	a.code, a.message, a.parameters, a.reply = code, message, string(parameters), string(response)
	return a.ended
}

// Each request whose signature is right is begun and ended, once, before it is answered.
func TestAudit(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for _, tt := range []struct {
		name, target, body     string
		unsigned               bool
		begun, ended           error
		status                 int
		reveals                bool
		events                 string
		code, message          string
		parameters             string
		answerHas, answerLacks string
	}{
		{name: "done", target: getSecret, body: `{"SecretId":"db"}`, status: 200, reveals: true, events: "begin end", parameters: `{"secretId":"db"}`, answerHas: canary},
		{name: "a service's error", target: getSecret, body: `{"SecretId":"missing"}`, status: 400, reveals: true, events: "begin end", code: "ResourceNotFoundException",
			message: "Secrets Manager can't find the specified secret.", parameters: `{"secretId":"missing"}`},
		{name: "an internal error", target: getSecret, body: `{"SecretId":"broken"}`, status: 500, reveals: true, events: "begin end", code: "InternalServiceError", parameters: `{"secretId":"broken"}`},
		{name: "a panic", target: getSecret, body: `{"SecretId":"panic"}`, status: 500, reveals: true, events: "begin end", code: "InternalServiceError", parameters: `{"secretId":"panic"}`},
		{name: "an input that is not valid, without its values", target: getSecret, body: `{"SecretId":"` + strings.Repeat(canary, 200) + `","VersionStage":""}`, status: 400, reveals: true, events: "begin end", code: "ValidationException",
			message: "2 validation errors detected, at 'secretId', 'versionStage'", parameters: `{"secretId":"` + strings.Repeat(canary, 200)[:2048] + `","versionStage":""}`},
		{name: "no JSON", target: getSecret, body: `{"SecretId":"` + canary, status: 400, reveals: true, events: "begin end", code: "SerializationException"},
		{name: "an operation that there is not", target: "secretsmanager.Sing", body: `{}`, status: 400, events: "begin end", code: "UnknownOperationException"},
		{name: "a wrong signature", target: getSecret, body: `{"SecretId":"db"}`, unsigned: true, status: 400},
		{name: "a secret that is stored", target: "secretsmanager.PutSecretValue", body: `{"SecretId":"db","SecretString":"` + canary + `","ClientRequestToken":"12345678901234567890123456789012"}`, status: 200, events: "begin end",
			parameters: `{"clientRequestToken":"12345678901234567890123456789012","secretId":"db","secretString":"HIDDEN_DUE_TO_SECURITY_REASONS"}`},
		{name: "refused at the beginning", target: getSecret, body: `{"SecretId":"db"}`, begun: full, status: 500, reveals: true, events: "begin", answerLacks: canary},
		{name: "refused at the end", target: getSecret, body: `{"SecretId":"db"}`, ended: full, status: 500, reveals: true, events: "begin end", parameters: `{"secretId":"db"}`, answerHas: "InternalServiceError", answerLacks: canary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &auditor{begun: tt.begun, ended: tt.ended, answered: httptest.NewRecorder()}
			h, err := gateway.New(gateway.Config{Services: services(), Credentials: directory{}, Audit: a, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
			if err != nil {
				t.Fatal(err)
			}
			r := signedFor(t, tt.target, tt.body)
			if tt.unsigned {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Signature=", "Signature=0", 1))
			}
			h.ServeHTTP(a.answered, r)
			got := []any{a.answered.Code, a.reveals, strings.Join(a.events, " "), a.code, a.message}
			if diff := cmp.Diff([]any{tt.status, tt.reveals, tt.events, tt.code, tt.message}, got); diff != "" {
				t.Errorf("%s\n%s", diff, a.answered.Body)
			}
			if a.parameters != tt.parameters && !strings.HasPrefix(tt.name, "a secret that is stored") {
				t.Errorf("parameters = %s, want %s", a.parameters, tt.parameters)
			}
			// The stages of this test's service say what it was given: a real one's have names.
			if strings.HasPrefix(tt.name, "a secret") && (strings.Contains(a.parameters, canary) || !strings.Contains(a.parameters, `"secretString":"HIDDEN_DUE_TO_SECURITY_REASONS"`) || !strings.Contains(a.reply, `"versionId":"1234`)) {
				t.Errorf("recorded %s and %s", a.parameters, a.reply)
			}
			answer := a.answered.Body.String()
			if !strings.Contains(answer, tt.answerHas) || tt.answerLacks != "" && strings.Contains(answer, tt.answerLacks) {
				t.Errorf("answer = %s", answer)
			}
		})
	}
}

// signedFor is a request of alice's for an operation.
func signedFor(t *testing.T, target, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", target)
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: aliceKey, SecretAccessKey: aliceSecret}, r, hex.EncodeToString(sum[:]), "secretsmanager", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}
