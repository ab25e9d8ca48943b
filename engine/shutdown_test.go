package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/enginetest"
)

// severable is a way to the control plane that can be cut.
type severable struct {
	aws.HTTPClient
	cut atomic.Bool
}

func (s *severable) Do(r *http.Request) (*http.Response, error) {
	if s.cut.Load() {
		return nil, errors.New("the control plane is gone")
	}
	return s.HTTPClient.Do(r)
}

// Who presses Ctrl-C is not made to wait for a control plane that never comes back.
func TestTheEndDoesNotWaitForALostControlPlane(t *testing.T) {
	c := newCluster(t)
	c.stop()
	way := &severable{HTTPClient: c.config.AWS.HTTPClient}
	c.config.AWS.HTTPClient, c.config.StopOnExit = way, true
	registered := make(chan string, 8)
	c.config.Registered = func(arn string) { registered <- arn }
	e, err := engine.New(c.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-registered
	arn := c.runTask("", container("app", c.image(enginetest.Image{}), "sleep", "10m"))
	c.until(arn, "RUNNING")

	way.cut.Store(true)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the engine does not end")
	}
	if left := c.containers(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// What it could not tell, the next engine does.
	way.cut.Store(false)
	c.listen()
	c.until(arn, "STOPPED")
}

// The log tells a host that may not register from one that finds nobody, and both from one that
// was connected.
func TestWhyThereIsNoControlPlane(t *testing.T) {
	c := newCluster(t)
	c.stop()
	good := c.config
	for _, tt := range []struct {
		name  string
		wrong func(*engine.Config)
		want  string
	}{
		{"credentials", func(config *engine.Config) {
			config.AWS.Credentials = credentials.NewStaticCredentialsProvider("AKIANOBODY", "none", "")
		}, `level=ERROR msg="refused by the control plane" err="registering the container instance: .*UnrecognizedClientException: The security token included in the request is invalid\."`},
		{"rights", func(config *engine.Config) { config.AWS = c.sys.User(t, "nobody", "") },
			`level=ERROR msg="refused by the control plane" err=".*AccessDeniedException: User: .*user/nobody is not authorized to perform: ecs:RegisterContainerInstance`},
		{"cluster", func(config *engine.Config) { config.Cluster = "none" },
			`level=ERROR msg="refused by the control plane" err=".*ClusterNotFoundException: `},
		{"connection", func(config *engine.Config) {
			way := &severable{HTTPClient: config.AWS.HTTPClient}
			way.cut.Store(true)
			config.AWS.HTTPClient = way
		}, `level=WARN msg="not connected to the control plane" err=".*the control plane is gone"`},
	} {
		config, log := good, new(lockedBuffer)
		config.StateDir, config.Log = t.TempDir(), slog.New(slog.NewTextHandler(log, nil))
		tt.wrong(&config)
		e, err := engine.New(config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		for end := time.Now().Add(30 * time.Second); !strings.Contains(log.String(), "retry_in") && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if said := log.String(); !regexp.MustCompile(tt.want).MatchString(said) || strings.Contains(said, "lost the control plane") {
			t.Errorf("%s: logged %s, want %s", tt.name, said, tt.want)
		}
	}
}

// Who runs one task is told when there is no control plane to have it from.
func TestTheBeginningDoesNotWaitForAControlPlane(t *testing.T) {
	c := newCluster(t)
	c.stop()
	way := &severable{HTTPClient: c.config.AWS.HTTPClient}
	way.cut.Store(true)
	c.config.AWS.HTTPClient, c.config.StopOnExit = way, true
	e, err := engine.New(c.config)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Run(t.Context()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "the control plane is gone") {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the engine goes on asking")
	}
}
