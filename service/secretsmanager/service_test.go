package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkkms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/kms"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

const (
	testAccount = "123456789012"
	testRegion  = "us-east-1"
	testToken   = "11111111-1111-4111-8111-111111111111"
)

// policies gives every principal the same policies: none.
type policies struct{}

func (policies) Policies(context.Context, *caller.Principal) (*policy.Set, error) {
	return &policy.Set{}, nil
}

// testService is a Service with KMS beneath and a clock to set.
type testService struct {
	*Service
	clock time.Time
}

func newTestService(t testing.TB) *testService {
	t.Helper()
	s := &testService{clock: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	now := func() time.Time { return s.clock }
	a := authz.New(authz.Config{Policies: policies{}, Now: now})
	keys := kms.New(kms.Config{Store: st, Authz: a, Now: now})
	s.Service = New(Config{Store: st, Authz: a, Keys: keys, Now: now})
	return s
}

func as(ctx context.Context, p *caller.Principal) context.Context {
	return caller.With(ctx, &caller.Request{ID: "test", Principal: p, Region: testRegion, Service: "secretsmanager"})
}

func rootUser(ctx context.Context) context.Context {
	return as(ctx, &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
}

// Whoever has no rights is refused by every operation, on what exists and on what does not.
func TestEveryOperationAsks(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	made, err := s.CreateSecret(rootUser(t.Context()), &secretsmanager.CreateSecretInput{
		Name: aws.String("there"), SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{testAccount, "210987654321"} {
		bob := as(t.Context(), &caller.Principal{Type: caller.User, Account: account, ARN: "arn:aws:iam::" + account + ":user/bob", ID: "AIDABOB"})
		for _, id := range []string{*made.ARN, "there", "absent", "bad name", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:there", "arn:nonsense"} {
			service := reflect.ValueOf(s.Service)
			for i := range service.NumMethod() {
				in := reflect.New(service.Method(i).Type().In(1).Elem())
				for field, v := range in.Elem().Fields() {
					switch field.Name {
					case "SecretId", "Name":
						v.Set(reflect.ValueOf(aws.String(id)))
					case "ClientRequestToken", "MoveToVersionId":
						v.Set(reflect.ValueOf(aws.String(testToken)))
					case "VersionStage":
						v.Set(reflect.ValueOf(aws.String(current)))
					case "ResourcePolicy":
						v.Set(reflect.ValueOf(aws.String("{}")))
					case "SecretIdList":
						v.Set(reflect.ValueOf([]string{id}))
					}
				}
				out := service.Method(i).Call([]reflect.Value{reflect.ValueOf(bob), in})
				err, _ := out[1].Interface().(error)
				var api smithy.APIError
				if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" {
					t.Errorf("%s of %q by %s: %v, want AccessDeniedException", service.Type().Method(i).Name, id, account, err)
				}
			}
		}
	}
}

// When a deletion is due, or forced, nothing of the secret is left in the store.
func TestDeletionLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"due", "forced", "name taken again"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newTestService(t)
			ctx := rootUser(t.Context())
			create := &secretsmanager.CreateSecretInput{Name: aws.String("a/b"), SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken)}
			first, err := s.CreateSecret(ctx, create)
			if err != nil {
				t.Fatal(err)
			}
			in := &secretsmanager.DeleteSecretInput{SecretId: aws.String("a/b")}
			if how == "forced" {
				in.ForceDeleteWithoutRecovery = aws.Bool(true)
			}
			if _, err := s.DeleteSecret(ctx, in); err != nil {
				t.Fatal(err)
			}
			switch how {
			case "due":
				s.clock = s.clock.AddDate(0, 0, 30).Add(-time.Second)
				if err := Maintain(t.Context(), s.Service); err != nil {
					t.Fatal(err)
				}
				if got := entries(t, s); got != 4 {
					t.Fatalf("a second early: %d entries, want secret, value, listing and due date", got)
				}
				s.clock = s.clock.Add(time.Second)
				if err := Maintain(t.Context(), s.Service); err != nil {
					t.Fatal(err)
				}
			case "name taken again":
				s.clock = s.clock.AddDate(0, 0, 30)
				second, err := s.CreateSecret(ctx, create)
				if err != nil {
					t.Fatal(err)
				}
				if *second.ARN == *first.ARN {
					t.Error("the new secret has the old one's ARN")
				}
				if got := entries(t, s); got != 3 {
					t.Errorf("%d entries, want the new secret's three", got)
				}
				return
			}
			if got := entries(t, s); got != 0 {
				t.Errorf("%d entries are left", got)
			}
		})
	}
}

// A secret of more versions than one transaction of a store has room for is deleted all
// the same, takes values, and does not keep another from being deleted.
func TestManyVersions(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	fill := func(name string) {
		t.Helper()
		if _, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, ClientRequestToken: aws.String(testToken)}); err != nil {
			t.Fatal(err)
		}
		for i := range hardLimit {
			_, err := s.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("x"), ClientRequestToken: aws.String(fmt.Sprintf("%032d", i))})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("forced")
	if _, err := s.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("forced"), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Error("forced:", err)
	}
	if got := entries(t, s); got != 0 {
		t.Errorf("forced: %d entries are left", got)
	}

	fill("due")
	s.clock = s.clock.AddDate(0, 0, 2) // now the oldest hundred may go
	for i := range 3 {
		_, err := s.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("due"), SecretString: aws.String("x"), ClientRequestToken: aws.String(fmt.Sprintf("late%032d", i))})
		if err != nil {
			t.Fatal("a value after a day:", err)
		}
	}
	fill("again")
	for _, name := range []string{"due", "again"} {
		if _, err := s.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name}); err != nil {
			t.Fatal(err)
		}
	}
	s.clock = s.clock.AddDate(0, 0, 30)
	if _, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("again"), ClientRequestToken: aws.String(testToken)}); err != nil {
		t.Error("a name that is free again:", err)
	}
	if err := Maintain(t.Context(), s.Service); err != nil {
		t.Error(err)
	}
	if got := entries(t, s); got != 2 {
		t.Errorf("%d entries, want those of the new secret alone", got)
	}
}

func entries(t *testing.T, s *testService) int {
	t.Helper()
	n := 0
	err := s.store.View(t.Context(), func(tx store.Tx) error {
		n = 0
		for _, err := range tx.Scan(root, "") {
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

// Reading writes nothing; what it leaves to write is told at once and written by Maintain.
func TestLastAccessedDate(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	name := aws.String("db")
	if _, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken)}); err != nil {
		t.Fatal(err)
	}
	accessed := func() *time.Time {
		out, err := s.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: name})
		if err != nil {
			t.Fatal(err)
		}
		return out.LastAccessedDate
	}
	if got := accessed(); got != nil {
		t.Errorf("before the first read: %v", got)
	}
	for range 3 {
		want := day(s.clock)
		for range 2 {
			if _, err := s.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name}); err != nil {
				t.Fatal(err)
			}
			if got := accessed(); got == nil || !got.Equal(want) {
				t.Errorf("LastAccessedDate = %v, want %v", got, want)
			}
		}
		if err := Maintain(t.Context(), s.Service); err != nil {
			t.Fatal(err)
		}
		if len(s.reads.byARN) != 0 {
			t.Error("what is stored is still remembered")
		}
		if got := accessed(); got == nil || !got.Equal(want) {
			t.Errorf("stored LastAccessedDate = %v, want %v", got, want)
		}
		s.clock = s.clock.Add(20 * time.Hour)
	}
}

// Many secrets that were read are written together, and those that are gone or too large for
// that keep nobody else's day from being written.
func TestManyReadsAreStored(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	const count = 2*readsAtOnce + 3
	large := strings.Repeat("x", 256)
	for i := range count {
		name := fmt.Sprintf("s%d", i)
		in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken)}
		if i%16 != 0 { // 50 tags of 384 bytes: a transaction does not hold 60 such secrets
			for n := range 50 {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String(fmt.Sprintf("%0128d", n)), Value: &large})
			}
		}
		if _, err := s.CreateSecret(ctx, in); err != nil {
			t.Fatal(err)
		}
		if _, err := s.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("s7"), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.storeReads(ended); !errors.Is(err, context.Canceled) || len(s.reads.byARN) != count {
		t.Errorf("without time: %v, %d remembered", err, len(s.reads.byARN))
	}
	if err := Maintain(t.Context(), s.Service); err != nil {
		t.Fatal(err)
	}
	if n := len(s.reads.byARN); n != 0 {
		t.Errorf("%d that are stored are still remembered", n)
	}
	for i := range count {
		out, err := s.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(fmt.Sprintf("s%d", i))})
		if i == 7 {
			continue
		}
		if err != nil || out.LastAccessedDate == nil {
			t.Fatalf("s%d: %v, %v", i, out, err)
		}
	}
}

func BenchmarkGetSecretValue(b *testing.B) {
	s := newTestService(b)
	ctx := rootUser(b.Context())
	made, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String("correct horse battery staple"), ClientRequestToken: aws.String(testToken)})
	if err != nil {
		b.Fatal(err)
	}
	in := &secretsmanager.GetSecretValueInput{SecretId: made.ARN}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.GetSecretValue(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}

// everything gives every principal AdministratorAccess.
type everything struct{}

func (everything) Policies(context.Context, *caller.Principal) (*policy.Set, error) {
	document, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`))
	return &policy.Set{Identity: []policy.Source{{Document: document}}}, err
}

// From another account a secret is read by its ARN, if its own policy and its key's say
// so; never under the default key.
func TestCrossAccount(t *testing.T) {
	t.Parallel()
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	a := authz.New(authz.Config{Policies: everything{}})
	keys := kms.New(kms.Config{Store: st, Authz: a})
	s := New(Config{Store: st, Authz: a, Keys: keys})
	owner := rootUser(t.Context())
	const other = "210987654321"
	guest := as(t.Context(), &caller.Principal{Type: caller.User, Account: other, ARN: "arn:aws:iam::" + other + ":user/guest", ID: "AIDAGUEST", UserName: "guest"})

	key, err := keys.CreateKey(owner, &sdkkms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string, keyID *string) string {
		t.Helper()
		out, err := s.CreateSecret(owner, &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: aws.String("x"), KmsKeyId: keyID, ClientRequestToken: aws.String(testToken)})
		if err != nil {
			t.Fatal(err)
		}
		return *out.ARN
	}
	own, byDefault := create("own", key.KeyMetadata.KeyId), create("default", nil)
	read := func(id, code, text string) {
		t.Helper()
		_, err := s.GetSecretValue(guest, &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
		var api smithy.APIError
		switch {
		case code == "" && err != nil:
			t.Errorf("GetSecretValue(%s): %v", id, err)
		case code != "" && (!errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text)):
			t.Errorf("GetSecretValue(%s): %v, want %s: …%s…", id, err, code, text)
		}
	}
	read(own, "AccessDeniedException", "because no resource-based policy allows the secretsmanager:GetSecretValue action")
	allow := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + other + `"},"Action":"secretsmanager:*","Resource":"*"}]}`
	for _, id := range []string{own, byDefault} {
		if _, err := s.PutResourcePolicy(owner, &secretsmanager.PutResourcePolicyInput{SecretId: aws.String(id), ResourcePolicy: aws.String(allow)}); err != nil {
			t.Fatal(err)
		}
	}
	read(byDefault, "InvalidRequestException", "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
	read(own, "AccessDeniedException", "Access to KMS is not allowed")
	read("own", "ResourceNotFoundException", "can't find")

	keyPolicy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + testAccount + `"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"` + other + `"},"Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"*"}]}`
	if _, err := keys.PutKeyPolicy(owner, &sdkkms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: aws.String(keyPolicy)}); err != nil {
		t.Fatal(err)
	}
	read(own, "", "")
	// The secret names its key by an id, which means another key in the guest's account.
	if _, err := s.PutSecretValue(guest, &secretsmanager.PutSecretValueInput{SecretId: aws.String(own), SecretString: aws.String("y"), ClientRequestToken: aws.String(testToken + "2")}); err != nil {
		t.Error(err)
	}
	read(own, "", "")
}

// Without a token AWS refuses; the SDKs always send one.
func TestTokenIsNeeded(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	_, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s")})
	var invalid *types.InvalidRequestException
	if !errors.As(err, &invalid) || *invalid.Message != "You must provide a ClientRequestToken value. We recommend a UUID-type value." {
		t.Errorf("CreateSecret without a token: %v", err)
	}
	if got := entries(t, s); got != 0 {
		t.Errorf("%d entries are left behind", got)
	}
}

// Many writers at once leave one current version, one previous, and none lost.
func TestConcurrentPuts(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	if _, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), ClientRequestToken: aws.String(testToken)}); err != nil {
		t.Fatal(err)
	}
	const writers = 16
	var group sync.WaitGroup
	for i := range writers {
		// Each token is used twice, with the same value: as a retry that overtakes.
		for range 2 {
			group.Go(func() {
				_, err := s.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
					SecretId: aws.String("s"), SecretString: aws.String(fmt.Sprint(i)), ClientRequestToken: aws.String(fmt.Sprintf("%032d", i)),
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	list, err := s.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String("s"), IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]int{}
	for _, v := range list.Versions {
		for _, l := range v.VersionStages {
			labels[l]++
		}
		got, err := s.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("s"), VersionId: v.VersionId})
		if err != nil || fmt.Sprintf("%032s", *got.SecretString) != *v.VersionId {
			t.Errorf("version %s: %v", *v.VersionId, err)
		}
	}
	if len(list.Versions) != writers || labels[current] != 1 || labels[previous] != 1 {
		t.Errorf("%d versions, labels %v", len(list.Versions), labels)
	}
}
