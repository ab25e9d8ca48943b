package inject_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/malotetest"
)

// Every form of valueFrom, with a whole malote at the other end.
func TestEveryForm(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	secrets, parameters := secretsmanager.NewFromConfig(sys.Config()), ssm.NewFromConfig(sys.Config())
	old, current, parameter := sys.Canary(), sys.Canary(), sys.Canary()
	document := func(password string) *string {
		raw, err := json.Marshal(map[string]any{"password": password, "port": 5432})
		if err != nil {
			t.Fatal(err)
		}
		return aws.String(string(raw))
	}
	made, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("shop/db"), SecretString: document(old)})
	if err != nil {
		t.Fatal(err)
	}
	put, err := secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretString: document(current)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"flat", "/shop/key"} {
		for _, value := range []string{"first", parameter} {
			if _, err := parameters.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String(name), Value: aws.String(value), Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := parameters.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: aws.String("/shop/key"), ParameterVersion: aws.Int64(1), Labels: []string{"old"}}); err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:ssm:" + malotetest.Region + ":" + malotetest.Account + ":parameter/"
	want := map[string]string{
		*made.ARN:                                   *document(current),
		*made.ARN + ":password::":                   current,
		*made.ARN + ":port::":                       "5432",
		*made.ARN + ":password:AWSPREVIOUS:":        old,
		*made.ARN + ":password::" + *made.VersionId: old,
		*made.ARN + ":::":                           *document(current),
		strings.TrimSuffix(*made.ARN, (*made.ARN)[len(*made.ARN)-7:]): *document(current),
		"flat":                                  parameter,
		"flat:1":                                "first",
		"/shop/key":                             parameter,
		"/shop/key:2":                           parameter,
		"/shop/key:old":                         "first",
		arn + "flat":                            parameter,
		arn + "shop/key":                        parameter,
		arn + "shop/key:old":                    "first",
		"/aws/reference/secretsmanager/shop/db": *document(current),
	}
	var refs []inject.Ref
	for valueFrom := range want {
		ref, err := inject.Parse(valueFrom, malotetest.Region)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}

	allow := malotetest.Allow("*", "secretsmanager:GetSecretValue", "ssm:GetParameters")
	got, err := (&inject.Resolver{Config: sys.Role(t, "exec", allow)}).Resolve(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	for valueFrom, text := range want {
		if got[valueFrom].Reveal() != text {
			t.Errorf("%s has another value than it should", valueFrom)
		}
		if got[valueFrom].ARN == "" || got[valueFrom].VersionID == "" {
			t.Errorf("%s is of %q version %q", valueFrom, got[valueFrom].ARN, got[valueFrom].VersionID)
		}
	}
	if v := got[*made.ARN+":password::"]; v.ARN != *made.ARN || v.VersionID != *put.VersionId {
		t.Errorf("the current password is of %s version %s", v.ARN, v.VersionID)
	}

	t.Run("denied to a role without permission", func(t *testing.T) {
		role := sys.Role(t, "other", malotetest.Allow("*", "ssm:GetParameters"))
		_, err := (&inject.Resolver{Config: role, Role: "arn:aws:iam::" + malotetest.Account + ":role/other"}).Resolve(t.Context(), refs)
		all, ok := errors.AsType[inject.Errors](err)
		if !ok {
			t.Fatalf("error = %v", err)
		}
		for _, e := range all {
			denied := "is not authorized to perform: secretsmanager:GetSecretValue"
			if !strings.Contains(e.Error(), denied) || !strings.Contains(e.Error(), "role/other") {
				t.Errorf("%s: %v", e.ValueFrom, e)
			}
		}
		if len(all) != 7 && len(all) != 8 { // the reference may be refused too, as one of Secrets Manager's
			t.Errorf("%d errors: %v", len(all), err)
		}
	})
	t.Run("denied one parameter of several", func(t *testing.T) {
		role := sys.Role(t, "narrow", malotetest.Allow(arn+"flat", "ssm:GetParameters"))
		_, err := (&inject.Resolver{Config: role}).Resolve(t.Context(), []inject.Ref{
			{ValueFrom: "flat", Service: inject.ParameterStore, Region: malotetest.Region, ID: "flat"},
			{ValueFrom: "/shop/key", Service: inject.ParameterStore, Region: malotetest.Region, ID: "/shop/key"},
		})
		if all, ok := errors.AsType[inject.Errors](err); !ok || len(all) != 1 || all[0].ValueFrom != "/shop/key" || !strings.Contains(err.Error(), arn+"shop/key") {
			t.Errorf("error = %v, want one, of /shop/key", err)
		}
	})
	t.Run("what is not there", func(t *testing.T) {
		for valueFrom, want := range map[string]string{
			*made.ARN + "::NONE:": "staging label: NONE",
			*made.ARN + ":user::": "did not contain json key user: it has password, port",
			"absent":              "invalid parameters: absent",
			"/shop/key:9":         "invalid parameters: /shop/key:9",
			*made.ARN + "x":       "can't find the specified secret",
		} {
			ref, err := inject.Parse(valueFrom, malotetest.Region)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (&inject.Resolver{Config: sys.Config()}).Resolve(t.Context(), []inject.Ref{ref}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", valueFrom, err, want)
			}
		}
	})
	t.Run("a key that is disabled", func(t *testing.T) {
		keys := kms.NewFromConfig(sys.Config())
		key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
		if err != nil {
			t.Fatal(err)
		}
		locked, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("locked"), SecretString: aws.String(sys.Canary()), KmsKeyId: key.KeyMetadata.Arn})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId}); err != nil {
			t.Fatal(err)
		}
		_, err = (&inject.Resolver{Config: sys.Config()}).Resolve(t.Context(), parse(t, *locked.ARN))
		if err == nil || !strings.HasPrefix(err.Error(), "secret "+*locked.ARN+": ") || !strings.Contains(err.Error(), ". Enable the KMS key that encrypts it") {
			t.Errorf("error = %v", err)
		}
	})
}
