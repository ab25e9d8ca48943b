package iam_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

// asking is a policy with one condition key.
func asking(key string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"` + key + `":"a"}}}}`
}

func TestContextKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", asking("aws:PrincipalTag/UserInline")))

	names := ok(admin.GetContextKeysForCustomPolicy(ctx, &iam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{asking("aws:username"), asking("aws:username")}}))(t).ContextKeyNames
	if !slices.Equal(names, []string{"aws:username", "aws:username"}) {
		t.Errorf("keys of two policies = %v", names)
	}
	_, err := admin.GetContextKeysForCustomPolicy(ctx, &iam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{asking("a:b"), "{"}})
	wantError(t, err, "InvalidInput", "PolicyInputList.2: 1:2: an object is not closed")

	managed := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("managed"), PolicyDocument: aws.String(asking("aws:PrincipalTag/Managed"))}))(t).Policy.Arn
	bounds := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("bounds"), PolicyDocument: aws.String(asking("aws:PrincipalTag/Boundary"))}))(t).Policy.Arn
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("g")}))(t)
	ok(admin.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("g"), PolicyName: aws.String("in"), PolicyDocument: aws.String(asking("aws:PrincipalTag/GroupInline"))}))(t)
	ok(admin.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: aws.String("g"), PolicyArn: managed}))(t)
	ok(admin.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: managed}))(t)
	ok(admin.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("bob"), PermissionsBoundary: bounds}))(t)
	ok(admin.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("g"), UserName: aws.String("bob")}))(t)
	for _, tt := range []struct {
		source string
		more   []string
		want   string
	}{
		{"user/bob", nil, "UserInline Managed GroupInline Boundary"},
		{"user/bob", []string{asking("aws:PrincipalTag/UserInline")}, "UserInline Managed GroupInline Boundary UserInline"},
		{"user/another/path/bob", nil, "UserInline Managed GroupInline Boundary"}, // as on AWS
		{"group/g", nil, "GroupInline Managed"},
	} {
		names := ok(admin.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String(accountARN + tt.source), PolicyInputList: tt.more}))(t).ContextKeyNames
		if got := strings.ReplaceAll(strings.Join(names, " "), "aws:PrincipalTag/", ""); got != tt.want {
			t.Errorf("keys of %s = %s, want %s", tt.source, got, tt.want)
		}
	}
	_, err = admin.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String(accountARN + "user/nobody")})
	wantError(t, err, "NoSuchEntity", "The user with name nobody cannot be found.")
	_, err = admin.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String("this-is-not-an-iam-source-arn")})
	wantError(t, err, "InvalidInput", "ARN this-is-not-an-iam-source-arn is not valid.")
	_, err = bob.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String(accountARN + "user/admin")})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("bob asks about admin: %v, want AccessDenied", err)
	}
}

func TestPoliciesGrantingServiceAccess(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	sys.User(t, "bob", malotetest.Allow("*", "s3:GetObject"))
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("Readers")}))(t)
	ok(admin.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("Readers"), PolicyName: aws.String("in"), PolicyDocument: aws.String(malotetest.Allow("*", "kms:*"))}))(t)
	ok(admin.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: aws.String("Readers"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")}))(t)
	ok(admin.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("Readers"), UserName: aws.String("bob")}))(t)

	entries := ok(admin.ListPoliciesGrantingServiceAccess(ctx, &iam.ListPoliciesGrantingServiceAccessInput{Arn: aws.String(accountARN + "user/bob"), ServiceNamespaces: []string{"s3", "kms", "sqs"}}))(t).PoliciesGrantingServiceAccess
	var got []string
	for _, e := range entries {
		for _, p := range e.Policies {
			got = append(got, strings.Join([]string{*e.ServiceNamespace, string(p.PolicyType), *p.PolicyName, aws.ToString(p.PolicyArn), string(p.EntityType), aws.ToString(p.EntityName)}, ","))
		}
	}
	want := []string{
		"s3,INLINE,test,,USER,bob", "s3,MANAGED,AmazonS3ReadOnlyAccess,arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess,,", "kms,INLINE,in,,GROUP,Readers",
	}
	if len(entries) != 3 || !slices.Equal(got, want) {
		t.Errorf("%d services, %v, want %v", len(entries), got, want)
	}
	_, err := admin.ListPoliciesGrantingServiceAccess(ctx, &iam.ListPoliciesGrantingServiceAccessInput{Arn: aws.String(accountARN + "role/none"), ServiceNamespaces: []string{"s3"}})
	wantError(t, err, "NoSuchEntity", "The role with name none cannot be found.")
}

func TestSimulateCustomPolicy(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	const object = "arn:aws:s3:::b/bob/x"
	const own = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"Bool":{"aws:SecureTransport":"true"}}},
		{"Effect":"Deny","Action":"s3:Delete*","Resource":"*"}]}`
	bob := aws.String(accountARN + "user/bob")
	entry := func(name, value string) types.ContextEntry {
		return types.ContextEntry{ContextKeyName: &name, ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{value}}
	}
	for _, tt := range []struct {
		name    string
		in      iam.SimulateCustomPolicyInput
		want    types.PolicyEvaluationDecisionType
		missing string
	}{
		{"what is missing", iam.SimulateCustomPolicyInput{}, types.PolicyEvaluationDecisionTypeImplicitDeny, "aws:username aws:SecureTransport"},
		{"all is there", iam.SimulateCustomPolicyInput{ContextEntries: []types.ContextEntry{entry("aws:username", "bob"), entry("aws:SecureTransport", "true")}}, types.PolicyEvaluationDecisionTypeAllowed, ""},
		{"who asks has a name", iam.SimulateCustomPolicyInput{CallerArn: bob, ContextEntries: []types.ContextEntry{entry("aws:SecureTransport", "true")}}, types.PolicyEvaluationDecisionTypeAllowed, ""},
		{"a denial", iam.SimulateCustomPolicyInput{CallerArn: bob, ActionNames: []string{"s3:DeleteObject"}}, types.PolicyEvaluationDecisionTypeExplicitDeny, "aws:SecureTransport"},
		{"a boundary", iam.SimulateCustomPolicyInput{CallerArn: bob, ContextEntries: []types.ContextEntry{entry("aws:SecureTransport", "true")}, PermissionsBoundaryPolicyInputList: []string{malotetest.Allow("*", "kms:*")}}, types.PolicyEvaluationDecisionTypeImplicitDeny, ""},
		{"a resource's policy", iam.SimulateCustomPolicyInput{CallerArn: bob, ContextEntries: []types.ContextEntry{entry("aws:SecureTransport", "false")},
			ResourcePolicy: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + *bob + `"},"Action":"s3:GetObject","Resource":"` + object + `"}}`)}, types.PolicyEvaluationDecisionTypeAllowed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in
			in.PolicyInputList, in.ResourceArns = []string{own}, []string{object}
			if in.ActionNames == nil {
				in.ActionNames = []string{"s3:GetObject"}
			}
			results := ok(admin.SimulateCustomPolicy(ctx, &in))(t).EvaluationResults
			if len(results) != 1 || len(results[0].ResourceSpecificResults) != 1 {
				t.Fatalf("results = %+v", results)
			}
			specific := results[0].ResourceSpecificResults[0]
			if got := strings.Join(specific.MissingContextValues, " "); results[0].EvalDecision != tt.want || specific.EvalResourceDecision != tt.want || got != tt.missing || len(results[0].MissingContextValues) != 0 {
				t.Errorf("%s, missing %q; want %s, %q", results[0].EvalDecision, got, tt.want, tt.missing)
			}
			if p := results[0].PermissionsBoundaryDecisionDetail; (p != nil) != (in.PermissionsBoundaryPolicyInputList != nil) || p != nil && p.AllowedByPermissionsBoundary {
				t.Errorf("boundary = %+v", p)
			}
		})
	}
	// What a boundary says is said whatever else decides.
	for action, within := range map[string]bool{"s3:DeleteObject": true, "kms:Decrypt": false} {
		deny := strings.Replace(malotetest.Allow("*", "s3:DeleteObject", "kms:Decrypt"), "Allow", "Deny", 1)
		results := ok(admin.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{deny}, ActionNames: []string{action}, PermissionsBoundaryPolicyInputList: []string{malotetest.Allow("*", "s3:*")}}))(t).EvaluationResults
		if results[0].EvalDecision != types.PolicyEvaluationDecisionTypeExplicitDeny || results[0].PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary != within {
			t.Errorf("%s: %s, within the boundary %v", action, results[0].EvalDecision, results[0].PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary)
		}
	}
	any := ok(admin.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{malotetest.Allow("*", "s3:*"), asking("aws:username")}, ActionNames: []string{"s3:GetObject", "kms:Decrypt"}}))(t).EvaluationResults
	if len(any) != 2 || *any[0].EvalResourceName != "*" || any[0].EvalDecision != "allowed" || *any[0].MatchedStatements[0].SourcePolicyId != "PolicyInputList.1" || any[0].MatchedStatements[0].SourcePolicyType != "IAM Policy" ||
		!slices.Equal(any[0].MissingContextValues, []string{"aws:username"}) || any[0].ResourceSpecificResults != nil || any[1].EvalDecision != "implicitDeny" {
		t.Errorf("on no resource: %+v", any)
	}

	_, err := admin.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{own}, ActionNames: []string{"s3:GetObject"}, ResourcePolicy: aws.String(own)})
	wantError(t, err, "InvalidInput", "CallerArn is needed with a ResourcePolicy.")
	_, err = admin.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{own}, ActionNames: []string{"s3:GetObject"}, CallerArn: aws.String(accountARN + "role/app")})
	wantError(t, err, "InvalidInput", "CallerArn must be the ARN of an IAM user.")
	_, err = admin.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{"{"}, ActionNames: []string{"s3:GetObject"}})
	wantError(t, err, "InvalidInput", "PolicyInputList.1: 1:2: an object is not closed")
	nobody := iam.NewFromConfig(sys.User(t, "nobody", ""))
	_, err = nobody.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{own}, ActionNames: []string{"s3:GetObject"}})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("nobody simulates: %v, want AccessDenied", err)
	}

	// A group has policies, too.
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("g")}))(t)
	ok(admin.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("g"), PolicyName: aws.String("in"), PolicyDocument: aws.String(malotetest.Allow("*", "s3:GetObject"))}))(t)
	group := ok(admin.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(accountARN + "group/g"), ActionNames: []string{"s3:GetObject", "s3:PutObject"}}))(t).EvaluationResults
	if len(group) != 2 || group[0].EvalDecision != "allowed" || group[1].EvalDecision != "implicitDeny" {
		t.Errorf("a group's = %+v", group)
	}
	_, err = admin.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(accountARN + "group/none"), ActionNames: []string{"s3:GetObject"}})
	wantError(t, err, "NoSuchEntity", "The principal with ARN "+accountARN+"group/none cannot be found.")
}
