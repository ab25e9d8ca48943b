package iam_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

func TestServiceLinkedRoles(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	const arn = accountARN + "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
	ecs := &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com"), Description: aws.String("ours")}

	// The condition key says for which service.
	const may = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:*ServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":"`
	other := iam.NewFromConfig(sys.User(t, "other", may+`rds.amazonaws.com"}}}}`))
	_, err := other.CreateServiceLinkedRole(ctx, ecs)
	wantError(t, err, "AccessDenied", denial("other", "iam:CreateServiceLinkedRole", arn))
	bob := iam.NewFromConfig(sys.User(t, "bob", may+`ecs.amazonaws.com"}}}}`))
	made := ok(bob.CreateServiceLinkedRole(ctx, ecs))(t).Role
	if *made.Arn != arn || *made.RoleName != "AWSServiceRoleForECS" || *made.Path != "/aws-service-role/ecs.amazonaws.com/" || made.Description != nil || made.MaxSessionDuration != nil {
		t.Errorf("made = %+v", made)
	}
	_, err = admin.CreateServiceLinkedRole(ctx, ecs)
	wantError(t, err, "InvalidInput", "Service role name AWSServiceRoleForECS has been taken in this account, please try a different suffix.")
	_, err = admin.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: ecs.AWSServiceName, CustomSuffix: aws.String("x")})
	wantError(t, err, "InvalidInput", "Custom suffix is not allowed for ecs.amazonaws.com")
	_, err = admin.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("rds.amazonaws.com")})
	wantError(t, err, "InvalidInput", "rds.amazonaws.com has no service-linked role here; ecs.amazonaws.com has.")

	name := aws.String("AWSServiceRoleForECS")
	got := ok(admin.GetRole(ctx, &iam.GetRoleInput{RoleName: name}))(t).Role
	if document, _ := url.PathUnescape(*got.AssumeRolePolicyDocument); *got.Description != "ours" || !strings.Contains(document, `"Service":"ecs.amazonaws.com"`) {
		t.Errorf("got = %+v, %s", got, document)
	}
	attached := ok(admin.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name}))(t).AttachedPolicies
	if len(attached) != 1 || *attached[0].PolicyArn != "arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy" {
		t.Errorf("attached = %+v", attached)
	}

	// It is the service's to change, but for description and tags.
	ok(admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("p")}))(t)
	for what, change := range map[string]func() error{
		"DeleteRole": func() error { _, err := admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); return err },
		"UpdateAssumeRolePolicy": func() error {
			_, err := admin.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(trustECS)})
			return err
		},
		"PutRolePolicy": func() error {
			_, err := admin.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("p"), PolicyDocument: aws.String(allowRead)})
			return err
		},
		"DeleteRolePolicy": func() error {
			_, err := admin.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("p")})
			return err
		},
		"AttachRolePolicy": func() error {
			_, err := admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(adminARN)})
			return err
		},
		"DetachRolePolicy": func() error {
			_, err := admin.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: attached[0].PolicyArn})
			return err
		},
		"PutRolePermissionsBoundary": func() error {
			_, err := admin.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: aws.String(adminARN)})
			return err
		},
		"DeleteRolePermissionsBoundary": func() error {
			_, err := admin.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name})
			return err
		},
		"AddRoleToInstanceProfile": func() error {
			_, err := admin.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{RoleName: name, InstanceProfileName: aws.String("p")})
			return err
		},
		"RemoveRoleFromInstanceProfile": func() error {
			_, err := admin.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{RoleName: name, InstanceProfileName: aws.String("p")})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			wantError(t, change(), "UnmodifiableEntity", "Cannot perform the operation on the protected role 'AWSServiceRoleForECS' - this role is only modifiable by AWS")
		})
	}
	_, err = admin.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(7200)})
	wantError(t, err, "UnmodifiableEntity", "AWSServiceRoleForECS is an AWS service linked role, max session duration cannot be changed.")
	ok(admin.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name, Description: aws.String("theirs")}))(t)
	ok(admin.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))(t)
	ok(admin.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"a"}}))(t)

	ok(admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("plain"), AssumeRolePolicyDocument: aws.String(trustECS)}))(t)
	_, err = admin.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: aws.String("plain")})
	wantError(t, err, "NoSuchEntity", "plain exists but is not a service role.")
	_, err = other.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: name})
	wantError(t, err, "AccessDenied", denial("other", "iam:DeleteServiceLinkedRole", "role AWSServiceRoleForECS"))
	task := ok(bob.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: name}))(t).DeletionTaskId
	if !strings.HasPrefix(*task, "task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/") {
		t.Errorf("task = %s", *task)
	}
	_, err = admin.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	wantError(t, err, "NoSuchEntity", "The role with name AWSServiceRoleForECS cannot be found.")
	_, err = admin.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: name})
	wantError(t, err, "NoSuchEntity", "The role with name AWSServiceRoleForECS cannot be found.")

	status := func(task string) (*iam.GetServiceLinkedRoleDeletionStatusOutput, error) {
		return admin.GetServiceLinkedRoleDeletionStatus(ctx, &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: &task})
	}
	if got := ok(status(*task))(t).Status; got != types.DeletionTaskStatusTypeSucceeded {
		t.Errorf("status = %s", got)
	}
	_, err = status(strings.Replace(*task, "AWSServiceRoleForECS", "AWSServiceRoleForRDS", 1)) // another's
	wantError(t, err, "NoSuchEntity", "Cannot find deletion status for given id.")
	_, err = status("task/x")
	wantError(t, err, "InvalidInput", "Invalid task id")

	// A task is known for a month, and until another comes.
	sys.Clock.Advance(31 * 24 * time.Hour)
	ok(admin.CreateServiceLinkedRole(ctx, ecs))(t)
	ok(admin.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: name}))(t)
	_, err = status(*task)
	wantError(t, err, "NoSuchEntity", "Cannot find deletion status for given id.")
}

// The services' own path is nobody else's.
func TestServiceLinkedPath(t *testing.T) {
	t.Parallel()
	ctx, sys := t.Context(), malotetest.New(t)
	admin := iam.NewFromConfig(sys.Config())
	path := aws.String("/aws-service-role/ecs.amazonaws.com/")
	refused := func(err error) {
		t.Helper()
		wantError(t, err, "InvalidInput", "Path prefix '/aws-service-role/' can only be used for AWS Service linked Roles")
	}
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	_, err := admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("AWSServiceRoleForECS"), Path: path, AssumeRolePolicyDocument: &document})
	refused(err)
	_, err = admin.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("amy"), Path: path})
	refused(err)
	_, err = admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("team"), Path: path})
	refused(err)
	_, err = admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("host"), Path: path})
	refused(err)
	ok(admin.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("amy"), Path: aws.String("/service-role/")}))(t)
	_, err = admin.UpdateUser(ctx, &iam.UpdateUserInput{UserName: aws.String("amy"), NewPath: path})
	refused(err)
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("team")}))(t)
	_, err = admin.UpdateGroup(ctx, &iam.UpdateGroupInput{GroupName: aws.String("team"), NewPath: path})
	refused(err)
}
