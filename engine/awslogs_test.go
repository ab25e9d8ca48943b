package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

// events are the messages of a stream, once there are as many.
func (c *cluster) events(group, stream string, count int) []string {
	c.t.Helper()
	client := cloudwatchlogs.NewFromConfig(c.sys.Config())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := client.GetLogEvents(c.t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: &group, LogStreamName: &stream, StartFromHead: aws.Bool(true)})
		if err == nil && len(out.Events) >= count {
			var messages []string
			for _, e := range out.Events {
				messages = append(messages, *e.Message)
			}
			return messages
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("not %d events in %s: %v, %v", count, stream, out, err)
		}
	}
}

// The output of a container with the driver awslogs is in the log stream of its task, sent
// as the execution role, and nowhere on the host.
func TestAwslogs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	secret, value := c.secret("shop/password")
	role := c.role("exec", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"},
		{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"`+secret+`"}]}`)
	app := container("app", image, "env", "PASSWORD", "then", "printenv", "PASSWORD", "then", "burst", "1", "600000", "then", "trap", "0")
	app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &secret}}
	app.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
		"awslogs-group": "/ecs/shop", "awslogs-region": malotetest.Region, "awslogs-stream-prefix": "web",
	}}

	task := c.until(c.runTask(role, app), "STOPPED")
	if reason := aws.ToString(task.StoppedReason); task.StopCode != types.TaskStopCodeTaskFailedToStart ||
		reason != "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1" {
		t.Errorf("without its log group: %s, %q", task.StopCode, reason)
	}

	logs := cloudwatchlogs.NewFromConfig(c.sys.Config())
	if _, err := logs.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/ecs/shop")}); err != nil {
		t.Fatal(err)
	}
	arn := c.runTask(role, app)
	stream := "web/app/" + arn[strings.LastIndex(arn, "/")+1:]
	// The digest of the secret is known to nobody before the container says it.
	digest := digestLine("PASSWORD", value)
	events := c.events("/ecs/shop", stream, 5)
	if events[0] != digest || events[1] != "[sealed]" || len(events[2])+len(events[3])+len(events[4]) != 600000 || len(events[2]) > 256<<10 {
		t.Errorf("events = %.200q", events)
	}
	task = c.until(arn, "RUNNING")
	id := aws.ToString(task.Containers[0].RuntimeId)
	c.sys.Canaries.Add(digest[len("PASSWORD "):]) // looked for in the store, at the end
	for _, dir := range []string{"/var/lib/docker/containers/" + id, c.config.Dir} {
		hits, err := c.sys.Canaries.Dir(dir)
		if err != nil || len(hits) > 0 {
			t.Errorf("%s: %v, %v", dir, hits, err)
		}
	}
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &arn}); err != nil {
		t.Fatal(err)
	}
	c.until(arn, "STOPPED")

	// Who may not write there does not run.
	powerless := c.role("powerless", malotetest.Allow(secret, "secretsmanager:GetSecretValue"))
	task = c.until(c.runTask(powerless, app), "STOPPED")
	if reason := aws.ToString(task.StoppedReason); !strings.Contains(reason, "assumed-role/powerless/") || !strings.Contains(reason, "not authorized to perform: logs:CreateLogStream on resource: arn:aws:logs:us-east-1:123456789012:log-group:/ecs/shop:log-stream:web/app/") {
		t.Errorf("without permission: %q", reason)
	}
}

// awslogs-create-group makes the group; lines that belong together are one event; without a
// prefix the stream has the name of the container.
func TestAwslogsOptions(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	role := c.role("exec", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}`)
	app := container("app", image, "print", "2026-11-26 one", "then", "print", " two", "then", "print", "2026-11-27 three")
	app.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
		"awslogs-group": "made", "awslogs-region": malotetest.Region, "awslogs-create-group": "true", "awslogs-datetime-format": "^%Y-%m-%d", "mode": "non-blocking",
	}}
	arn := c.runTask(role, app)
	task := c.until(arn, "STOPPED")
	if task.StopCode != types.TaskStopCodeEssentialContainerExited {
		t.Fatalf("stopped: %q", aws.ToString(task.StoppedReason))
	}
	if got := c.events("made", aws.ToString(task.Containers[0].RuntimeId), 2); got[0] != "2026-11-26 one\n two" || got[1] != "2026-11-27 three" {
		t.Errorf("events = %q", got)
	}

	app.LogConfiguration.Options["awslogs-force"] = "x"
	task = c.until(c.runTask(role, app), "STOPPED")
	if !strings.Contains(aws.ToString(task.StoppedReason), "unknown log opt 'awslogs-force' for awslogs log driver") {
		t.Errorf("an unknown option: %q", aws.ToString(task.StoppedReason))
	}
}
