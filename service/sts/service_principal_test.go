package sts_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/sts"
	"github.com/malote/malote/store/memory"
)

// ECS asks in the same process, as a service, for roles of the account of its task.
func TestServiceAssumesRole(t *testing.T) {
	t.Parallel()
	st := memory.New()
	defer st.Close()
	dir := directory.New(directory.Config{Store: st})
	defer dir.Close()
	service := sts.New(sts.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir})})

	role := func(account, name, statement string) string {
		t.Helper()
		r := &directory.Role{
			Entity:     directory.Entity{Account: account, Path: "/", Name: name, ID: directory.NewID("AROA"), Created: time.Now()},
			MaxSession: 3600,
			Trust:      directory.Trust{Document: `{"Version":"2012-10-17","Statement":[` + statement + `]}`},
		}
		if err := dir.Update(t.Context(), func(tx *directory.Tx) error { return tx.PutRole(r) }); err != nil {
			t.Fatal(err)
		}
		return r.ARN()
	}
	const trustsECS = `{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"`
	task := "arn:aws:ecs:eu-central-1:" + account + ":task/default/0123456789abcdef0123456789abcdef"
	guarded := func(account string) string {
		return trustsECS + `,"Condition":{"StringEquals":{"aws:SourceAccount":"` + account + `"},"ArnLike":{"aws:SourceArn":"arn:aws:ecs:eu-central-1:` + account + `:*"}}}`
	}
	ctx := func(service string) context.Context {
		return caller.With(t.Context(), &caller.Request{
			Principal: &caller.Principal{Type: caller.Service, Account: account, Service: service}, Region: "eu-central-1", SourceARN: task, Time: time.Now(),
		})
	}

	for _, tt := range []struct {
		name, role, service string
		want                bool
	}{
		{"trusted", role(account, "plain", trustsECS+"}"), "ecs-tasks.amazonaws.com", true},
		{"trusted for this account", role(account, "guarded", guarded(account)), "ecs-tasks.amazonaws.com", true},
		{"trusted for another account", role(account, "misguarded", guarded(other)), "ecs-tasks.amazonaws.com", false},
		{"another service", role(account, "ecs", trustsECS+"}"), "ecs.amazonaws.com", false},
		{"trusts people", role(account, "people", trust(root, assume)), "ecs-tasks.amazonaws.com", false},
		{"of another account", role(other, "theirs", trustsECS+"}"), "ecs-tasks.amazonaws.com", false},
		{"missing", "arn:aws:iam::" + account + ":role/missing", "ecs-tasks.amazonaws.com", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := service.AssumeRole(ctx(tt.service), &awssts.AssumeRoleInput{RoleArn: &tt.role, RoleSessionName: aws.String("0123456789abcdef0123456789abcdef")})
			if !tt.want {
				wantError(t, err, "AccessDeniedException", denied(tt.service, "sts:AssumeRole", tt.role, "role trust policy"))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c, err := dir.Lookup(t.Context(), *out.Credentials.AccessKeyId, *out.Credentials.SessionToken)
			if err != nil || c.Principal.RoleARN != tt.role {
				t.Errorf("Lookup = %+v, %v", c, err)
			}
		})
	}
}

// A session that ECS makes for a task is known to be its, and so is what it is chained to.
// Nobody else can say so.
func TestSessionsOfTasks(t *testing.T) {
	t.Parallel()
	st := memory.New()
	defer st.Close()
	dir := directory.New(directory.Config{Store: st})
	defer dir.Close()
	if err := dir.Update(t.Context(), func(tx *directory.Tx) error {
		for _, name := range []string{"task", "chained"} {
			role := &directory.Role{
				Entity: directory.Entity{Account: account, Path: "/", Name: name, ID: directory.NewID("AROA"), Created: time.Now()}, MaxSession: 3600,
				Trust: directory.Trust{Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com","AWS":"arn:aws:sts::` + account + `:assumed-role/task/s"},"Action":"sts:AssumeRole"}]}`},
			}
			if err := tx.PutRole(role); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	service := sts.New(sts.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir})})
	assume := func(p *caller.Principal, role string, task *caller.Task) *caller.Principal {
		t.Helper()
		ctx := caller.With(t.Context(), &caller.Request{Principal: p, Region: "us-east-1", Time: time.Now(), Task: task})
		out, err := service.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + account + ":role/" + role), RoleSessionName: aws.String("s")})
		if err != nil {
			t.Fatal(err)
		}
		c, err := dir.Lookup(t.Context(), *out.Credentials.AccessKeyId, *out.Credentials.SessionToken)
		if err != nil {
			t.Fatal(err)
		}
		return c.Principal
	}
	tasks := &caller.Principal{Type: caller.Service, Service: "ecs-tasks.amazonaws.com", Account: account, ARN: "ecs-tasks.amazonaws.com", ID: "ecs-tasks.amazonaws.com"}
	asker := &caller.Task{ARN: "arn:aws:ecs:us-east-1:" + account + ":task/default/1", Service: "web", Deployment: "ecs-svc/1", Role: "task", Containers: []string{"app"}}
	session := assume(tasks, "task", asker)
	if diff := cmp.Diff(asker, session.Task); diff != "" {
		t.Error(diff)
	}
	chained := assume(session, "chained", &caller.Task{ARN: "another"})
	if diff := cmp.Diff(asker, chained.Task); diff != "" {
		t.Error(diff)
	}
	plain := assume(tasks, "task", nil)
	if again := assume(plain, "chained", asker); plain.Task != nil || again.Task != nil {
		t.Errorf("sessions of no task: %+v, %+v", plain.Task, again.Task)
	}
}

// What needs no permission is recorded all the same.
func TestOpenOperationsAreAudited(t *testing.T) {
	t.Parallel()
	st := memory.New()
	defer st.Close()
	dir := directory.New(directory.Config{Store: st})
	defer dir.Close()
	records := new(audit.Memory)
	service := sts.New(sts.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir}), Audit: records})
	ctx := caller.With(t.Context(), &caller.Request{
		Principal: &caller.Principal{Type: caller.User, Account: account, ARN: userARN("bob"), ID: "AIDAAAAAAAAAAAAAAAAAA", AccessKeyID: "AKIAAAAAAAAAAAAAAAAA"}, Time: time.Now(),
	})
	if _, err := service.GetCallerIdentity(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := service.GetSessionToken(ctx, &awssts.GetSessionTokenInput{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range records.Records() {
		names = append(names, r.Service+":"+r.Name)
	}
	if want := []string{"sts:GetCallerIdentity", "sts:GetSessionToken"}; !slices.Equal(names, want) {
		t.Errorf("recorded %v, want %v", names, want)
	}
}
