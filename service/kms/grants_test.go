package kms_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/malotetest"
)

const userARN = "arn:aws:iam::" + malotetest.Account + ":user/"

func grantTo(t *testing.T, client *kms.Client, in *kms.CreateGrantInput) *kms.CreateGrantOutput {
	t.Helper()
	out, err := client.CreateGrant(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Cases 67 to 69 of the decision matrix, through the wire.
func TestGrantsDecide(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key, other := createKey(t, client), createKey(t, client)
	context := map[string]string{"app": "shop", "stage": "prod"}
	blob := encrypt(t, client, key.KeyId, sys.Canary(), context)
	decrypt := func(as *kms.Client, context map[string]string, tokens ...string) error {
		_, err := as.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, KeyId: key.KeyId, EncryptionContext: context, GrantTokens: tokens})
		return err
	}

	role := kms.NewFromConfig(sys.Role(t, "app", ""))
	wantError(t, decrypt(role, context), "AccessDeniedException", "kms:Decrypt")
	roleARN := "arn:aws:iam::" + malotetest.Account + ":role/app"
	grant := grantTo(t, client, &kms.CreateGrantInput{KeyId: key.Arn, GranteePrincipal: &roleARN, Operations: []types.GrantOperation{"Decrypt"}})
	if len(*grant.GrantId) != 64 {
		t.Errorf("GrantId = %q, want 64 digits", *grant.GrantId)
	}
	if err := decrypt(role, context); err != nil {
		t.Errorf("67: %v", err)
	}
	if err := decrypt(role, context, *grant.GrantToken); err != nil {
		t.Errorf("with the token: %v", err)
	}
	wantError(t, decrypt(role, context, (*grant.GrantToken)[:len(*grant.GrantToken)-4]+"AAAA"), "InvalidGrantTokenException", "grant token")
	_, err := role.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", "kms:Encrypt")
	_, err = role.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: encrypt(t, client, other.KeyId, "x", nil), GrantTokens: []string{*grant.GrantToken}})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to")

	denied := kms.NewFromConfig(sys.User(t, "denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*"}]}`))
	grantTo(t, client, &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "denied"), Operations: []types.GrantOperation{"Decrypt"}})
	wantError(t, decrypt(denied, context), "AccessDeniedException", "explicit deny") // 68

	equals := kms.NewFromConfig(sys.User(t, "equals", ""))
	grantTo(t, client, &kms.CreateGrantInput{
		KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "equals"), Operations: []types.GrantOperation{"Decrypt", "Encrypt", "DescribeKey"},
		Constraints: &types.GrantConstraints{EncryptionContextEquals: context},
	})
	if err := decrypt(equals, context); err != nil {
		t.Errorf("equal context: %v", err)
	}
	for _, wrong := range []map[string]string{nil, {"app": "shop"}, {"app": "shop", "stage": "test"}, {"app": "shop", "stage": "prod", "more": ""}} { // 69
		_, err := equals.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x"), EncryptionContext: wrong})
		wantError(t, err, "AccessDeniedException", "kms:Encrypt")
	}
	if _, err := equals.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyId}); err != nil {
		t.Errorf("DescribeKey, which has no context: %v", err)
	}

	subset := kms.NewFromConfig(sys.User(t, "subset", ""))
	grantTo(t, client, &kms.CreateGrantInput{
		KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "subset"), Operations: []types.GrantOperation{"GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"app": "shop"}},
	})
	for _, tt := range []struct {
		context map[string]string
		allowed bool
	}{{context, true}, {map[string]string{"app": "shop"}, true}, {map[string]string{"app": "other", "stage": "prod"}, false}, {nil, false}} {
		_, err := subset.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: "AES_256", EncryptionContext: tt.context})
		if tt.allowed != (err == nil) {
			t.Errorf("GenerateDataKey in context %v: %v", tt.context, err)
		}
		_, err = subset.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: key.KeyId, SourceEncryptionContext: context, DestinationKeyId: key.KeyId, DestinationEncryptionContext: tt.context})
		if tt.allowed != (err == nil) {
			t.Errorf("ReEncrypt to context %v: %v", tt.context, err)
		}
	}

	// Who is made again under the name is another.
	users := iam.NewFromConfig(sys.Config())
	if _, err := users.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("test")}); err == nil {
		t.Error("the role had a policy")
	}
	if _, err := users.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("app")}); err != nil {
		t.Fatal(err)
	}
	again := kms.NewFromConfig(sys.Role(t, "app", ""))
	wantError(t, decrypt(again, context), "AccessDeniedException", "kms:Decrypt")
	list, err := client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "equals")})
	if err != nil || len(list.Grants) != 1 || !slices.Equal(list.Grants[0].Operations, []types.GrantOperation{"Decrypt", "Encrypt", "DescribeKey"}) || list.Grants[0].Constraints.EncryptionContextEquals["app"] != "shop" {
		t.Errorf("the grant as listed: %+v, %v", list, err)
	}
	list, err = client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId, GrantId: grant.GrantId})
	if err != nil || len(list.Grants) != 1 || !strings.HasPrefix(*list.Grants[0].GranteePrincipal, "AROA") {
		t.Errorf("the grant to a deleted role: %+v, %v", list, err)
	}

	// The grant is gone when it is revoked.
	if _, err := client.RevokeGrant(t.Context(), &kms.RevokeGrantInput{KeyId: key.KeyId, GrantId: grant.GrantId, DryRun: aws.Bool(true)}); err == nil {
		t.Error("RevokeGrant with DryRun succeeded")
	} else {
		wantError(t, err, "DryRunOperationException", "would have succeeded")
	}
	for range 2 {
		_, err = client.RevokeGrant(t.Context(), &kms.RevokeGrantInput{KeyId: key.KeyId, GrantId: grant.GrantId})
	}
	wantError(t, err, "InvalidGrantIdException", *grant.GrantId)
	wantError(t, decrypt(client, context, *grant.GrantToken), "InvalidGrantTokenException", "grant token")
}

func TestCreateGrant(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key, other, off := createKey(t, client), createKey(t, client), createKey(t, client)
	sys.User(t, "bob", "")
	bob := aws.String(userARN + "bob")
	named := func(id *string, change func(*kms.CreateGrantInput)) *kms.CreateGrantOutput {
		in := &kms.CreateGrantInput{KeyId: id, GranteePrincipal: bob, Name: aws.String("a/name"), Operations: []types.GrantOperation{"Encrypt", "Decrypt"}}
		if change != nil {
			change(in)
		}
		return grantTo(t, client, in)
	}
	first := named(key.KeyId, nil)
	same := named(key.Arn, func(in *kms.CreateGrantInput) { slices.Reverse(in.Operations) })
	if *same.GrantId != *first.GrantId || *same.GrantToken == *first.GrantToken {
		t.Error("the same under one name: want one grant, and two tokens")
	}
	for name, out := range map[string]*kms.CreateGrantOutput{
		"another key":       named(other.KeyId, nil),
		"another operation": named(key.KeyId, func(in *kms.CreateGrantInput) { in.Operations = in.Operations[:1] }),
		"another constraint": named(key.KeyId, func(in *kms.CreateGrantInput) {
			in.Constraints = &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "b"}}
		}),
		"no name": named(key.KeyId, func(in *kms.CreateGrantInput) { in.Name = nil }),
	} {
		if *out.GrantId == *first.GrantId {
			t.Errorf("%s: the same grant", name)
		}
	}
	if _, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: off.KeyId}); err != nil {
		t.Fatal(err)
	}
	many := map[string]string{}
	for i := range 9 {
		many[fmt.Sprint(i)] = ""
	}
	for _, tt := range []struct {
		name       string
		change     func(*kms.CreateGrantInput)
		code, text string
	}{
		{"no such principal", func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String(userARN + "nobody") }, "InvalidArnException", "ARN does not refer to a valid principal: " + userARN + "nobody"},
		{"no such retiring principal", func(in *kms.CreateGrantInput) { in.RetiringPrincipal = aws.String("nobody") }, "InvalidArnException", "ARN does not refer to a valid principal: nobody"},
		{"everybody", func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String("arn:aws:iam::123456789012:user/") }, "InvalidArnException", "valid principal"},
		{"operation of other keys", func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{"Decrypt", "Sign"} }, "ValidationException", "Grant operation Sign is not valid"},
		{"no operation", func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{} }, "ValidationException", "at least one"},
		{"unknown operation", func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{"ScheduleKeyDeletion"} }, "ValidationException", "1 validation error detected"},
		{"many pairs", func(in *kms.CreateGrantInput) {
			in.Constraints = &types.GrantConstraints{EncryptionContextSubset: many}
		}, "ValidationException", "more than 8 pairs"},
		{"long pairs", func(in *kms.CreateGrantInput) {
			in.Constraints = &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": strings.Repeat("é", 384)}}
		}, "ValidationException", "longer than 384 characters"},
		{"disabled key", func(in *kms.CreateGrantInput) { in.KeyId = off.KeyId }, "DisabledException", "is disabled"},
		{"unknown key", func(in *kms.CreateGrantInput) { in.KeyId = aws.String("00000000-0000-4000-8000-000000000000") }, "NotFoundException", "does not exist"},
		{"token", func(in *kms.CreateGrantInput) { in.GrantTokens = []string{"made-up"} }, "InvalidGrantTokenException", "grant token"},
		{"dry run", func(in *kms.CreateGrantInput) { in.DryRun = aws.Bool(true) }, "DryRunOperationException", "would have succeeded"},
	} {
		in := &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: bob, Operations: []types.GrantOperation{"Decrypt"}}
		tt.change(in)
		_, err := client.CreateGrant(t.Context(), in)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		wantError(t, err, tt.code, tt.text)
	}
}

// The condition keys of CreateGrant, each with what it lets through and what not.
func TestGrantConditions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := createKey(t, client)
	sys.User(t, "grantee", "")
	good := kms.CreateGrantInput{
		KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "grantee"), RetiringPrincipal: aws.String(userARN + "grantee"), Operations: []types.GrantOperation{"Decrypt"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "b"}},
	}
	for i, tt := range []struct {
		condition string
		spoil     func(*kms.CreateGrantInput)
	}{
		{`"ForAllValues:StringEquals":{"kms:GrantOperations":["Decrypt","DescribeKey"]}`, func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{"Decrypt", "Encrypt"} }},
		{`"StringEquals":{"kms:GranteePrincipal":"` + userARN + `grantee"}`, func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String(userARN + "admin") }},
		{`"StringEquals":{"kms:RetiringPrincipal":"` + userARN + `grantee"}`, func(in *kms.CreateGrantInput) { in.RetiringPrincipal = nil }},
		{`"StringEquals":{"kms:GrantConstraintType":"EncryptionContextSubset"}`, func(in *kms.CreateGrantInput) { in.Constraints = nil }},
		{`"StringEquals":{"kms:EncryptionContext:a":"b"}`, func(in *kms.CreateGrantInput) {
			in.Constraints = &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "c"}}
		}},
		{`"StringEquals":{"kms:EncryptionContext:a":"b"}`, func(in *kms.CreateGrantInput) { in.Constraints = nil }},
		{`"Bool":{"kms:GrantIsForAWSResource":"false"}`, nil},
		{`"Bool":{"kms:GrantIsForAWSResource":"true"}`, func(*kms.CreateGrantInput) {}},
	} {
		as := kms.NewFromConfig(sys.User(t, fmt.Sprintf("user%d", i), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:CreateGrant","Resource":"*","Condition":{`+tt.condition+`}}]}`))
		if !strings.Contains(tt.condition, `"true"`) {
			if _, err := as.CreateGrant(t.Context(), &good); err != nil {
				t.Errorf("%s: %v", tt.condition, err)
			}
		}
		if tt.spoil != nil {
			bad := good
			tt.spoil(&bad)
			_, err := as.CreateGrant(t.Context(), &bad)
			wantError(t, err, "AccessDeniedException", "kms:CreateGrant")
		}
	}
}

// A grant to create grants reaches no further than itself.
func TestGrantsFromGrants(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := createKey(t, client)
	sys.User(t, "carol", "")
	carol := aws.String(userARN + "carol")
	equal := map[string]string{"a": "1", "b": "2"}
	for _, tt := range []struct {
		name       string
		parent     *types.GrantConstraints
		operations []types.GrantOperation
		child      *types.GrantConstraints
		allowed    bool
	}{
		{"fewer", nil, []types.GrantOperation{"Decrypt"}, nil, true},
		{"as many", nil, []types.GrantOperation{"CreateGrant", "Decrypt"}, nil, true},
		{"more", nil, []types.GrantOperation{"Decrypt", "Encrypt"}, nil, false},
		{"stricter", nil, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextEquals: equal}, true},
		{"equals alike", &types.GrantConstraints{EncryptionContextEquals: equal}, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextEquals: equal}, true},
		{"equals without", &types.GrantConstraints{EncryptionContextEquals: equal}, []types.GrantOperation{"Decrypt"}, nil, false},
		{"equals as subset", &types.GrantConstraints{EncryptionContextEquals: equal}, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextSubset: equal}, false},
		{"subset alike", &types.GrantConstraints{EncryptionContextSubset: equal}, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextSubset: equal}, true},
		{"subset of more", &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1"}}, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextSubset: equal}, true},
		{"subset of less", &types.GrantConstraints{EncryptionContextSubset: equal}, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1"}}, false},
		{"subset as equals", &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1"}}, []types.GrantOperation{"Decrypt"}, &types.GrantConstraints{EncryptionContextEquals: equal}, true},
	} {
		name := strings.ReplaceAll(tt.name, " ", "-")
		as := kms.NewFromConfig(sys.User(t, name, ""))
		grantTo(t, client, &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + name), Operations: []types.GrantOperation{"CreateGrant", "Decrypt"}, Constraints: tt.parent})
		_, err := as.CreateGrant(t.Context(), &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: carol, Operations: tt.operations, Constraints: tt.child})
		if tt.allowed != (err == nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !tt.allowed {
			wantError(t, err, "AccessDeniedException", "kms:CreateGrant")
		}
	}
}

func TestRetireGrant(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	// The key's policy says nothing of retiring; that it forbids it has no effect.
	key, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"kms:RetireGrant","Resource":"*"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	id := key.KeyMetadata.KeyId
	for _, tt := range []struct {
		name, policy string
		operations   []types.GrantOperation
		retiring     bool
		allowed      bool
	}{
		{"retiring", "", []types.GrantOperation{"Decrypt"}, true, true},
		{"grantee", "", []types.GrantOperation{"Decrypt"}, false, false},
		{"grantee-may", "", []types.GrantOperation{"Decrypt", "RetireGrant"}, false, true},
		{"delegated", malotetest.Allow("*", "kms:RetireGrant"), []types.GrantOperation{"Decrypt"}, false, true},
		{"delegated-elsewhere", malotetest.Allow("arn:aws:kms:us-east-1:123456789012:key/other", "kms:RetireGrant"), []types.GrantOperation{"Decrypt"}, false, false},
		{"denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`, []types.GrantOperation{"Decrypt", "RetireGrant"}, true, false},
	} {
		as := kms.NewFromConfig(sys.User(t, tt.name, tt.policy))
		in := &kms.CreateGrantInput{KeyId: id, GranteePrincipal: aws.String(userARN + tt.name), Operations: tt.operations}
		if tt.retiring {
			in.RetiringPrincipal = in.GranteePrincipal
		}
		for _, by := range []string{"token", "id"} {
			grant := grantTo(t, client, in)
			request := &kms.RetireGrantInput{GrantToken: grant.GrantToken}
			if by == "id" {
				request = &kms.RetireGrantInput{KeyId: key.KeyMetadata.Arn, GrantId: grant.GrantId}
			}
			_, err := as.RetireGrant(t.Context(), request)
			if !tt.allowed {
				wantError(t, err, "AccessDeniedException", "kms:RetireGrant")
				continue
			}
			if err != nil {
				t.Errorf("%s by %s: %v", tt.name, by, err)
			}
			_, err = client.RetireGrant(t.Context(), request)
			if by == "id" {
				wantError(t, err, "InvalidGrantIdException", *grant.GrantId)
			} else {
				wantError(t, err, "InvalidGrantTokenException", "grant token")
			}
		}
	}
	grant := grantTo(t, client, &kms.CreateGrantInput{KeyId: id, GranteePrincipal: aws.String(userARN + "grantee"), Operations: []types.GrantOperation{"Decrypt"}})
	nobody := kms.NewFromConfig(sys.User(t, "nobody", ""))
	for _, in := range []*kms.RetireGrantInput{
		{}, {GrantToken: aws.String("made-up")}, {KeyId: id}, {KeyId: id, GrantId: grant.GrantId},
		{KeyId: id, GrantId: aws.String(strings.Repeat("0", 64))}, {KeyId: aws.String("nonsense"), GrantId: grant.GrantId}, {GrantToken: grant.GrantToken},
	} {
		_, err := nobody.RetireGrant(t.Context(), in)
		wantError(t, err, "AccessDeniedException", "kms:RetireGrant")
	}
	_, err = client.RetireGrant(t.Context(), &kms.RetireGrantInput{KeyId: id})
	wantError(t, err, "ValidationException", "either a grant token or both")
	_, err = client.RetireGrant(t.Context(), &kms.RetireGrantInput{GrantToken: grant.GrantToken, DryRun: aws.Bool(true)})
	wantError(t, err, "DryRunOperationException", "would have succeeded")
	if _, err := kms.NewFromConfig(sys.Root(t)).RetireGrant(t.Context(), &kms.RetireGrantInput{GrantToken: grant.GrantToken}); err != nil {
		t.Errorf("the account: %v", err)
	}
}

func TestListGrants(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key, second := createKey(t, client), createKey(t, client)
	bob := kms.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "kms:DescribeKey")))
	sys.User(t, "carol", "")
	want := map[string]bool{}
	for i := range 7 {
		grantee := []string{"bob", "carol"}[i%2]
		in := &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + grantee), RetiringPrincipal: aws.String(userARN + "bob"), Operations: []types.GrantOperation{"Decrypt"}}
		if i >= 5 {
			in.KeyId = second.KeyId
		}
		want[*grantTo(t, client, in).GrantId] = true
	}
	pages := kms.NewListGrantsPaginator(client, &kms.ListGrantsInput{KeyId: key.Arn, Limit: aws.Int32(2)})
	seen := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Grants {
			seen++
			if !want[*g.GrantId] || *g.KeyId != *key.Arn || *g.Name != "" || *g.IssuingAccount != "arn:aws:iam::123456789012:root" || *g.RetiringPrincipal != userARN+"bob" || g.CreationDate.Nanosecond() != 0 {
				t.Errorf("entry %+v", g)
			}
		}
	}
	if seen != 5 {
		t.Errorf("%d grants listed, want 5", seen)
	}
	list, err := client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "carol")})
	if err != nil || len(list.Grants) != 2 || list.Truncated {
		t.Errorf("of carol: %+v, %v", list, err)
	}
	retirable := 0
	marked := kms.NewListRetirableGrantsPaginator(client, &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String(userARN + "bob"), Limit: aws.Int32(3)})
	for marked.HasMorePages() {
		page, err := marked.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		retirable += len(page.Grants)
	}
	if retirable != 7 {
		t.Errorf("%d retirable grants, want 7", retirable)
	}

	_, err = bob.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:ListGrants")
	_, err = bob.ListRetirableGrants(t.Context(), &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String(userARN + "bob")})
	wantError(t, err, "AccessDeniedException", "kms:ListRetirableGrants")
	_, err = bob.RevokeGrant(t.Context(), &kms.RevokeGrantInput{KeyId: key.KeyId, GrantId: aws.String(strings.Repeat("0", 64))})
	wantError(t, err, "AccessDeniedException", "kms:RevokeGrant")
	_, err = client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId, GrantId: aws.String("nonsense")})
	wantError(t, err, "InvalidGrantIdException", "nonsense")
	_, err = client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId, Limit: aws.Int32(101)})
	wantError(t, err, "ValidationException", "less than or equal to 100")
	_, err = client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId, Marker: aws.String("nonsense")})
	wantError(t, err, "InvalidMarkerException", "marker")
	_, err = client.ListRetirableGrants(t.Context(), &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String("arn:aws:iam::210987654321:root")})
	wantError(t, err, "InvalidArnException", "210987654321")
}

// A grantee of another account needs its own side too, and the key by its ARN.
func TestGrantsAcrossAccounts(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	stranger := kms.NewFromConfig(sys.Other(t, "210987654321"))
	key := createKey(t, client)
	blob := encrypt(t, client, key.KeyId, sys.Canary(), nil)
	decrypt := func() error {
		_, err := stranger.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, KeyId: key.Arn})
		return err
	}
	wantError(t, decrypt(), "AccessDeniedException", "on this resource because")
	admin := aws.String("arn:aws:iam::210987654321:user/admin")
	grant := grantTo(t, client, &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: admin, RetiringPrincipal: admin, Operations: []types.GrantOperation{"Decrypt"}})
	if err := decrypt(); err != nil {
		t.Error(err)
	}
	list, err := stranger.ListRetirableGrants(t.Context(), &kms.ListRetirableGrantsInput{RetiringPrincipal: admin})
	if err != nil || len(list.Grants) != 1 || *list.Grants[0].GrantId != *grant.GrantId {
		t.Errorf("retirable in the other account: %+v, %v", list, err)
	}
	if _, err := stranger.RetireGrant(t.Context(), &kms.RetireGrantInput{KeyId: key.Arn, GrantId: grant.GrantId}); err != nil {
		t.Error(err)
	}
	wantError(t, decrypt(), "AccessDeniedException", "on this resource because")
}

// A grant counts in the calls that services make for their callers, context and all.
func TestGrantsThroughServices(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	secrets := secretsmanager.NewFromConfig(sys.Config())
	key := createKey(t, client)
	canary := sys.Canary()
	var arns []string
	for _, name := range []string{"one", "two"} {
		secret, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, KmsKeyId: key.Arn, SecretString: &canary})
		if err != nil {
			t.Fatal(err)
		}
		arns = append(arns, *secret.ARN)
	}
	bob := secretsmanager.NewFromConfig(sys.Role(t, "bob", malotetest.Allow("*", "secretsmanager:GetSecretValue")))
	get := func(i int) error {
		_, err := bob.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arns[i]})
		return err
	}
	wantError(t, get(0), "AccessDeniedException", "Access to KMS is not allowed")
	grant := grantTo(t, client, &kms.CreateGrantInput{
		KeyId: key.KeyId, GranteePrincipal: aws.String("arn:aws:iam::123456789012:role/bob"), Operations: []types.GrantOperation{"Decrypt"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"SecretARN": arns[0]}},
	})
	if err := get(0); err != nil {
		t.Error(err)
	}
	wantError(t, get(1), "AccessDeniedException", "Access to KMS is not allowed")
	if _, err := client.RetireGrant(t.Context(), &kms.RetireGrantInput{GrantToken: grant.GrantToken}); err != nil {
		t.Fatal(err)
	}
	wantError(t, get(0), "AccessDeniedException", "Access to KMS is not allowed")
}
