package authz_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

const (
	home      = "111122223333"
	secretARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf"
	keyARN    = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

var (
	now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	bob = &caller.Principal{Type: caller.User, Account: home, ARN: "arn:aws:iam::111122223333:user/bob", ID: "AIDAJQABLZS4A3QDU576Q", UserName: "bob",
		Tags: map[string]string{"Team": "blue"}, AccessKeyID: "AKIAEXAMPLE"}
	app = &caller.Principal{Type: caller.AssumedRole, Account: home, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", ID: "AROAJQABLZS4A3QDU576Q:s1",
		RoleARN: "arn:aws:iam::111122223333:role/team/app", RoleID: "AROAJQABLZS4A3QDU576Q", SessionName: "s1", IssuedAt: now.Add(-time.Hour), SourceIdentity: "alice"}
	root     = &caller.Principal{Type: caller.Account, Account: home, ARN: "arn:aws:iam::111122223333:root", ID: home}
	eve      = &caller.Principal{Type: caller.User, Account: "444455556666", ARN: "arn:aws:iam::444455556666:user/eve", ID: "AIDAZZZZZZZZZZZZZZZZZ", UserName: "eve"}
	ecsTasks = &caller.Principal{Type: caller.Service, Account: home, Service: "ecs-tasks.amazonaws.com"}
)

// policies gives everyone the same identity policy.
type policies []policy.Source

func (p policies) Policies(context.Context, *caller.Principal) (*policy.Set, error) {
	return &policy.Set{Identity: p}, nil
}

func document(t testing.TB, kind policy.Kind, statement string) policy.Source {
	t.Helper()
	d, err := policy.Parse(kind, []byte(`{"Version":"2012-10-17","Statement":`+statement+`}`))
	if err != nil {
		t.Fatal(statement, err)
	}
	return policy.Source{Document: d, Name: "test"}
}

func allow(t testing.TB, rest string) policies {
	return policies{document(t, policy.Identity, `{"Effect":"Allow",`+rest+`}`)}
}

func as(ctx context.Context, p *caller.Principal) context.Context {
	return caller.With(ctx, &caller.Request{
		ID: "req-1", Principal: p, Region: "eu-west-1", Service: "secretsmanager", Operation: "GetSecretValue",
		SourceIP: netip.MustParseAddr("10.1.2.3"), UserAgent: "aws-cli/2", Secure: true, Time: now,
	})
}

func TestDeniedText(t *testing.T) {
	t.Parallel()
	trust := document(t, policy.Trust, `{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}`)
	key := document(t, policy.Key, `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/carol"},"Action":"kms:*","Resource":"*"}`)
	for _, tt := range []struct {
		name     string
		who      *caller.Principal
		access   authz.Access
		identity string
		want     string
	}{
		{"a user and an ARN", bob, authz.Access{Action: "secretsmanager:GetSecretValue", Resource: secretARN}, "",
			"User: arn:aws:iam::111122223333:user/bob is not authorized to perform: secretsmanager:GetSecretValue on resource: " + secretARN + " because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{"a session and a name as it was sent", app, authz.Access{Action: "secretsmanager:GetSecretValue", Resource: secretARN, Named: "db"}, "",
			"User: arn:aws:sts::111122223333:assumed-role/app/s1 is not authorized to perform: secretsmanager:GetSecretValue on resource: db because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{"no resource", bob, authz.Access{Action: "secretsmanager:ListSecrets", Resource: "*"}, "",
			"User: arn:aws:iam::111122223333:user/bob is not authorized to perform: secretsmanager:ListSecrets because no identity-based policy allows the secretsmanager:ListSecrets action"},
		{"empty resource", bob, authz.Access{Action: "secretsmanager:ListSecrets"}, "",
			"User: arn:aws:iam::111122223333:user/bob is not authorized to perform: secretsmanager:ListSecrets because no identity-based policy allows the secretsmanager:ListSecrets action"},
		{"explicit", bob, authz.Access{Action: "iam:GetRole", Resource: "arn:aws:iam::111122223333:role/x", Named: "role x"}, `{"Effect":"Deny","Action":"*","Resource":"*"}`,
			"User: arn:aws:iam::111122223333:user/bob is not authorized to perform: iam:GetRole on resource: role x with an explicit deny in an identity-based policy"},
		{"key policy", bob, authz.Access{Action: "kms:Decrypt", Resource: keyARN, Policy: &key, Kind: policy.Key}, `{"Effect":"Allow","Action":"*","Resource":"*"}`,
			"User: arn:aws:iam::111122223333:user/bob is not authorized to perform: kms:Decrypt on resource: " + keyARN + " because no resource-based policy allows the kms:Decrypt action"},
		{"a stranger's key", eve, authz.Access{Action: "kms:GenerateDataKey", Resource: keyARN, Account: home, Policy: &key, Kind: policy.Key}, `{"Effect":"Allow","Action":"*","Resource":"*"}`,
			"User: arn:aws:iam::444455556666:user/eve is not authorized to perform: kms:GenerateDataKey on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"},
		{"a role that does not trust", ecsTasks, authz.Access{Action: "sts:AssumeRole", Resource: "arn:aws:iam::111122223333:role/x", Policy: &trust, Kind: policy.Trust}, "",
			"User: ecs-tasks.amazonaws.com is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/x because no role trust policy allows the sts:AssumeRole action"},
		{"a stranger's role", eve, authz.Access{Action: "sts:AssumeRole", Resource: "arn:aws:iam::111122223333:role/x", Account: home, Policy: &trust, Kind: policy.Trust}, `{"Effect":"Allow","Action":"*","Resource":"*"}`,
			"User: arn:aws:iam::444455556666:user/eve is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/x"},
		{"a stranger's role, without rights at home", eve, authz.Access{Action: "sts:AssumeRole", Resource: "arn:aws:iam::111122223333:role/x", Kind: policy.Trust}, "",
			"User: arn:aws:iam::444455556666:user/eve is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var own policies
			if tt.identity != "" {
				own = policies{document(t, policy.Identity, tt.identity)}
			}
			log := new(audit.Memory)
			a := authz.New(authz.Config{Policies: own, Audit: log, Now: func() time.Time { return now }})
			err := a.Authorize(as(t.Context(), tt.who), &tt.access)
			var api smithy.APIError
			if !errors.As(err, &api) {
				t.Fatalf("error = %v, want an APIError", err)
			}
			if api.ErrorCode() != "AccessDeniedException" || api.ErrorFault() != smithy.FaultClient {
				t.Errorf("code %s, fault %v", api.ErrorCode(), api.ErrorFault())
			}
			if diff := cmp.Diff(tt.want, api.ErrorMessage()); diff != "" {
				t.Error(diff)
			}
			records := log.Records()
			if len(records) != 1 || records[0].ErrorMessage != tt.want || records[0].ErrorCode != "AccessDenied" || records[0].Decision.Allowed {
				t.Errorf("records = %+v, want the denial", records)
			}
		})
	}
}

// TestKeys asks for each condition key by a policy that requires a value of it.
func TestKeys(t *testing.T) {
	t.Parallel()
	direct := func(p *caller.Principal) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context { return as(ctx, p) }
	}
	forwarded := func(ctx context.Context) context.Context {
		return caller.Forward(caller.Forward(as(ctx, bob), "ecs"), "secretsmanager")
	}
	secret := authz.Access{Action: "secretsmanager:GetSecretValue", Resource: secretARN}
	tagged := authz.Access{Action: "secretsmanager:TagResource", Resource: secretARN, Account: "999988887777",
		Tags: map[string]string{"env": "prod", "Env": "upper"}, RequestTags: map[string]string{"a": "1", "b": "2"}, TagKeys: []string{"b", "c"},
		Conditions: map[string][]string{"secretsmanager:VersionStage": {"AWSCURRENT"}, "aws:SourceArn": {"arn:aws:ecs:eu-west-1:111122223333:task/x"}, "aws:PrincipalArn": {"forged"}}}
	decrypt := authz.Access{Action: "kms:Decrypt", Resource: keyARN, EncryptionContext: map[string]string{"SecretARN": secretARN}}
	for _, tt := range []struct {
		key    string
		from   func(context.Context) context.Context
		access authz.Access
		want   string // "" for absent; several with commas
	}{
		{"aws:PrincipalArn", direct(bob), secret, bob.ARN},
		{"AWS:principalarn", direct(app), secret, app.RoleARN},
		{"aws:PrincipalArn", direct(bob), tagged, bob.ARN},
		{"aws:PrincipalAccount", direct(app), secret, home},
		{"aws:PrincipalType", direct(app), secret, "AssumedRole"},
		{"aws:PrincipalTag/team", direct(bob), secret, "blue"},
		{"aws:PrincipalTag/other", direct(bob), secret, ""},
		{"aws:userid", direct(bob), secret, bob.ID},
		{"aws:userid", direct(app), secret, app.ID},
		{"aws:username", direct(bob), secret, "bob"},
		{"aws:username", direct(app), secret, ""},
		{"aws:SourceIdentity", direct(app), secret, "alice"},
		{"aws:PrincipalIsAWSService", direct(bob), secret, "false"},
		{"aws:PrincipalServiceName", direct(bob), secret, ""},
		{"aws:ResourceTag/ENV", direct(bob), tagged, "upper"},
		{"secretsmanager:ResourceTag/env", direct(bob), tagged, "upper"},
		{"aws:ResourceTag/env", direct(bob), secret, ""},
		{"aws:RequestTag/a", direct(bob), tagged, "1"},
		{"aws:TagKeys", direct(bob), tagged, "a,b,c"},
		{"aws:TagKeys", direct(bob), secret, ""},
		{"aws:ResourceAccount", direct(bob), secret, home},
		{"aws:ResourceAccount", direct(bob), tagged, "999988887777"},
		{"aws:CurrentTime", direct(bob), secret, "2026-01-02T03:04:05Z"},
		{"aws:EpochTime", direct(bob), secret, "1767323045"},
		{"aws:TokenIssueTime", direct(app), secret, "2026-01-02T02:04:05Z"},
		{"aws:TokenIssueTime", direct(bob), secret, ""},
		{"aws:MultiFactorAuthPresent", direct(app), secret, "false"},
		{"aws:MultiFactorAuthPresent", direct(bob), secret, ""},
		{"aws:RequestedRegion", direct(bob), secret, "eu-west-1"},
		{"aws:UserAgent", direct(bob), secret, "aws-cli/2"},
		{"aws:SourceIp", direct(bob), secret, "10.1.2.3"},
		{"aws:SourceIp", forwarded, decrypt, ""},
		{"aws:SecureTransport", direct(bob), secret, "true"},
		{"aws:SecureTransport", forwarded, decrypt, ""},
		{"aws:ViaAWSService", direct(bob), secret, "false"},
		{"aws:ViaAWSService", forwarded, decrypt, "true"},
		{"aws:CalledVia", forwarded, decrypt, "ecs.amazonaws.com,secretsmanager.amazonaws.com"},
		{"aws:CalledVia", direct(bob), secret, ""},
		{"aws:CalledViaFirst", forwarded, decrypt, "ecs.amazonaws.com"},
		{"aws:CalledViaLast", forwarded, decrypt, "secretsmanager.amazonaws.com"},
		{"aws:SourceArn", direct(bob), tagged, "arn:aws:ecs:eu-west-1:111122223333:task/x"},
		{"secretsmanager:versionstage", direct(bob), tagged, "AWSCURRENT"},
		{"kms:ViaService", forwarded, decrypt, "secretsmanager.eu-west-1.amazonaws.com"},
		{"kms:ViaService", direct(bob), decrypt, ""},
		{"kms:CallerAccount", direct(bob), decrypt, home},
		{"kms:CallerAccount", direct(bob), secret, ""},
		{"kms:EncryptionContext:SecretARN", direct(bob), decrypt, secretARN},
		{"kms:EncryptionContextKeys", direct(bob), decrypt, "SecretARN"},
		{"made:up", direct(bob), tagged, ""},
		{"aws:MadeUp/x", direct(bob), tagged, ""},
	} {
		t.Run(tt.key, func(t *testing.T) {
			t.Parallel()
			// Exactly the values wanted: all of them are among these, and each of these is among them.
			condition := `"Null":{"` + tt.key + `":"true"}`
			if tt.want != "" {
				values := strings.Split(tt.want, ",")
				condition = `"Null":{"` + tt.key + `":"false"},"ForAllValues:StringEquals":{"` + tt.key + `":["` + strings.Join(values, `","`) + `"]}`
				for i, v := range values {
					condition += `,"ForAnyValue:String` + []string{"Equals", "Like", "EqualsIgnoreCase"}[i] + `":{"` + tt.key + `":"` + v + `"}`
				}
			}
			a := authz.New(authz.Config{Policies: allow(t, `"Action":"*","Resource":"*","Condition":{`+condition+`}`), Now: func() time.Time { return now }})
			access := tt.access
			access.Account = tt.access.Account
			if tt.access.Account != "" { // the resource's side says yes, so that the identity policy decides
				everyone := document(t, policy.Resource, `{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`)
				access.Policy = &everyone
			}
			if tt.access.Action == "kms:Decrypt" {
				delegation := document(t, policy.Key, `{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"}`)
				access.Policy, access.Kind = &delegation, policy.Key
			}
			if err := a.Authorize(tt.from(t.Context()), &access); err != nil {
				t.Errorf("%s is not %q: %v", tt.key, tt.want, err)
			}
		})
	}
}

func TestServicePrincipal(t *testing.T) {
	t.Parallel()
	trust := document(t, policy.Trust, `{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{
		"StringEquals":{"aws:SourceAccount":"111122223333","aws:PrincipalServiceName":"ecs-tasks.amazonaws.com"},"Bool":{"aws:PrincipalIsAWSService":"true"},"Null":{"aws:SourceIp":"true","aws:PrincipalArn":"true"}}}`)
	a := authz.New(authz.Config{Policies: unasked{t}, Now: func() time.Time { return now }})
	ask := func(account string) error {
		return a.Authorize(as(t.Context(), bob), &authz.Access{Action: "sts:AssumeRole", Resource: "arn:aws:iam::111122223333:role/x", Policy: &trust, Kind: policy.Trust,
			Principal: ecsTasks, Conditions: map[string][]string{"aws:SourceAccount": {account}}})
	}
	if err := ask(home); err != nil {
		t.Error(err)
	}
	if err := ask("444455556666"); err == nil {
		t.Error("let in for another account")
	}
}

// unasked is for who has no policies of its own.
type unasked struct{ t *testing.T }

func (u unasked) Policies(_ context.Context, p *caller.Principal) (*policy.Set, error) {
	u.t.Errorf("asked for the policies of %s %s", p.Type, p.ARN)
	return nil, nil
}

func TestRoot(t *testing.T) {
	t.Parallel()
	a := authz.New(authz.Config{Policies: unasked{t}})
	if err := a.Authorize(as(t.Context(), root), &authz.Access{Action: "iam:CreateUser", Resource: "*"}); err != nil {
		t.Error(err)
	}
}

// TestOwner: an operation that does not say whose the resource is asks about the owner in the ARN.
func TestOwner(t *testing.T) {
	t.Parallel()
	a := authz.New(authz.Config{Policies: allow(t, `"Action":"*","Resource":"*"`)})
	for _, tt := range []struct {
		resource string
		want     bool
	}{
		{secretARN, true},
		{strings.Replace(secretARN, home, "444455556666", 1), false},
		{"arn:aws:iam::444455556666:role/x", false},
		{"arn:aws:iam::aws:policy/AdministratorAccess", true},
		{"arn:aws:s3:::bucket/key:444455556666:x", false}, // whose bucket is it?
		{"arn:aws:s3:::bucket", false},
		{"arn:aws:ssm:eu-west-1:" + home, false}, // no resource
		{"arn:aws:iam::" + home + "0:role/x", false},
		{"arn:", false},
		{"db", true},
		{"*", true},
	} {
		err := a.Authorize(as(t.Context(), bob), &authz.Access{Action: "iam:PassRole", Resource: tt.resource})
		if got := err == nil; got != tt.want {
			t.Errorf("bob on %s: allowed = %v (%v), want %v", tt.resource, got, err, tt.want)
		}
	}
}

// A root user, who needs no policy at home, has no right to what is nobody's either; and who
// says whose it is is believed.
func TestNobodysResource(t *testing.T) {
	t.Parallel()
	a := authz.New(authz.Config{Policies: unasked{t}})
	if err := a.Authorize(as(t.Context(), root), &authz.Access{Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/key"}); err == nil {
		t.Error("root was let into a bucket of which nobody said whose it is")
	}
	if err := a.Authorize(as(t.Context(), root), &authz.Access{Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/key", Account: home}); err != nil {
		t.Error(err)
	}
	condition := authz.New(authz.Config{Policies: allow(t, `"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceAccount":"`+home+`"}}`)})
	if d, err := condition.Decide(as(t.Context(), bob), &authz.Access{Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/key"}); err != nil || d.Allowed || d.Layer != policy.LayerIdentity {
		t.Errorf("aws:ResourceAccount of a resource whose owner nobody told: %+v, %v, want that it has no value", d, err)
	}
}

type failing struct{ err error }

func (f failing) Policies(context.Context, *caller.Principal) (*policy.Set, error) { return nil, f.err }
func (f failing) Record(context.Context, audit.Record) error                       { return f.err }

// TestFailsClosed: whatever breaks, the answer is no, and it is not a denial, which would
// tell the operator nothing.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	broken := failing{errors.New("disk on fire")}
	for name, c := range map[string]authz.Config{
		"policies": {Policies: broken, Audit: new(audit.Memory)},
		"audit":    {Policies: allow(t, `"Action":"*","Resource":"*"`), Audit: broken},
	} {
		err := authz.New(c).Authorize(as(t.Context(), bob), &authz.Access{Action: "iam:CreateUser", Resource: "*"})
		var api smithy.APIError
		if !errors.Is(err, broken.err) || errors.As(err, &api) {
			t.Errorf("%s broken: error = %v, want the cause and no APIError", name, err)
		}
	}
	err := authz.New(authz.Config{Policies: policies{}, Audit: broken}).Authorize(as(t.Context(), bob), &authz.Access{Action: "iam:CreateUser"})
	if err == nil {
		t.Error("allowed")
	}
}

func TestAuditOfAllowed(t *testing.T) {
	t.Parallel()
	log := new(audit.Memory)
	a := authz.New(authz.Config{Policies: allow(t, `"Sid":"Read","Action":"kms:*","Resource":"*"`), Audit: log, Now: func() time.Time { return now }})
	delegation := document(t, policy.Key, `{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"}`)
	ctx := caller.Forward(as(t.Context(), bob), "secretsmanager")
	if err := a.Authorize(ctx, &authz.Access{Action: "kms:Decrypt", Resource: keyARN, Policy: &delegation, Kind: policy.Key}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Decide(ctx, &authz.Access{Action: "kms:Decrypt", Resource: keyARN}); err != nil {
		t.Fatal(err)
	}
	records := log.Records()
	if len(records) != 1 {
		t.Fatalf("%d records, want 1: Decide leaves none", len(records))
	}
	r := records[0]
	if r.Service != "kms" || r.Name != "Decrypt" || r.Operation != "GetSecretValue" || r.Principal != bob || r.Account != home || !r.Time.Equal(now) ||
		len(r.Via) != 1 || r.RequestID != "req-1" || r.Decision.Statement.Sid != "Read" || r.ErrorCode != "" {
		t.Errorf("record = %+v", r)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	log, err := audit.Open(filepath.Join(b.TempDir(), "audit.log"), audit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	for _, tt := range []struct {
		name string
		own  policies
		log  audit.Log
	}{
		{"plain", allow(b, `"Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:db-??????"`), nil},
		{"conditions", allow(b, `"Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/env":"prod","secretsmanager:VersionStage":"AWSCURRENT"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"Bool":{"aws:SecureTransport":"true"}}`), nil},
		{"audited", allow(b, `"Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:db-??????"`), log},
	} {
		b.Run(tt.name, func(b *testing.B) {
			a := authz.New(authz.Config{Policies: cached{&policy.Set{Identity: tt.own}}, Audit: tt.log})
			ctx := as(b.Context(), app)
			tags := map[string]string{"env": "prod"}
			b.ReportAllocs()
			for b.Loop() {
				err := a.Authorize(ctx, &authz.Access{Action: "secretsmanager:GetSecretValue", Resource: secretARN, Tags: tags,
					Conditions: map[string][]string{"secretsmanager:VersionStage": {"AWSCURRENT"}}})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type cached struct{ set *policy.Set }

func (c cached) Policies(context.Context, *caller.Principal) (*policy.Set, error) { return c.set, nil }
