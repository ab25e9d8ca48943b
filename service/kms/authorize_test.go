package kms

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

const (
	testAccount = "123456789012"
	testRegion  = "us-east-1"
)

// policies gives every principal the same policies.
type policies struct{ set policy.Set }

func (p policies) Policies(context.Context, *caller.Principal) (*policy.Set, error) {
	return &p.set, nil
}

// testService is a Service on its own, with a clock to set.
type testService struct {
	*Service
	clock time.Time
}

func newTestService(t testing.TB, own ...string) *testService {
	t.Helper()
	var set policy.Set
	for _, text := range own {
		document, err := policy.Parse(policy.Identity, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		set.Identity = append(set.Identity, policy.Source{Document: document})
	}
	s := &testService{clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	now := func() time.Time { return s.clock }
	s.Service = New(Config{Store: st, Authz: authz.New(authz.Config{Policies: policies{set}, Now: now}), Now: now})
	return s
}

func as(ctx context.Context, p *caller.Principal) context.Context {
	return caller.With(ctx, &caller.Request{ID: "test", Principal: p, Region: testRegion, Service: "kms"})
}

func rootUser(ctx context.Context) context.Context {
	return as(ctx, &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
}

func user(ctx context.Context, account string) context.Context {
	return as(ctx, &caller.Principal{Type: caller.User, Account: account, ARN: "arn:aws:iam::" + account + ":user/bob", ID: "AIDABOB", UserName: "bob"})
}

// Whoever has no rights is refused by every operation, on what exists and on what does not.
func TestEveryOperationAsks(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	key, err := s.CreateKey(rootUser(t.Context()), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id := key.KeyMetadata.Arn
	if _, err := s.CreateAlias(rootUser(t.Context()), &kms.CreateAliasInput{AliasName: aws.String("alias/there"), TargetKeyId: id}); err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Encrypt(rootUser(t.Context()), &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}

	for _, account := range []string{testAccount, "210987654321"} {
		for _, given := range []struct{ name, key, alias string }{
			{"present", *id, "alias/there"},
			{"absent", keyARN(testRegion, testAccount, "00000000-0000-4000-8000-000000000000"), "alias/absent"},
			{"malformed", "nonsense", "nonsense"},
		} {
			service := reflect.ValueOf(s.Service)
			for i := range service.NumMethod() {
				name := service.Type().Method(i).Name
				in := reflect.New(service.Method(i).Type().In(1).Elem())
				for field, v := range in.Elem().Fields() {
					switch field.Name {
					case "KeyId", "TargetKeyId", "SourceKeyId", "DestinationKeyId":
						v.Set(reflect.ValueOf(aws.String(given.key)))
					case "AliasName":
						v.Set(reflect.ValueOf(aws.String(given.alias)))
					case "CiphertextBlob":
						v.SetBytes(sealed.CiphertextBlob)
					case "Policy":
						v.Set(reflect.ValueOf(aws.String("{}")))
					}
				}
				out := service.Method(i).Call([]reflect.Value{reflect.ValueOf(user(t.Context(), account)), in})
				err, _ := out[1].Interface().(error)
				var api smithy.APIError
				if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" {
					t.Errorf("%s by %s on what is %s: %v, want AccessDeniedException", name, account, given.name, err)
				}
			}
		}
	}
}

// When a deletion is due nothing of the key is left in the store.
func TestDueDeletionWipesMaterial(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"by use", "by Maintain"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newTestService(t)
			ctx := rootUser(t.Context())
			key, err := s.CreateKey(ctx, &kms.CreateKeyInput{})
			if err != nil {
				t.Fatal(err)
			}
			id := key.KeyMetadata.KeyId
			if _, err := s.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/doomed"), TargetKeyId: id}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)}); err != nil {
				t.Fatal(err)
			}
			s.clock = s.clock.AddDate(0, 0, 7).Add(-time.Second)
			if err := Maintain(t.Context(), s.Service); err != nil {
				t.Fatal(err)
			}
			if got := count(t, s); got != 3 {
				t.Fatalf("a second early: %d entries, want key, alias and due date", got)
			}
			s.clock = s.clock.Add(time.Second)
			if how == "by Maintain" {
				err = Maintain(t.Context(), s.Service)
			} else {
				_, err = s.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id})
				if isRefusal(err) {
					err = nil
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := count(t, s); got != 0 {
				t.Errorf("%d entries are left", got)
			}
		})
	}
}

func BenchmarkDecrypt(b *testing.B) {
	s := newTestService(b)
	ctx := rootUser(b.Context())
	key, err := s.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		b.Fatal(err)
	}
	context := map[string]string{"SecretARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-a1b2c3", "SecretVersionId": "d1b5b1f0-0000-4000-8000-000000000000"}
	sealed, err := s.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyMetadata.Arn, KeySpec: "AES_256", EncryptionContext: context})
	if err != nil {
		b.Fatal(err)
	}
	in := &kms.DecryptInput{KeyId: key.KeyMetadata.Arn, CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: context}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Decrypt(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}

func count(t *testing.T, s *testService) int {
	t.Helper()
	n := 0
	err := s.store.View(t.Context(), func(tx store.Tx) error {
		n = 0
		for _, err := range tx.Scan("kms/", "") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
