package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// grantPolicy is the inline policy that --grant writes.
const grantPolicy = "malote-grant"

// prepareRoles sees that the definition's roles exist, and with --grant makes them.
func (c *runCommand) prepareRoles(ctx context.Context, p *program, cfg aws.Config, definition *ecs.RegisterTaskDefinitionInput) error {
	policies, err := policiesOf(ctx, cfg, definition)
	if err != nil {
		return err
	}
	client := iam.NewFromConfig(cfg)
	for _, name := range []string{"execution", "task"} {
		policy := policies[name]
		if policy == nil {
			continue
		}
		if c.Grant {
			if err := grant(ctx, p, client, name, policy); err != nil {
				return err
			}
			continue
		}
		_, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(roleName(policy.RoleArn))})
		if missing := new(types.NoSuchEntityException); errors.As(err, &missing) {
			text, _ := json.MarshalIndent(policy.PolicyDocument, "", "  ")
			return &hintError{
				fmt.Errorf("the %s role %s does not exist; it needs this policy, and to trust ecs-tasks.amazonaws.com:\n%s", name, policy.RoleArn, text),
				"malote run --grant" + dataDirFlag(c.DataDir) + " " + shellWord(c.TaskDefinition) + " makes it so",
			}
		}
		// Who may not read IAM finds out when the task starts.
	}
	return nil
}

// grant makes a role with exactly what policy says, or gives it to one that exists.
func grant(ctx context.Context, p *program, client *iam.Client, what string, policy *rolePolicy) error {
	name, path := roleName(policy.RoleArn), rolePath(policy.RoleArn)
	trust, err := json.Marshal(policy.AssumeRolePolicyDocument)
	if err != nil {
		return err
	}
	done := "made"
	_, err = client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: aws.String(string(trust)), Description: aws.String("made by malote run --grant")})
	if exists := new(types.EntityAlreadyExistsException); errors.As(err, &exists) {
		done, err = "kept", nil
	}
	if err != nil {
		return fmt.Errorf("making the %s role: %w", what, err)
	}
	if policy.PolicyDocument == nil {
		fmt.Fprintf(p.stderr, "malote: %s the %s role %s; the file asks nothing of it\n", done, what, policy.RoleArn)
		return nil
	}
	text, err := json.Marshal(policy.PolicyDocument)
	if err != nil {
		return err
	}
	if _, err := client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String(grantPolicy), PolicyDocument: aws.String(string(text))}); err != nil {
		return fmt.Errorf("granting to the %s role: %w", what, err)
	}
	var actions []string
	for _, s := range policy.PolicyDocument.Statement {
		for _, action := range s.Action {
			actions = append(actions, fmt.Sprintf("%s on %s", action, strings.Join(s.Resource, ", ")))
		}
	}
	slices.Sort(actions)
	fmt.Fprintf(p.stderr, "malote: %s the %s role %s and granted it, as inline policy %s:\nmalote:   %s\n",
		done, what, policy.RoleArn, grantPolicy, strings.Join(actions, "\nmalote:   "))
	return nil
}

// roleName is the last part of a role's ARN.
func roleName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// rolePath is what stands before it: "/" or "/service-role/".
func rolePath(arn string) string {
	_, path, _ := strings.Cut(arn, ":role")
	return path[:strings.LastIndexByte(path, '/')+1]
}
