package ecs_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/malote/malote/malotetest"
)

// A session of ECS Exec is the instance's engine's to take: of another account not even an
// administrator who knows its id learns that there is one.
func TestSessionAcrossAccounts(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", "", "")
	e := register(t, sys, sys.Config())
	task := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), EnableExecuteCommand: true}).TaskArn
	e.nextTask()
	e.status(task, "RUNNING", nil, "")
	session, err := client.ExecuteCommand(t.Context(), &ecs.ExecuteCommandInput{Task: &task, Container: aws.String("app"), Command: aws.String("sh"), Interactive: true})
	if err != nil {
		t.Fatal(err)
	}
	path := "/acs/sessions/" + *session.Session.SessionId
	stranger := &fakeEngine{t: t, cfg: sys.Other(t, "210987654321"), clock: sys.Clock}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		response, err := stranger.request(t.Context(), method, path, "{}")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "There is no session ") {
			t.Errorf("%s by another account = %s %s, %v", method, response.Status, body, err)
		}
	}
	// Its engine is told that there is one: its client has not come yet.
	response, err := e.request(t.Context(), http.MethodGet, path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), "The session was taken before.") {
		t.Errorf("GET by the instance's engine = %s %s, %v", response.Status, body, err)
	}
}
