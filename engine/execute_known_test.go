package engine

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// A command in a container that was found running waits until it is known with which secrets.
func TestASessionWaitsForSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{log: slog.New(slog.DiscardHandler), ctx: t.Context()}
		found := newTask(e, &acs.Task{
			ARN:        "arn:aws:ecs:us-east-1:1:task/default/t",
			Definition: types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app")}}},
		}, &record{found: true})
		found.ids["app"] = "id"
		e.tasks = map[string]*task{found.work.ARN: found}
		session := func(want string) {
			t.Helper()
			_, err := e.runSession(t.Context(), &acs.Execute{TaskARN: found.work.ARN, Container: "app"}, nil, nil)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		session("what container app was given as secrets cannot be had again yet")
		close(found.ended)
		session("container app does not run")
	})
}
