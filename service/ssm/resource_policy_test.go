package ssm_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

const stranger = "210987654321"

func advanced(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced }

func statement(effect, principal string, actions ...string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":%q,"Principal":{"AWS":%q},"Action":["%s"],"Resource":"*"}]}`, effect, principal, strings.Join(actions, `","`))
}

func share(t testing.TB, c *ssm.Client, arn, policy string) *ssm.PutResourcePolicyOutput {
	t.Helper()
	out, err := c.PutResourcePolicy(t.Context(), &ssm.PutResourcePolicyInput{ResourceArn: &arn, Policy: &policy})
	if err != nil {
		t.Fatalf("PutResourcePolicy(%s): %v", arn, err)
	}
	return out
}

func unshare(t testing.TB, c *ssm.Client, arn string, shared *ssm.PutResourcePolicyOutput) {
	t.Helper()
	if _, err := c.DeleteResourcePolicy(t.Context(), &ssm.DeleteResourcePolicyInput{ResourceArn: &arn, PolicyId: shared.PolicyId, PolicyHash: shared.PolicyHash}); err != nil {
		t.Fatal(err)
	}
}

func policies(t testing.TB, c *ssm.Client, arn string, page *int32) (texts []string, pages int) {
	t.Helper()
	in := &ssm.GetResourcePoliciesInput{ResourceArn: &arn, MaxResults: page}
	for {
		out, err := c.GetResourcePolicies(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, p := range out.Policies {
			texts = append(texts, *p.Policy+" "+*p.PolicyId+" "+*p.PolicyHash)
		}
		if out.NextToken == nil {
			return texts, pages
		}
		in.NextToken = out.NextToken
	}
}

func TestResourcePolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/p", sys.Canary(), advanced)
	arn := arnPrefix + "p"
	if got, _ := policies(t, c, arn, nil); got != nil {
		t.Errorf("policies of a new parameter: %v", got)
	}

	read, history := statement("Allow", stranger, "ssm:GetParameter"), statement("Allow", stranger, "ssm:GetParameterHistory")
	first := share(t, c, arn, read)
	second := share(t, c, arn, history)
	if *first.PolicyId == *second.PolicyId || *first.PolicyHash == *second.PolicyHash {
		t.Errorf("two policies: %s %s, %s %s", *first.PolicyId, *first.PolicyHash, *second.PolicyId, *second.PolicyHash)
	}
	want := []string{read + " " + *first.PolicyId + " " + *first.PolicyHash, history + " " + *second.PolicyId + " " + *second.PolicyHash}
	got, pages := policies(t, c, arn, aws.Int32(1))
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || pages != 2 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
	_, err := c.GetResourcePolicies(t.Context(), &ssm.GetResourcePoliciesInput{ResourceArn: &arn, NextToken: aws.String("x")})
	wantError(t, err, "ResourcePolicyInvalidParameterException", "token")

	// The hash is a lock: who has not seen the policy does not replace it or take it off.
	update := func(id, hash, policy string) (*ssm.PutResourcePolicyOutput, error) {
		return c.PutResourcePolicy(t.Context(), &ssm.PutResourcePolicyInput{ResourceArn: &arn, Policy: &policy, PolicyId: optional(id), PolicyHash: optional(hash)})
	}
	updated, err := update(*first.PolicyId, *first.PolicyHash, history)
	if err != nil || *updated.PolicyId != *first.PolicyId || *updated.PolicyHash == *first.PolicyHash {
		t.Fatalf("updating: %+v, %v", updated, err)
	}
	_, err = update(*first.PolicyId, *first.PolicyHash, read)
	wantError(t, err, "ResourcePolicyConflictException", "The hash provided in the call doesn't match the stored hash.")
	_, err = update("none", *first.PolicyHash, read)
	wantError(t, err, "ResourcePolicyNotFoundException", "No policies with the specified policy ID and hash could be found.")
	_, err = update(*first.PolicyId, "", read)
	wantError(t, err, "ResourcePolicyInvalidParameterException", "PolicyHash must be given")
	_, err = update("", *first.PolicyHash, read)
	wantError(t, err, "ResourcePolicyInvalidParameterException", "PolicyId must be given")
	_, err = c.DeleteResourcePolicy(t.Context(), &ssm.DeleteResourcePolicyInput{ResourceArn: &arn, PolicyId: first.PolicyId, PolicyHash: first.PolicyHash})
	wantError(t, err, "ResourcePolicyConflictException", "")
	unshare(t, c, arn, updated)
	_, err = c.DeleteResourcePolicy(t.Context(), &ssm.DeleteResourcePolicyInput{ResourceArn: &arn, PolicyId: first.PolicyId, PolicyHash: updated.PolicyHash})
	wantError(t, err, "ResourcePolicyNotFoundException", "")

	// New versions stay shared; a parameter made again is not.
	put(t, c, "/p", sys.Canary(), overwrite)
	if got, _ := policies(t, c, arn, nil); len(got) != 1 {
		t.Errorf("policies after overwriting: %v", got)
	}
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/p")}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "/p", sys.Canary(), advanced)
	if got, _ := policies(t, c, arn, nil); len(got) != 0 {
		t.Errorf("policies of a parameter made again: %v", got)
	}
}

func TestResourcePoliciesRefused(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/standard", "x")
	put(t, c, "/managed", sys.Canary(), advanced, secure)
	put(t, c, "/p", "x", advanced)
	good := statement("Allow", stranger, "ssm:GetParameter")
	for name, tt := range map[string]struct{ arn, policy, code, text string }{
		"standard":     {arnPrefix + "standard", good, "ResourcePolicyInvalidParameterException", "advanced parameter tier"},
		"managed key":  {arnPrefix + "managed", good, "ResourcePolicyInvalidParameterException", "customer managed key"},
		"absent":       {arnPrefix + "none", good, "ResourceNotFoundException", "The specified parameter to be shared could not be found."},
		"other region": {"arn:aws:ssm:eu-west-1:" + malotetest.Account + ":parameter/p", good, "ResourceNotFoundException", ""},
		"name":         {"/a/name/that/is/long/enough", good, "ResourcePolicyInvalidParameterException", "ARN"},
		"version":      {arnPrefix + "p:1", good, "ResourcePolicyInvalidParameterException", "without version or label"},
		"OpsItemGroup": {"arn:aws:ssm:" + malotetest.Region + ":" + malotetest.Account + ":opsitemgroup/default", good, "ResourcePolicyInvalidParameterException", "ARN"},
		"no JSON":      {arnPrefix + "p", "nonsense", "MalformedResourcePolicyDocumentException", "1:1"},
		"nobody":       {arnPrefix + "p", statement("Allow", "arn:aws:iam::"+malotetest.Account+":user/nobody", "ssm:GetParameter"), "MalformedResourcePolicyDocumentException", "user/nobody"},
		"everyone":     {arnPrefix + "p", statement("Allow", "*", "ssm:GetParameter"), "MalformedResourcePolicyDocumentException", "everyone"},
		"too long":     {arnPrefix + "p", good + strings.Repeat(" ", 1025-len(good)), "ResourcePolicyLimitExceededException", "1025 bytes"},
	} {
		_, err := c.PutResourcePolicy(t.Context(), &ssm.PutResourcePolicyInput{ResourceArn: &tt.arn, Policy: &tt.policy})
		wantError(t, err, tt.code, tt.text)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	for range 10 {
		share(t, c, arnPrefix+"p", good)
	}
	_, err := c.PutResourcePolicy(t.Context(), &ssm.PutResourcePolicyInput{ResourceArn: aws.String(arnPrefix + "p"), Policy: &good})
	wantError(t, err, "ResourcePolicyLimitExceededException", "10 resource policies")
}

// A stranger needs both: a policy of the parameter, and one of its own account.
func TestSharedParameter(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	foreign := sys.Other(t, stranger)
	other := ssm.NewFromConfig(foreign)
	value := sys.Canary()
	put(t, c, "/app/p", value, advanced)
	put(t, c, "/app/secret", sys.Canary(), advanced)
	arn := arnPrefix + "app/p"
	reads := []string{"ssm:GetParameter", "ssm:GetParameters", "ssm:GetParameterHistory", "ssm:DescribeParameters"}
	const noPolicy = "because no resource-based policy allows the ssm:GetParameter action"

	for _, name := range []string{arn, arnPrefix + "none"} { // whether there is one, is not told
		_, err := get(t, other, name)
		wantError(t, err, "AccessDeniedException", noPolicy)
	}
	shared := share(t, c, arn, statement("Allow", stranger, reads...))
	for _, name := range []string{arn, arn + ":1"} {
		p, err := get(t, other, name)
		if err != nil || *p.Value != value || *p.ARN != arn || *p.Name != "/app/p" {
			t.Errorf("GetParameter(%s) = %+v, %v", name, p, err)
		}
	}
	_, err := get(t, other, arnPrefix+"app/secret")
	wantError(t, err, "AccessDeniedException", noPolicy)
	_, err = get(t, other, "/app/p") // its own account's
	wantError(t, err, "ParameterNotFound", "=")
	several, err := other.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{arn}})
	if err != nil || len(several.Parameters) != 1 {
		t.Errorf("GetParameters = %+v, %v", several, err)
	}
	_, err = other.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{arn, arnPrefix + "app/secret"}})
	wantError(t, err, "AccessDeniedException", "ssm:GetParameters")
	history, err := other.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: &arn})
	if err != nil || len(history.Parameters) != 1 {
		t.Errorf("GetParameterHistory = %+v, %v", history, err)
	}

	// What is not in the policy is not shared, and sharing is for the owner alone.
	_, err = other.GetResourcePolicies(t.Context(), &ssm.GetResourcePoliciesInput{ResourceArn: &arn})
	wantError(t, err, "AccessDeniedException", "ssm:GetResourcePolicies")
	all := share(t, c, arn, statement("Allow", stranger, "ssm:*"))
	_, err = other.PutResourcePolicy(t.Context(), &ssm.PutResourcePolicyInput{ResourceArn: &arn, Policy: aws.String(statement("Allow", "310987654321", "ssm:*"))})
	wantError(t, err, "ResourcePolicyInvalidParameterException", "You can't share a parameter that has been shared with you.")
	_, err = other.DeleteResourcePolicy(t.Context(), &ssm.DeleteResourcePolicyInput{ResourceArn: &arn, PolicyId: all.PolicyId, PolicyHash: all.PolicyHash})
	wantError(t, err, "ResourcePolicyInvalidParameterException", "")
	_, err = other.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &arn, Value: aws.String("x"), Overwrite: aws.Bool(true)})
	wantError(t, err, "ValidationException", "")
	unshare(t, c, arn, all)

	// Its own account must allow it too.
	people := iam.NewFromConfig(foreign)
	if _, err := people.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("eve")}); err != nil {
		t.Fatal(err)
	}
	key, err := people.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("eve")})
	if err != nil {
		t.Fatal(err)
	}
	eve := ssm.NewFromConfig(sys.Credentials(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, ""))
	_, err = get(t, eve, arn)
	wantError(t, err, "AccessDeniedException", "because no identity-based policy allows the ssm:GetParameter action")
	grant := func(policy string) {
		t.Helper()
		if _, err := people.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("eve"), PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	grant(malotetest.Allow(arn, "ssm:GetParameter"))
	if _, err := get(t, eve, arn); err != nil {
		t.Error(err)
	}
	grant(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ssm:GetParameter","Resource":"` + arn + `"}]}`)
	_, err = get(t, eve, arn)
	wantError(t, err, "AccessDeniedException", "with an explicit deny in an identity-based policy")

	// An explicit deny of the parameter's outweighs its allow.
	deny := share(t, c, arn, statement("Deny", "arn:aws:iam::"+stranger+":user/admin", "ssm:GetParameter"))
	_, err = get(t, other, arn)
	wantError(t, err, "AccessDeniedException", "with an explicit deny in a resource-based policy")
	unshare(t, c, arn, deny)
	if _, err = get(t, other, arn); err != nil {
		t.Error(err)
	}
	unshare(t, c, arn, shared)
	_, err = get(t, other, arn)
	wantError(t, err, "AccessDeniedException", noPolicy)
	_, err = other.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: &arn})
	wantError(t, err, "AccessDeniedException", "because no resource-based policy allows")
}

// A policy is for the user it named, not for one that is made later under the same name.
func TestSharedWithAUserMadeAgain(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	people := iam.NewFromConfig(sys.Config())
	put(t, c, "p", sys.Canary(), advanced)
	user := "arn:aws:iam::" + malotetest.Account + ":user/bob"
	bob := ssm.NewFromConfig(sys.User(t, "bob", ""))
	share(t, c, arnPrefix+"p", statement("Allow", user, "ssm:GetParameter"))
	if _, err := get(t, bob, "p"); err != nil {
		t.Error(err)
	}
	keys, err := people.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.AccessKeyMetadata {
		if _, err := people.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: k.AccessKeyId}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := people.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(err)
	}
	again := ssm.NewFromConfig(sys.User(t, "bob", ""))
	_, err = get(t, again, "p")
	wantError(t, err, "AccessDeniedException", "ssm:GetParameter")
	if got, _ := policies(t, c, arnPrefix+"p", nil); len(got) != 1 || strings.Contains(got[0], user) {
		t.Errorf("policies still name %s: %v", user, got)
	}
}

// The key is shared apart: without kms:Decrypt on it there is only what is encrypted.
func TestSharedSecureString(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c, keys := ssm.NewFromConfig(sys.Config()), kms.NewFromConfig(sys.Config())
	other := ssm.NewFromConfig(sys.Other(t, stranger))
	made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	value := sys.Canary()
	put(t, c, "/s", value, advanced, secure, func(in *ssm.PutParameterInput) { in.KeyId = made.KeyMetadata.Arn })
	arn := arnPrefix + "s"
	share(t, c, arn, statement("Allow", stranger, "ssm:GetParameter"))

	out, err := other.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &arn})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := base64.StdEncoding.DecodeString(*out.Parameter.Value); err != nil || *out.Parameter.Value == value {
		t.Errorf("without decryption: %v", err)
	}
	_, err = get(t, other, arn)
	wantError(t, err, "AccessDeniedException", "or you are not allowed to access")
	setKey := func(statements string) {
		t.Helper()
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + malotetest.Account + `"},"Action":"kms:*","Resource":"*"}` + statements + `]}`
		if _, err := keys.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: made.KeyMetadata.KeyId, Policy: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	setKey(`,{"Effect":"Allow","Principal":{"AWS":"` + stranger + `"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"ssm.` + malotetest.Region + `.amazonaws.com"}}}`)
	p, err := get(t, other, arn)
	if err != nil || *p.Value != value {
		t.Errorf("with kms:Decrypt: %v", err)
	}
	setKey("")
	_, err = get(t, other, arn)
	wantError(t, err, "AccessDeniedException", "or you are not allowed to access")
}

func sharedNames(t testing.TB, c *ssm.Client, in ssm.DescribeParametersInput) (arns []string, pages int) {
	t.Helper()
	in.Shared = aws.Bool(true)
	for {
		out, err := c.DescribeParameters(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, p := range out.Parameters {
			arns = append(arns, strings.TrimPrefix(*p.ARN, arnPrefix))
		}
		if out.NextToken == nil {
			return arns, pages
		}
		in.NextToken = out.NextToken
	}
}

func TestDescribeShared(t *testing.T) {
	t.Parallel()
	clock := &malotetest.Clock{}
	sys := malotetest.New(t, malotetest.RunAt(clock))
	c := ssm.NewFromConfig(sys.Config())
	other, third := ssm.NewFromConfig(sys.Other(t, stranger)), ssm.NewFromConfig(sys.Other(t, "310987654321"))
	shares := map[string]*ssm.PutResourcePolicyOutput{}
	for _, name := range []string{"/a/1", "/a/2", "/a/3", "/b", "/expires"} {
		put(t, c, name, sys.Canary(), advanced, func(in *ssm.PutParameterInput) {
			if name == "/expires" {
				in.Policies = aws.String("[" + expires(clock.Now().Add(time.Hour)) + "]")
			}
		})
		shares[name] = share(t, c, arnPrefix+name[1:], statement("Allow", stranger, "ssm:DescribeParameters"))
	}
	put(t, c, "/mine", sys.Canary(), advanced)
	put(t, c, "/readable", sys.Canary(), advanced) // but not to be described
	share(t, c, arnPrefix+"readable", statement("Allow", stranger, "ssm:GetParameter"))

	check := func(c *ssm.Client, in ssm.DescribeParametersInput, wantPages int, want ...string) {
		t.Helper()
		got, pages := sharedNames(t, c, in)
		if !slices.Equal(got, want) || pages != wantPages {
			t.Errorf("shared: %v on %d pages, want %v on %d", got, pages, want, wantPages)
		}
	}
	check(other, ssm.DescribeParametersInput{}, 1, "a/1", "a/2", "a/3", "b", "expires")
	check(other, ssm.DescribeParametersInput{MaxResults: aws.Int32(2)}, 3, "a/1", "a/2", "a/3", "b", "expires")
	check(other, ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Path"), Values: []string{"/a"}}}}, 1, "a/1", "a/2", "a/3")
	check(c, ssm.DescribeParametersInput{}, 1)
	check(third, ssm.DescribeParametersInput{}, 1)
	if out, err := other.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{}); err != nil || len(out.Parameters) != 0 {
		t.Errorf("the stranger's own: %+v, %v", out, err)
	}

	unshare(t, c, arnPrefix+"a/2", shares["/a/2"])
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/a/3")}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "/a/3", sys.Canary(), advanced)
	clock.Advance(2 * time.Hour)
	maintain(t, sys)
	check(other, ssm.DescribeParametersInput{}, 1, "a/1", "b")
}
