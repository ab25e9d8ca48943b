package ecs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

// hold has the control plane know what a task was given.
func (e *fakeEngine) hold(task string, held ...acs.Held) {
	e.t.Helper()
	body, err := json.Marshal(acs.Secrets{TaskARN: task, Held: held})
	if err != nil {
		e.t.Error(err)
	}
	response, err := e.request(e.t.Context(), http.MethodPost, "/acs/secrets", string(body))
	if err != nil {
		if e.t.Context().Err() == nil { // the system may be closing
			e.t.Error(err)
		}
		return
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		e.t.Errorf("POST /acs/secrets = %s", response.Status)
	}
}

// holdings asks as malote stale does.
func (e *fakeEngine) holdings(query string) (acs.Holdings, string) {
	e.t.Helper()
	response, err := e.request(e.t.Context(), http.MethodGet, "/holdings"+query, "")
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	var out acs.Holdings
	if response.StatusCode == http.StatusOK {
		if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
			e.t.Fatal(err)
		}
	}
	return out, response.Header.Get("X-Amzn-Errortype")
}

// metric fails unless a scrape has the line.
func metric(t *testing.T, sys *malotetest.System, line string) {
	t.Helper()
	answer := httptest.NewRecorder()
	sys.Metrics().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK || !slices.Contains(strings.Split(answer.Body.String(), "\n"), line) {
		t.Errorf("GET /metrics = %d, without %s:\n%s", answer.Code, line, answer.Body)
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	client, secrets, parameters := ecs.NewFromConfig(sys.Config()), secretsmanager.NewFromConfig(sys.Config()), ssm.NewFromConfig(sys.Config())
	secret, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	put := func() {
		t.Helper()
		if _, err := parameters.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/shop/key"), Value: aws.String(sys.Canary()), Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	label := func(version int64) {
		t.Helper()
		if _, err := parameters.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/shop/key"), ParameterVersion: &version, Labels: []string{"prod"}}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	label(1)
	define(t, client, "web", "", "")
	e := register(t, sys, sys.Config())
	task := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")}).TaskArn
	other := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")}).TaskArn // is given nothing
	e.nextTask()
	e.status(task, "RUNNING", nil, "")
	e.status(other, "RUNNING", nil, "")
	const key = "arn:aws:ssm:us-east-1:123456789012:parameter/shop/key"
	first := *secret.VersionId
	held := []acs.Held{
		{Container: "app", Name: "PASSWORD", ARN: *secret.ARN, Selector: "AWSCURRENT", Version: first},
		{Container: "app", Name: "FIXED", ARN: *secret.ARN, Selector: "AWSCURRENT", Version: first, Fixed: true},
		{Container: "app", Name: "PREVIOUS", ARN: *secret.ARN, Selector: "AWSPREVIOUS", Version: first},
		{Container: "app", Name: "KEY", ARN: key, Version: "1"},
		{Container: "app", Name: "PROD", ARN: key, Selector: "prod", Version: "1"},
		{Container: "app", Name: "log:splunk-token", ARN: key, Selector: "none", Version: "1"},
	}
	e.hold(task, held...)
	// want has the current version of each that is stale, by name.
	check := func(when string, want map[string]string) {
		t.Helper()
		got, refusal := e.holdings("?cluster=default")
		if refusal != "" || len(got.Tasks) != 1 || got.Tasks[0].TaskARN != task || got.Tasks[0].Group != "family:web" || len(got.Tasks[0].Secrets) != 6 {
			t.Fatalf("%s: %+v %s", when, got, refusal)
		}
		stale := map[string]string{}
		for _, s := range got.Tasks[0].Secrets {
			if s.Stale {
				stale[s.Name] = s.Current
			}
		}
		if fmt.Sprint(stale) != fmt.Sprint(want) {
			t.Errorf("%s: stale are %v, want %v", when, stale, want)
		}
	}
	check("at first", map[string]string{"PREVIOUS": "", "log:splunk-token": ""})
	metric(t, sys, `malote_tasks_holding_secrets{account="123456789012",cluster="default",group="family:web",region="us-east-1"} 1`)
	metric(t, sys, `malote_tasks_stale{account="123456789012",cluster="default",group="family:web",region="us-east-1"} 1`)
	e.hold(task, acs.Held{Container: "app", Name: "KEY", ARN: key, Version: "1"})
	metric(t, sys, `malote_tasks_stale{account="123456789012",cluster="default",group="family:web",region="us-east-1"} 0`)
	e.hold(task, held...)
	next, err := secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	put()
	check("after both have new values", map[string]string{"PASSWORD": *next.VersionId, "KEY": "2", "log:splunk-token": ""})
	label(2)
	check("after the label moved", map[string]string{"PASSWORD": *next.VersionId, "KEY": "2", "PROD": "2", "log:splunk-token": ""})
	if _, err := secrets.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: aws.String("db"), VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &first, RemoveFromVersionId: next.VersionId,
	}); err != nil {
		t.Fatal(err)
	}
	label(1)
	check("after the labels moved back", map[string]string{"PREVIOUS": *next.VersionId, "KEY": "2", "log:splunk-token": ""})
	if _, err := secrets.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	check("after the secret was deleted", map[string]string{"PASSWORD": "", "PREVIOUS": "", "KEY": "2", "log:splunk-token": ""})

	for query, want := range map[string]string{"?serviceName=none": "ServiceNotFoundException", "?cluster=none": "ClusterNotFoundException", "?cluster=a/b/c": "InvalidParameterException"} {
		if _, got := e.holdings(query); got != want {
			t.Errorf("GET /holdings%s = %q, want %s", query, got, want)
		}
	}
	for name, actions := range map[string][]string{"list": {"ecs:ListTasks"}, "describe": {"ecs:DescribeTasks"}} {
		thief := *e
		thief.cfg = sys.User(t, name, malotetest.Allow("*", actions...))
		if _, got := thief.holdings(""); got != "AccessDeniedException" {
			t.Errorf("GET /holdings by who may %v alone = %q", actions, got)
		}
	}
	e.status(task, "STOPPED", nil, "")
	if got, _ := e.holdings(""); len(got.Tasks) != 0 {
		t.Errorf("of a stopped task: %+v", got)
	}
}

// An engine says what its tasks hold. What it says of another account's secret tells it that
// secret's versions only while the task may read it.
func TestStaleAcrossAccounts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	const other = "210987654321"
	theirs := sys.Other(t, other)
	ours, client, people := secretsmanager.NewFromConfig(sys.Config()), ecs.NewFromConfig(theirs), iam.NewFromConfig(theirs)
	parameters := ssm.NewFromConfig(sys.Config())
	secret, err := ours.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	const key = "arn:aws:ssm:us-east-1:123456789012:parameter/key"
	put := func() {
		t.Helper()
		if _, err := ours.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: secret.ARN, SecretString: aws.String(sys.Canary())}); err != nil {
			t.Fatal(err)
		}
		if _, err := parameters.PutParameter(ctx, &ssm.PutParameterInput{
			Name: aws.String("key"), Value: aws.String("v"), Type: ssmtypes.ParameterTypeString, Tier: ssmtypes.ParameterTierAdvanced, Overwrite: aws.Bool(true),
		}); err != nil {
			t.Fatal(err)
		}
	}
	put()

	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	execution, err := people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("execution"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	mayRead := malotetest.Allow("*", "secretsmanager:GetSecretValue", "ssm:GetParameters")
	if _, err := people.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("execution"), PolicyName: aws.String("read"), PolicyDocument: &mayRead}); err != nil {
		t.Fatal(err)
	}
	define(t, client, "web", "", `'executionRoleArn':'`+*execution.Role.Arn+`'`)
	e := register(t, sys, theirs)
	task := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")}).TaskArn
	e.nextTask()
	e.status(task, "RUNNING", nil, "")
	e.hold(task, acs.Held{Container: "app", Name: "DB", ARN: *secret.ARN, Selector: "AWSCURRENT", Version: "guess"}, acs.Held{Container: "app", Name: "KEY", ARN: key, Version: "guess"})
	check := func(when, db, parameter string) {
		t.Helper()
		got, refusal := e.holdings("")
		if refusal != "" || len(got.Tasks) != 1 || len(got.Tasks[0].Secrets) != 2 {
			t.Fatalf("%s: %+v %s", when, got, refusal)
		}
		for i, want := range []string{db, parameter} {
			if s := got.Tasks[0].Secrets[i]; s.Current != want || s.Stale != (want != "guess") {
				t.Errorf("%s: the current version of %s is said to be %q (stale: %v), want %q", when, s.ARN, s.Current, s.Stale, want)
			}
		}
	}
	check("nothing is shared", "guess", "guess")
	metric(t, sys, `malote_tasks_stale{account="210987654321",cluster="default",group="family:web",region="us-east-1"} 0`)

	share := func(action, resource string) *string {
		return aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + *execution.Role.Arn + `"},"Action":` + action + `,"Resource":"` + resource + `"}]}`)
	}
	if _, err := ours.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: secret.ARN, ResourcePolicy: share(`"secretsmanager:GetSecretValue"`, "*")}); err != nil {
		t.Fatal(err)
	}
	shared, err := parameters.PutResourcePolicy(ctx, &ssm.PutResourcePolicyInput{ResourceArn: aws.String(key), Policy: share(`["ssm:GetParameter","ssm:GetParameters"]`, key)})
	if err != nil {
		t.Fatal(err)
	}
	current, err := ours.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: secret.ARN})
	if err != nil {
		t.Fatal(err)
	}
	version := ""
	for id, stages := range current.VersionIdsToStages {
		if slices.Contains(stages, "AWSCURRENT") {
			version = id
		}
	}
	check("both are shared", version, "1")
	// What denies others, for where they are or for having no session, does not deny the task.
	others := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{%s}}}`
	for _, tt := range []struct{ name, condition, db, parameter string }{
		{"with another address", `"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}`, "guess", "guess"},
		{"with the engine's address", `"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}`, version, "1"},
		{"with sessions", `"Null":{"aws:TokenIssueTime":"true"}`, version, "1"},
	} {
		document := fmt.Sprintf(others, tt.condition)
		if _, err := people.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("execution"), PolicyName: aws.String("place"), PolicyDocument: &document}); err != nil {
			t.Fatal(err)
		}
		check("both are shared "+tt.name, tt.db, tt.parameter)
	}
	metric(t, sys, `malote_tasks_stale{account="210987654321",cluster="default",group="family:web",region="us-east-1"} 1`)

	if _, err := ours.DeleteResourcePolicy(ctx, &secretsmanager.DeleteResourcePolicyInput{SecretId: secret.ARN}); err != nil {
		t.Fatal(err)
	}
	if _, err := parameters.DeleteResourcePolicy(ctx, &ssm.DeleteResourcePolicyInput{ResourceArn: aws.String(key), PolicyId: shared.PolicyId, PolicyHash: shared.PolicyHash}); err != nil {
		t.Fatal(err)
	}
	check("nothing is shared any more", "guess", "guess")
}
