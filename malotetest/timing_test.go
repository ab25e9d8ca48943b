package malotetest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

// What a refusal takes, by what is wrong: the kinds take turns, so that whatever else the
// machine does happens to all of them. Medians in nanoseconds; good is an answered request.
//
// An access key that does not exist and a wrong signature of one that does must take the same.
func BenchmarkRefusals(b *testing.B) {
	sys := malotetest.New(b)
	user := sys.User(b, "user", malotetest.Allow("*", "secretsmanager:ListSecrets"))
	keys, err := user.Credentials.Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	inactive, err := sys.User(b, "idle", "").Credentials.Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := iam.NewFromConfig(sys.Config()).UpdateAccessKey(b.Context(), &iam.UpdateAccessKeyInput{
		UserName: aws.String("idle"), AccessKeyId: &inactive.AccessKeyID, Status: iamtypes.StatusTypeInactive,
	}); err != nil {
		b.Fatal(err)
	}
	const body = "{}"
	sum := sha256.Sum256([]byte(body))
	kinds := []*struct {
		name   string
		keys   aws.Credentials
		status int
		header http.Header
		took   []time.Duration
	}{
		{name: "good", keys: keys, status: 200},
		{name: "wrong-signature", keys: aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: "not/the/secret/not/the/secret/not/the/se"}, status: 400},
		{name: "unknown-key", keys: aws.Credentials{AccessKeyID: "AKIANOBODYHASTHISKEY", SecretAccessKey: "not/the/secret/not/the/secret/not/the/se"}, status: 400},
		{name: "inactive-key", keys: inactive, status: 400},
	}
	for _, k := range kinds {
		r, err := http.NewRequest(http.MethodPost, sys.Endpoint()+"/", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "secretsmanager.ListSecrets")
		if err := v4.NewSigner().SignHTTP(b.Context(), k.keys, r, hex.EncodeToString(sum[:]), "secretsmanager", malotetest.Region, time.Now()); err != nil {
			b.Fatal(err)
		}
		k.header = r.Header
	}
	handler := sys.Handler()
	for b.Loop() {
		for _, k := range kinds {
			r := httptest.NewRequest(http.MethodPost, sys.Endpoint()+"/", bytes.NewReader([]byte(body)))
			r.Header = k.header.Clone()
			w := httptest.NewRecorder()
			began := time.Now()
			handler.ServeHTTP(w, r)
			k.took = append(k.took, time.Since(began))
			if w.Code != k.status {
				b.Fatalf("%s: %d %s", k.name, w.Code, w.Body)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, k := range kinds {
		slices.Sort(k.took)
		b.ReportMetric(float64(k.took[len(k.took)/2]), k.name+"-ns")
	}
}
