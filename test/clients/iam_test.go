//go:build clients

package clients_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/malote/malote/malotetest"
)

// What an administrator types about an account, and about the roles of hosts and services.
func TestIAMByCLI(t *testing.T) {
	sys := malotetest.New(t)
	aws := cli{t, environ(t, sys)}
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

	aws.json("iam", "create-role", "--role-name", "host", "--assume-role-policy-document", trust)
	aws.json("iam", "create-instance-profile", "--instance-profile-name", "host")
	aws.json("iam", "add-role-to-instance-profile", "--instance-profile-name", "host", "--role-name", "host")
	if out, err := aws.run("iam", "wait", "instance-profile-exists", "--instance-profile-name", "host"); err != nil {
		t.Errorf("wait: %v\n%s", err, out)
	}
	aws.refused("must remove roles from instance profile first", "iam", "delete-role", "--role-name", "host")

	aws.json("iam", "create-service-linked-role", "--aws-service-name", "ecs.amazonaws.com")
	aws.refused("this role is only modifiable by AWS", "iam", "delete-role", "--role-name", "AWSServiceRoleForECS")
	task := aws.json("iam", "delete-service-linked-role", "--role-name", "AWSServiceRoleForECS")["DeletionTaskId"].(string)
	if got := aws.json("iam", "get-service-linked-role-deletion-status", "--deletion-task-id", task)["Status"]; got != "SUCCEEDED" {
		t.Errorf("deletion: %v", got)
	}

	aws.json("iam", "create-account-alias", "--account-alias", "the-shop")
	if got := aws.json("iam", "list-account-aliases")["AccountAliases"].([]any); len(got) != 1 || got[0] != "the-shop" {
		t.Errorf("aliases = %v", got)
	}
	if got := aws.json("iam", "get-account-summary")["SummaryMap"].(map[string]any); got["InstanceProfiles"] != 1.0 || got["Roles"] != 1.0 {
		t.Errorf("summary = %v", got)
	}
	// The CLI turns the documents back into what they were.
	details := aws.json("iam", "get-account-authorization-details", "--filter", "Role")["RoleDetailList"].([]any)
	document, _ := details[0].(map[string]any)["AssumeRolePolicyDocument"].(map[string]any)
	if len(details) != 1 || document["Version"] != "2012-10-17" {
		t.Errorf("details = %v", details)
	}
	if got := aws.json("iam", "generate-credential-report")["State"]; got != "COMPLETE" {
		t.Errorf("report: %v", got)
	}
	report, err := base64.StdEncoding.DecodeString(aws.json("iam", "get-credential-report")["Content"].(string))
	if err != nil || !strings.HasPrefix(string(report), "user,arn,") || strings.Count(string(report), "\n") != 3 {
		t.Errorf("report: %v\n%s", err, report)
	}

	const policy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::shop/${aws:username}/*"}}`
	if got := aws.json("iam", "get-context-keys-for-custom-policy", "--policy-input-list", policy)["ContextKeyNames"].([]any); len(got) != 1 || got[0] != "aws:username" {
		t.Errorf("context keys = %v", got)
	}
	results := aws.json("iam", "simulate-custom-policy", "--policy-input-list", policy, "--action-names", "s3:GetObject", "--resource-arns", "arn:aws:s3:::shop/bob/x",
		"--context-entries", "ContextKeyName=aws:username,ContextKeyValues=bob,ContextKeyType=string")["EvaluationResults"].([]any)
	if results[0].(map[string]any)["EvalDecision"] != "allowed" {
		t.Errorf("simulation = %v", results)
	}
	aws.refused(`Syntax errors in policy. (line 1, column 26, Statment: unknown element "Statment")`, "iam", "create-policy", "--policy-name", "p", "--policy-document", `{"Version":"2012-10-17", "Statment":[]}`)
	aws.refused("NoSuchEntity", "iam", "get-account-password-policy")
}
