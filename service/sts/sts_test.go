package sts_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

const (
	account = malotetest.Account
	other   = "999999999999"
	root    = "arn:aws:iam::" + account + ":root"
)

// world is a system with clients to set it up.
type world struct {
	*malotetest.System
	t   *testing.T
	iam *iam.Client
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	sys := malotetest.New(t)
	return &world{sys, t, iam.NewFromConfig(sys.Config())}
}

// role makes a role with that trust policy and returns its ARN.
func (w *world) role(name string, statements ...string) string {
	w.t.Helper()
	return makeRole(w.t, w.iam, name, statements...)
}

func makeRole(t *testing.T, client *iam.Client, name string, statements ...string) string {
	t.Helper()
	out, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: &name, Path: aws.String("/path/"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Role.Arn
}

func (w *world) user(name, policy string) *sts.Client {
	w.t.Helper()
	return sts.NewFromConfig(w.User(w.t, name, policy))
}

func (w *world) with(c *types.Credentials) aws.Config {
	return w.Credentials(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}

func trust(principal, action string, condition ...string) string {
	s := `{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":` + action
	if len(condition) > 0 {
		s += `,"Condition":` + condition[0]
	}
	return s + "}"
}

const assume = `"sts:AssumeRole"`

func userARN(name string) string { return "arn:aws:iam::" + account + ":user/" + name }

func input(role string) *sts.AssumeRoleInput {
	return &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
}

func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		t.Errorf("error = %v, want %s: %s", err, code, message)
		return
	}
	if e.ErrorCode() != code || e.ErrorMessage() != message {
		t.Errorf("error = %s: %s\nwant    %s: %s", e.ErrorCode(), e.ErrorMessage(), code, message)
	}
}

func denied(who, action, role, because string) string {
	s := "User: " + who + " is not authorized to perform: " + action + " on resource: " + role
	if because != "" {
		s += " because no " + because + " allows the " + action + " action"
	}
	return s
}

func TestGetCallerIdentity(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob", strings.Replace(malotetest.Allow("*", "*"), "Allow", "Deny", 1)) // an explicit Deny does not matter
	got, err := bob.GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Arn != userARN("bob") || *got.Account != account || !strings.HasPrefix(*got.UserId, "AIDA") {
		t.Errorf("bob = %s, %s, %s", *got.Arn, *got.Account, *got.UserId)
	}

	out, err := sts.NewFromConfig(w.Config()).AssumeRole(ctx, input(w.role("app", trust(root, assume))))
	if err != nil {
		t.Fatal(err)
	}
	got, err = sts.NewFromConfig(w.with(out.Credentials)).GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::" + account + ":assumed-role/app/session"; *got.Arn != want || *out.AssumedRoleUser.Arn != want { // without the path
		t.Errorf("session = %s, %s, want %s", *got.Arn, *out.AssumedRoleUser.Arn, want)
	}
	if *got.UserId != *out.AssumedRoleUser.AssumedRoleId || !strings.HasSuffix(*got.UserId, ":session") {
		t.Errorf("UserId = %s, want %s", *got.UserId, *out.AssumedRoleUser.AssumedRoleId)
	}
	got, err = sts.NewFromConfig(w.Root(t)).GetCallerIdentity(ctx, nil)
	if err != nil || *got.Arn != root || *got.UserId != account {
		t.Errorf("root = %+v, %v", got, err)
	}
}

// Cases 74 to 77 of the decision matrix, and their neighbours.
func TestAssumeRoleDecisions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob", "")
	allowed := w.user("allowed", malotetest.Allow("*", "sts:*"))
	forbidden := w.user("forbidden", strings.Replace(malotetest.Allow("*", "sts:AssumeRole"), "Allow", "Deny", 1))

	named := w.role("named", trust(userARN("bob"), assume))
	byAccount := w.role("by-account", trust(root, assume))
	nobody := w.role("nobody", `{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}`)
	refuses := w.role("refuses", trust(root, assume), strings.Replace(trust(userARN("allowed"), assume), "Allow", "Deny", 1))
	everybody := w.role("everybody", trust("*", assume))
	missing := "arn:aws:iam::" + account + ":role/path/missing"
	external := w.role("external", trust(userARN("bob"), assume, `{"StringEquals":{"sts:ExternalId":"right"}}`))
	sessionName := w.role("session-name", trust(userARN("bob"), assume, `{"StringEquals":{"sts:RoleSessionName":"${aws:username}"}}`))

	for _, tt := range []struct {
		name   string
		client *sts.Client
		in     *sts.AssumeRoleInput
		want   string // "" is allowed
	}{
		{"74 named, no policy of its own", bob, input(named), ""},
		{"75 account trusted, no policy of its own", bob, input(byAccount), denied(userARN("bob"), "sts:AssumeRole", byAccount, "identity-based policy")},
		{"account trusted, allowed", allowed, input(byAccount), ""},
		{"another named", allowed, input(named), denied(userARN("allowed"), "sts:AssumeRole", named, "role trust policy")},
		{"trusts a service", allowed, input(nobody), denied(userARN("allowed"), "sts:AssumeRole", nobody, "role trust policy")},
		{"missing is like untrusted", allowed, input(missing), denied(userARN("allowed"), "sts:AssumeRole", missing, "role trust policy")},
		{"denied by trust", allowed, input(refuses), "User: " + userARN("allowed") + " is not authorized to perform: sts:AssumeRole on resource: " + refuses + " with an explicit deny in the role trust policy"},
		{"denied by its own", forbidden, input(everybody), "User: " + userARN("forbidden") + " is not authorized to perform: sts:AssumeRole on resource: " + everybody + " with an explicit deny in an identity-based policy"},
		{"77 no external id", bob, input(external), denied(userARN("bob"), "sts:AssumeRole", external, "role trust policy")},
		{"77 wrong external id", bob, &sts.AssumeRoleInput{RoleArn: &external, RoleSessionName: aws.String("s1"), ExternalId: aws.String("wrong")}, denied(userARN("bob"), "sts:AssumeRole", external, "role trust policy")},
		{"right external id", bob, &sts.AssumeRoleInput{RoleArn: &external, RoleSessionName: aws.String("s1"), ExternalId: aws.String("right")}, ""},
		{"another session name", bob, input(sessionName), denied(userARN("bob"), "sts:AssumeRole", sessionName, "role trust policy")},
		{"own session name", bob, &sts.AssumeRoleInput{RoleArn: &sessionName, RoleSessionName: aws.String("bob")}, ""},
		{"77 tags without TagSession", bob, &sts.AssumeRoleInput{RoleArn: &named, RoleSessionName: aws.String("s1"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}, denied(userARN("bob"), "sts:TagSession", named, "role trust policy")},
		{"source identity without SetSourceIdentity", bob, &sts.AssumeRoleInput{RoleArn: &named, RoleSessionName: aws.String("s1"), SourceIdentity: aws.String("bob")}, denied(userARN("bob"), "sts:SetSourceIdentity", named, "role trust policy")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.client.AssumeRole(ctx, tt.in)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, "AccessDenied", tt.want)
		})
	}

	_, err := sts.NewFromConfig(w.Root(t)).AssumeRole(ctx, input(everybody))
	wantError(t, err, "AccessDenied", "Roles may not be assumed by root accounts.")

	t.Run("76 across accounts", func(t *testing.T) {
		theirs := iam.NewFromConfig(w.Other(t, other))
		open := makeRole(t, theirs, "open", trust(account, assume))
		closed := makeRole(t, theirs, "closed", trust(other, assume))
		_, err := bob.AssumeRole(ctx, input(open))
		wantError(t, err, "AccessDenied", denied(userARN("bob"), "sts:AssumeRole", open, ""))
		out, err := allowed.AssumeRole(ctx, input(open))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sts.NewFromConfig(w.with(out.Credentials)).GetCallerIdentity(ctx, nil); err != nil || *got.Account != other {
			t.Errorf("identity = %+v, %v, want account %s", got, err, other)
		}
		// No reason is given to strangers, and none that tells absence from refusal.
		for _, role := range []string{closed, "arn:aws:iam::" + other + ":role/none", "arn:aws:iam::111111111111:role/none"} {
			_, err = allowed.AssumeRole(ctx, input(role))
			wantError(t, err, "AccessDenied", denied(userARN("allowed"), "sts:AssumeRole", role, ""))
		}
		// Theirs may name one of ours, but nobody who is not there.
		makeRole(t, theirs, "named", trust(userARN("bob"), assume))
		_, err = theirs.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":` + trust(userARN("none"), assume) + `}`)})
		wantError(t, err, "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"`+userARN("none")+`"`)
	})
}

func TestAssumeRoleRequests(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := sts.NewFromConfig(w.Config())
	role := w.role("app", trust(root, `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`))
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	state := uint32(1)
	noise := func(n int) string { // text that does not deflate
		out := make([]byte, n)
		for i := range out {
			state = state*1664525 + 1013904223
			out[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+="[state>>26]
		}
		return string(out)
	}
	var many []types.Tag
	for range 20 {
		many = append(many, tag(noise(100), noise(200)))
	}

	for _, tt := range []struct {
		name          string
		change        func(*sts.AssumeRoleInput)
		code, message string
	}{
		{"no role's ARN", func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::" + account + ":user/app") }, "ValidationError", "arn:aws:iam::" + account + ":user/app is invalid"},
		{"session name", func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("Session1:2") }, "ValidationError", `1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"too long", func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"transitive key without tag", func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"a"} }, "InvalidParameterValue", "The specified transitive tag key must be included in the requested tags."},
		{"tags twice", func(in *sts.AssumeRoleInput) { in.Tags = []types.Tag{tag("a", "1"), tag("A", "2")} }, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"session policy", func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{") }, "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"session policy with a principal", func(in *sts.AssumeRoleInput) {
			in.Policy = aws.String(`{"Version":"2012-10-17","Statement":` + trust("*", assume) + `}`)
		}, "MalformedPolicyDocument", "Policy document should not specify a principal."},
		{"no managed policy", func(in *sts.AssumeRoleInput) {
			in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/None")}}
		}, "MalformedPolicyDocument", "Policy arn:aws:iam::aws:policy/None does not exist or is not attachable."},
		{"MFA", func(in *sts.AssumeRoleInput) {
			in.SerialNumber, in.TokenCode = aws.String("arn:aws:iam::"+account+":mfa/bob"), aws.String("123456")
		}, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(role)
			tt.change(in)
			_, err := admin.AssumeRole(ctx, in)
			wantError(t, err, tt.code, tt.message)
		})
	}

	t.Run("packed too large", func(t *testing.T) {
		in := input(role)
		in.Tags = many
		_, err := admin.AssumeRole(ctx, in)
		var large *types.PackedPolicyTooLargeException
		if !errors.As(err, &large) {
			t.Errorf("error = %v, want PackedPolicyTooLarge", err)
		}
	})
	t.Run("the longest session policy fits", func(t *testing.T) {
		in := input(role)
		in.Policy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"arn:aws:ssm:*:*:parameter/` + noise(1920) + `"}]}`)
		out, err := admin.AssumeRole(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(*out.Credentials.SessionToken); n > 4096 || *out.PackedPolicySize < 1 || *out.PackedPolicySize > 100 {
			t.Errorf("token of %d bytes, %d %%", n, *out.PackedPolicySize)
		}
	})
	t.Run("what is answered", func(t *testing.T) {
		in := input(role)
		in.SourceIdentity, in.DurationSeconds = aws.String("alice"), aws.Int32(900)
		out, err := admin.AssumeRole(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		c := out.Credentials
		if !strings.HasPrefix(*c.AccessKeyId, "ASIA") || len(*c.AccessKeyId) != 20 || len(*c.SecretAccessKey) != 40 || *out.SourceIdentity != "alice" || out.PackedPolicySize != nil {
			t.Errorf("answer = %s, secret of %d, %v", *c.AccessKeyId, len(*c.SecretAccessKey), out.PackedPolicySize)
		}
		if left := c.Expiration.Sub(w.Clock.Now()); left < 14*time.Minute || left > 15*time.Minute {
			t.Errorf("expires in %v, want 15m", left)
		}
		info, err := admin.GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: c.AccessKeyId})
		if err != nil || *info.Account != account {
			t.Errorf("GetAccessKeyInfo = %+v, %v", info, err)
		}
		_, err = sts.NewFromConfig(w.with(c)).GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: c.AccessKeyId})
		wantError(t, err, "AccessDenied", "User: "+*out.AssumedRoleUser.Arn+" is not authorized to perform: sts:GetAccessKeyInfo because no identity-based policy allows the sts:GetAccessKeyInfo action")
	})
}

// A session hands on its transitive tags and its source identity, and an hour at most.
func TestRoleChaining(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	all := `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`
	first := w.role("first", trust(root, all))
	if _, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("first"), PolicyName: aws.String("p"), PolicyDocument: aws.String(malotetest.Allow("*", "sts:*"))}); err != nil {
		t.Fatal(err)
	}
	second := w.role("second", trust(root, all))
	forgetful := w.role("forgetful", trust(root, `["sts:AssumeRole","sts:TagSession"]`))
	untagged := w.role("untagged", trust(root, `["sts:AssumeRole","sts:SetSourceIdentity"]`))
	for name, duration := range map[string]int32{"first": 7200, "second": 7200} {
		if _, err := w.iam.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: &name, MaxSessionDuration: &duration}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := sts.NewFromConfig(w.Config()).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: &first, RoleSessionName: aws.String("one"), SourceIdentity: aws.String("alice"), DurationSeconds: aws.Int32(7200),
		Tags:              []types.Tag{{Key: aws.String("Project"), Value: aws.String("p1")}, {Key: aws.String("own"), Value: aws.String("x")}},
		TransitiveTagKeys: []string{"Project"},
	})
	if err != nil {
		t.Fatal(err)
	}
	chain := sts.NewFromConfig(w.with(out.Credentials))

	_, err = chain.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("two"), DurationSeconds: aws.Int32(3601)})
	wantError(t, err, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	_, err = chain.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("two"), Tags: []types.Tag{{Key: aws.String("project"), Value: aws.String("p2")}}})
	wantError(t, err, "InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
	if _, err = chain.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("two"), SourceIdentity: aws.String("mallory")}); err == nil {
		t.Error("the source identity was changed")
	}
	_, err = chain.AssumeRole(ctx, input(forgetful))
	wantError(t, err, "AccessDenied", denied(*out.AssumedRoleUser.Arn, "sts:SetSourceIdentity", forgetful, "role trust policy"))

	// Inherited tags need their permission too, though the request has none.
	_, err = chain.AssumeRole(ctx, input(untagged))
	wantError(t, err, "AccessDenied", denied(*out.AssumedRoleUser.Arn, "sts:TagSession", untagged, "role trust policy"))

	next, err := chain.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("two")})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(next.SourceIdentity) != "alice" {
		t.Errorf("source identity = %q, want alice", aws.ToString(next.SourceIdentity))
	}
	// second may list groups whose project it carries, and the other tag stayed behind.
	put := func(document string) {
		t.Helper()
		if _, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("second"), PolicyName: aws.String("p"), PolicyDocument: &document}); err != nil {
			t.Fatal(err)
		}
	}
	list := func() error {
		_, err := iam.NewFromConfig(w.with(next.Credentials)).ListGroups(ctx, nil)
		return err
	}
	condition := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListGroups","Resource":"*","Condition":{"StringEquals":{%}}}]}`
	put(strings.Replace(condition, "%", `"aws:PrincipalTag/project":"p1","aws:SourceIdentity":"alice"`, 1))
	if err := list(); err != nil {
		t.Errorf("with the transitive tag: %v", err)
	}
	put(strings.Replace(condition, "%", `"aws:PrincipalTag/own":"x"`, 1))
	if err := list(); err == nil {
		t.Error("a tag that is not transitive was handed on")
	}
}

func TestSessionPolicies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := sts.NewFromConfig(w.Config())
	role := w.role("app", trust(root, assume))
	if _, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("p"), PolicyDocument: aws.String(malotetest.Allow("*", "iam:*"))}); err != nil {
		t.Fatal(err)
	}
	own, err := w.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("groups"), PolicyDocument: aws.String(malotetest.Allow("*", "iam:ListGroups"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name          string
		policy        string
		arns          []string
		groups, users bool
	}{
		{"none", "", nil, true, true},
		{"narrower", malotetest.Allow("*", "iam:ListGroups"), nil, true, false},
		{"wider", malotetest.Allow("*", "*"), nil, true, true},
		{"managed", "", []string{*own.Policy.Arn}, true, false},
		{"two united", malotetest.Allow("*", "iam:ListUsers"), []string{*own.Policy.Arn}, true, true},
		{"other", "", []string{"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(role)
			if tt.policy != "" {
				in.Policy = &tt.policy
			}
			for _, arn := range tt.arns {
				in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: &arn})
			}
			out, err := admin.AssumeRole(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			client := iam.NewFromConfig(w.with(out.Credentials))
			_, groups := client.ListGroups(ctx, nil)
			_, users := client.ListUsers(ctx, nil)
			if (groups == nil) != tt.groups || (users == nil) != tt.users {
				t.Errorf("ListGroups: %v, ListUsers: %v", groups, users)
			}
			if !tt.users {
				wantError(t, users, "AccessDenied", denied(*out.AssumedRoleUser.Arn, "iam:ListUsers", "arn:aws:iam::"+account+":user/", "session policy"))
			}
		})
	}

	// A session keeps within a managed policy that is gone: it allows nothing.
	in := input(role)
	in.PolicyArns = []types.PolicyDescriptorType{{Arn: own.Policy.Arn}}
	out, err := admin.AssumeRole(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: own.Policy.Arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := iam.NewFromConfig(w.with(out.Credentials)).ListGroups(ctx, nil); err == nil {
		t.Error("ListGroups allowed by a session policy that is gone")
	}
}

// What ends or changes a role ends or changes its sessions, at once.
func TestSessionsFollowTheRole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := sts.NewFromConfig(w.Config())
	role := w.role("app", trust(root, assume))
	put := func(document string) {
		t.Helper()
		if _, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("p"), PolicyDocument: &document}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := admin.AssumeRole(ctx, input(role))
	if err != nil {
		t.Fatal(err)
	}
	another, err := admin.AssumeRole(ctx, input(role))
	if err != nil {
		t.Fatal(err)
	}
	session := iam.NewFromConfig(w.with(out.Credentials))
	if _, err := session.ListGroups(ctx, nil); err == nil {
		t.Error("allowed before there was a policy")
	}
	put(malotetest.Allow("*", "iam:ListGroups"))
	if _, err := session.ListGroups(ctx, nil); err != nil {
		t.Errorf("after the policy was put: %v", err)
	}

	// The idiom that revokes what was issued before now.
	put(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"` + w.Clock.Now().UTC().Add(time.Minute).Format(time.RFC3339) + `"}}}]}`)
	if _, err := session.ListGroups(ctx, nil); err == nil || !strings.Contains(err.Error(), "explicit deny") {
		t.Errorf("revoked session: %v, want an explicit deny", err)
	}

	const invalid = "The security token included in the request is invalid."
	mixed := *out.Credentials
	mixed.SessionToken = another.Credentials.SessionToken
	_, err = sts.NewFromConfig(w.with(&mixed)).GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", invalid)
	mixed = *out.Credentials
	mixed.SessionToken = aws.String("")
	_, err = sts.NewFromConfig(w.with(&mixed)).GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", invalid)
	mixed = *out.Credentials
	mixed.SecretAccessKey = another.Credentials.SecretAccessKey
	if _, err = sts.NewFromConfig(w.with(&mixed)).GetCallerIdentity(ctx, nil); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("another session's secret: %v, want SignatureDoesNotMatch", err)
	}
	// A token of another system, for the same account.
	elsewhere := malotetest.New(t)
	_, err = sts.NewFromConfig(elsewhere.Credentials(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)).GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", invalid)

	if _, err := w.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("app")}); err != nil {
		t.Fatal(err)
	}
	_, err = sts.NewFromConfig(w.with(out.Credentials)).GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", invalid)
	w.role("app", trust(root, assume))
	_, err = sts.NewFromConfig(w.with(out.Credentials)).GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", invalid)
}

func TestSessionsExpire(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	out, err := sts.NewFromConfig(w.Config()).AssumeRole(ctx, input(w.role("app", trust(root, assume))))
	if err != nil {
		t.Fatal(err)
	}
	session := sts.NewFromConfig(w.with(out.Credentials))
	w.Clock.Advance(59 * time.Minute)
	if _, err := session.GetCallerIdentity(ctx, nil); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(time.Minute)
	_, err = session.GetCallerIdentity(ctx, nil)
	wantError(t, err, "ExpiredToken", "The security token included in the request is expired")
}

func TestGetSessionToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	config := w.User(t, "bob", malotetest.Allow("*", "iam:ListGroups", "secretsmanager:ListSecrets", "sts:*"))
	bob := sts.NewFromConfig(config)
	out, err := bob.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	if left := out.Credentials.Expiration.Sub(w.Clock.Now()); left < 12*time.Hour-time.Minute || left > 12*time.Hour {
		t.Errorf("expires in %v, want 12h", left)
	}
	session := sts.NewFromConfig(w.with(out.Credentials))
	got, err := session.GetCallerIdentity(ctx, nil)
	if err != nil || *got.Arn != userARN("bob") {
		t.Errorf("identity = %+v, %v, want bob", got, err)
	}
	if _, err := session.AssumeRole(ctx, input(w.role("app", trust(root, assume)))); err != nil {
		t.Errorf("AssumeRole: %v", err)
	}
	_, err = session.GetSessionToken(ctx, nil)
	wantError(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	_, err = session.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol")})
	wantError(t, err, "AccessDenied", "Cannot call GetFederationToken with session credentials")
	_, err = session.GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: out.Credentials.AccessKeyId})
	wantError(t, err, "AccessDenied", "Cannot call GetAccessKeyInfo with session credentials")
	for _, seconds := range []int32{899, 129601} {
		if _, err := bob.GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: &seconds}); err == nil || !strings.Contains(err.Error(), "'durationSeconds' failed to satisfy constraint") {
			t.Errorf("%d seconds: %v, want a refusal", seconds, err)
		}
	}
	long, err := bob.GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129600)})
	if err != nil {
		t.Fatal(err)
	}
	if left := long.Credentials.Expiration.Sub(w.Clock.Now()); left < 36*time.Hour-time.Minute || left > 36*time.Hour {
		t.Errorf("expires in %v, want 36h", left)
	}
	_, err = iam.NewFromConfig(w.with(out.Credentials)).ListGroups(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")
	if _, err := iam.NewFromConfig(config).ListGroups(ctx, nil); err != nil {
		t.Errorf("with the long-term key: %v", err)
	}

	short, err := sts.NewFromConfig(w.Root(t)).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(7200)})
	if err != nil {
		t.Fatal(err)
	}
	if left := short.Credentials.Expiration.Sub(w.Clock.Now()); left > time.Hour {
		t.Errorf("root's expires in %v, want 1h", left)
	}
}
