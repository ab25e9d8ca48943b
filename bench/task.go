package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/engine/shim"
)

const (
	variables = 10
	memory    = 64 // MiB
)

// yard is where containers are started, one way and another, all on the host's network:
// of what Docker does it is the least, so that what is added shows most.
type yard struct {
	docker   *client.Client
	image    string
	listener *net.TCPListener // where the containers' program says that it runs
	init     string
	shim     *shim.Server
	engine   *engine.Engine
	role     *acs.Credentials
	names    []string // of the ten secrets
	values   []string // NAME=value
	n        int
}

// taskStarts compares a task of one container and ten secrets with the same container
// started by Docker alone, from the call to the first instruction of its program.
func (b *bench) taskStarts(ctx context.Context) (err error) {
	d, err := b.fill(ctx, few)
	if err != nil {
		return err
	}
	plane, closePlane, err := openPlane(ctx, d.dir)
	if err != nil {
		return err
	}
	defer closePlane()
	y, err := b.newYard(ctx)
	if err != nil {
		return err
	}
	defer y.close()
	cfg := planeConfig(plane)
	if y.role, err = executionRole(ctx, cfg); err != nil {
		return err
	}
	engineDocker, err := docker.New("")
	if err != nil {
		return err
	}
	defer engineDocker.Close()
	y.engine, err = engine.New(engine.Config{
		AWS: cfg, Docker: engineDocker, Name: "malote-bench", Dir: filepath.Join(b.dir, "engine"), InitPath: y.init, NoMetadata: true,
	})
	if err != nil {
		return err
	}
	if err := y.engine.Start(ctx); err != nil {
		return err
	}
	defer y.engine.Shutdown("the benchmark is over")

	// Plain, plain with malote-init, a task.
	var first [3][]float64
	var whole [2][]float64
	var shimFirst, taskFirst, shimWhole []float64
	for round := range b.tasks + 2 {
		var took [3]time.Duration
		var all [2]time.Duration
		for i := range 3 {
			kind := (i + round) % 3 // whoever comes after another pays for what that left
			switch kind {
			case 0, 1:
				took[kind], all[kind], err = y.plain(ctx, kind == 1)
			case 2:
				took[kind], err = y.task(ctx)
			}
			if err != nil {
				return err
			}
		}
		if round < 2 {
			continue
		}
		for i := range took {
			first[i] = append(first[i], milli(took[i]))
		}
		for i := range all {
			whole[i] = append(whole[i], milli(all[i]))
		}
		shimFirst = append(shimFirst, took[1].Seconds()/took[0].Seconds())
		taskFirst = append(taskFirst, took[2].Seconds()/took[0].Seconds())
		shimWhole = append(shimWhole, all[1].Seconds()/all[0].Seconds())
	}
	b.add(figure{
		what: "task with ten secrets ÷ plain container, to first instruction", value: median(taskFirst), must: 1.05, aim: 1.02,
		detail: fmt.Sprintf("%.1f ms ÷ %.1f ms; of medians %.3f; middle half %s", median(first[2]), median(first[0]), median(first[2])/median(first[0]), spread(taskFirst)),
	})
	b.add(figure{
		what: "  malote-init alone, to first instruction", value: median(shimFirst),
		detail: fmt.Sprintf("%.1f ms; of medians %.3f; middle half %s", median(first[1]), median(first[1])/median(first[0]), spread(shimFirst)),
	})
	b.add(figure{
		what: "  malote-init alone, create to removed", value: median(shimWhole),
		detail: fmt.Sprintf("%.1f ms ÷ %.1f ms; of medians %.3f; middle half %s", median(whole[1]), median(whole[0]), median(whole[1])/median(whole[0]), spread(shimWhole)),
	})
	return nil
}

func (b *bench) newYard(ctx context.Context) (_ *yard, err error) {
	y := &yard{image: "malote-bench:" + strings.ToLower(rand.Text()[:8])}
	defer func() {
		if err != nil {
			y.close()
		}
	}()
	path, err := filepath.Abs(filepath.Join(filepath.Dir(b.malote), "malote-init"))
	if err != nil {
		return nil, err
	}
	y.init = path
	if y.docker, err = client.New(client.FromEnv); err != nil {
		return nil, err
	}
	program, err := enginetest.Compile("github.com/malote/malote/bench/first")
	if err != nil {
		return nil, err
	}
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	if err := w.WriteHeader(&tar.Header{Name: "first", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	imported, err := y.docker.ImageImport(ctx, client.ImageImportSource{Source: &root, SourceName: "-"}, y.image, client.ImageImportOptions{})
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, imported)
	imported.Close()
	if err != nil {
		return nil, err
	}
	if y.listener, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, err
	}
	for i := range variables {
		y.names = append(y.names, secretName(i))
		y.values = append(y.values, fmt.Sprintf("SECRET_%d=%s", i, value))
	}
	y.shim, err = shim.New(shim.Config{Dir: filepath.Join(b.dir, "shim"), InitPath: y.init})
	return y, err
}

func (y *yard) close() {
	if y.shim != nil {
		y.shim.Close()
	}
	if y.listener != nil {
		y.listener.Close()
	}
	if y.docker != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		y.docker.ImageRemove(ctx, y.image, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		y.docker.Close()
	}
}

func (y *yard) command() []string { return []string{"/first", y.listener.Addr().String()} }

// runs waits until a container's program says that it runs, with its secrets.
func (y *yard) runs() error {
	if err := y.listener.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	conn, err := y.listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	n := make([]byte, 1)
	if _, err := io.ReadFull(conn, n); err != nil {
		return err
	}
	if n[0] != variables {
		return fmt.Errorf("the container has %d of its %d secrets", n[0], variables)
	}
	return nil
}

// plain starts a container by Docker's API, its ten values in Docker's Env or through
// malote-init, and says when its program ran and when it was gone.
func (y *yard) plain(ctx context.Context, withInit bool) (first, whole time.Duration, err error) {
	y.n++
	config := &container.Config{Image: y.image, Cmd: y.command()}
	host := &container.HostConfig{NetworkMode: "host", Resources: container.Resources{Memory: memory << 20}}
	began := time.Now()
	var endpoint *shim.Endpoint
	if withInit {
		if endpoint, err = y.shim.Open(fmt.Sprintf("bench-%d", y.n), shim.Payload{Env: y.values}); err != nil {
			return 0, 0, err
		}
		defer endpoint.Close()
		config.Entrypoint, config.Cmd = shim.Entrypoint(nil, config.Cmd), nil
		host.Binds = []string{endpoint.Dir() + ":" + shim.MountPoint + ":ro"}
	} else {
		config.Env = y.values
	}
	made, err := y.docker.ContainerCreate(ctx, client.ContainerCreateOptions{Config: config, HostConfig: host})
	if err != nil {
		return 0, 0, err
	}
	if withInit {
		err = endpoint.Bind(made.ID)
	}
	if err == nil {
		wait := y.docker.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		_, err = y.docker.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
		if err == nil {
			err = y.runs()
			first = time.Since(began)
		}
		if err == nil {
			select {
			case <-wait.Result:
			case err = <-wait.Error:
			}
		}
	}
	_, removeErr := y.docker.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true})
	return first, time.Since(began), errors.Join(err, removeErr)
}

// task starts a task on the engine, which fetches the ten secrets as the task's execution
// role, and says when its program ran.
func (y *yard) task(ctx context.Context) (first time.Duration, err error) {
	y.n++
	id := fmt.Sprintf("%032x", time.Now().UnixNano())
	arn := "arn:aws:ecs:" + region + ":" + account + ":task/default/" + id
	definition := types.ContainerDefinition{Name: aws.String("first"), Image: &y.image, Command: y.command(), Memory: aws.Int32(memory)}
	for i, name := range y.names {
		definition.Secrets = append(definition.Secrets, types.Secret{
			Name: aws.String(fmt.Sprintf("SECRET_%d", i)), ValueFrom: aws.String("arn:aws:secretsmanager:" + region + ":" + account + ":secret:" + name),
		})
	}
	role := *y.role
	role.TaskARN = arn
	work := acs.Task{
		ARN: arn, ClusterARN: "arn:aws:ecs:" + region + ":" + account + ":cluster/default", Region: region, Account: account,
		Definition: types.TaskDefinition{
			Family: aws.String("bench"), Revision: 1, NetworkMode: types.NetworkModeHost,
			ContainerDefinitions: []types.ContainerDefinition{definition}, ExecutionRoleArn: &role.RoleARN,
		},
		CreatedAt: time.Now(), ExecutionRole: &role,
	}
	ran := make(chan error, 1)
	began := time.Now()
	go func() {
		err := y.runs()
		first = time.Since(began)
		ran <- err
	}()
	report, err := y.engine.RunTask(ctx, work)
	if err != nil {
		return 0, err
	}
	if report.StopCode == types.TaskStopCodeTaskFailedToStart {
		return 0, fmt.Errorf("the task failed to start: %s", report.Reason)
	}
	return first, <-ran
}

// executionRole makes a role that may read the secrets, and assumes it.
func executionRole(ctx context.Context, cfg aws.Config) (*acs.Credentials, error) {
	name := aws.String("bench-execution-" + strings.ToLower(rand.Text()[:8]))
	client := iam.NewFromConfig(cfg)
	made, err := client.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: name, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":"sts:AssumeRole"}]}`),
	})
	if err != nil {
		return nil, err
	}
	if _, err := client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("secrets"), PolicyDocument: aws.String(appPolicy)}); err != nil {
		return nil, err
	}
	session, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: aws.String("bench")})
	if err != nil {
		return nil, err
	}
	c := session.Credentials
	return &acs.Credentials{
		RoleType: acs.TaskExecution, RoleARN: *made.Role.Arn, AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken, Expiration: *c.Expiration,
	}, nil
}
