package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

const (
	crowd   = 200 // tasks
	perCall = 10  // RunTask takes no more
	abreast = 8   // plain containers that are started at the same time
)

// manyTasks starts 200 tasks of one container and ten secrets on this host by malote up, through RunTask, and as many
// plain containers: how fast they all run, and what malote needs for each.
func (b *bench) manyTasks(ctx context.Context) (err error) {
	y, err := b.newYard(ctx)
	if err != nil {
		return err
	}
	defer y.close()
	plain, err := y.plainMany(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "many")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	runtime, err := os.MkdirTemp("/run", "malote-bench-") // a socket's path is short
	if err != nil {
		return err
	}
	defer os.RemoveAll(runtime)
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	const id, secret = "AKIABENCHADMIN000001", "only-for-the-benchmark/0000000000000001"
	p, err := b.launch("many", b.malote, []string{"up", "--listen", addr, "--data-dir", dir, "--runtime-dir", runtime}, "MALOTE_ADMIN_ACCESS_KEY_ID="+id, "MALOTE_ADMIN_SECRET_ACCESS_KEY="+secret)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	cfg := aws.Config{Region: region, BaseEndpoint: aws.String("http://" + addr), Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")}
	services := ecs.NewFromConfig(cfg)
	definition, err := y.define(ctx, cfg)
	if err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) {
		out, err := services.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{})
		return err == nil && len(out.ContainerInstanceArns) == 1, nil
	}); err != nil {
		return err
	}
	time.Sleep(settled)
	before, _, err := p.resident()
	if err != nil {
		return err
	}
	cpuBefore, err := p.cpu()
	if err != nil {
		return err
	}

	began := time.Now()
	var tasks []string
	for range crowd / perCall {
		out, err := services.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: &definition, Count: aws.Int32(perCall)})
		if err != nil {
			return err
		}
		if len(out.Tasks) != perCall {
			return fmt.Errorf("RunTask: %d tasks, %s", len(out.Tasks), aws.ToString(out.Failures[0].Reason))
		}
		for _, t := range out.Tasks {
			tasks = append(tasks, *t.TaskArn)
		}
	}
	for range tasks {
		if err := y.runs(); err != nil {
			return err
		}
	}
	took := time.Since(began)
	if err := until(ctx, func() (bool, error) {
		out, err := services.DescribeClusters(ctx, &ecs.DescribeClustersInput{})
		return err == nil && out.Clusters[0].RunningTasksCount == crowd, err
	}); err != nil {
		return err
	}
	cpu, err := p.cpu()
	if err != nil {
		return err
	}
	after, _, err := p.resident()
	if err != nil {
		return err
	}
	for _, task := range tasks {
		if _, err := services.StopTask(ctx, &ecs.StopTaskInput{Task: &task}); err != nil {
			return err
		}
	}
	if err := until(ctx, func() (bool, error) {
		out, err := services.DescribeClusters(ctx, &ecs.DescribeClustersInput{})
		return err == nil && out.Clusters[0].RunningTasksCount == 0, err
	}); err != nil {
		return err
	}
	b.add(figure{
		what: fmt.Sprintf("%d tasks by RunTask ÷ plain containers, until all run", crowd), value: took.Seconds() / plain.Seconds(),
		detail: fmt.Sprintf("%.1f tasks/s ÷ %.1f containers/s; malote's CPU %.0f ms a task", crowd/took.Seconds(), crowd/plain.Seconds(), milli(cpu-cpuBefore)/crowd),
	})
	b.add(figure{
		what: "  malote's memory for each task that runs", value: (after - before) * 1024 / crowd, unit: "KiB",
		detail: fmt.Sprintf("%.1f MiB with none, %.1f MiB with all, after starting them", before, after),
	})
	return nil
}

// until waits two minutes for ok.
func until(ctx context.Context, ok func() (bool, error)) error {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if done, err := ok(); done || err != nil {
			return err
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.New("waited two minutes in vain")
		}
	}
}

// lasting is the command of containers that stay.
func (y *yard) lasting() []string { return append(y.command(), "stay") }

// define makes ten secrets, the role that may read them, and the task definition.
func (y *yard) define(ctx context.Context, cfg aws.Config) (string, error) {
	if err := until(ctx, func() (bool, error) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(*cfg.BaseEndpoint, "http://"))
		if err == nil {
			conn.Close()
		}
		return err == nil, nil
	}); err != nil {
		return "", err
	}
	role, err := iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: aws.String("bench"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`),
	})
	if err != nil {
		return "", err
	}
	if _, err := iam.NewFromConfig(cfg).PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("bench"), PolicyName: aws.String("secrets"), PolicyDocument: aws.String(appPolicy)}); err != nil {
		return "", err
	}
	app := types.ContainerDefinition{Name: aws.String("app"), Image: &y.image, Command: y.lasting(), Memory: aws.Int32(6)}
	for i, name := range y.names {
		made, err := secretsmanager.NewFromConfig(cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(value)})
		if err != nil {
			return "", err
		}
		app.Secrets = append(app.Secrets, types.Secret{Name: aws.String(fmt.Sprintf("SECRET_%d", i)), ValueFrom: made.ARN})
	}
	out, err := ecs.NewFromConfig(cfg).RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("bench"), NetworkMode: types.NetworkModeHost, ExecutionRoleArn: role.Role.Arn, ContainerDefinitions: []types.ContainerDefinition{app},
	})
	if err != nil {
		return "", err
	}
	return *out.TaskDefinition.TaskDefinitionArn, nil
}

// plainMany starts as many containers by Docker's API, and removes them.
func (y *yard) plainMany(ctx context.Context) (took time.Duration, err error) {
	ids := make([]string, crowd)
	defer func() {
		var removing errgroup.Group
		removing.SetLimit(abreast)
		for _, id := range ids {
			removing.Go(func() error {
				if id == "" {
					return nil
				}
				_, err := y.docker.ContainerRemove(context.WithoutCancel(ctx), id, client.ContainerRemoveOptions{Force: true})
				return err
			})
		}
		err = errors.Join(err, removing.Wait())
	}()
	began := time.Now()
	var starting errgroup.Group
	starting.SetLimit(abreast)
	for i := range ids {
		starting.Go(func() error {
			made, err := y.docker.ContainerCreate(ctx, client.ContainerCreateOptions{
				Config:     &container.Config{Image: y.image, Cmd: y.lasting(), Env: y.values},
				HostConfig: &container.HostConfig{NetworkMode: "host", Resources: container.Resources{Memory: 6 << 20}},
			})
			if err != nil {
				return err
			}
			ids[i] = made.ID
			_, err = y.docker.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
			return err
		})
	}
	for range ids {
		if err := y.runs(); err != nil {
			return 0, errors.Join(err, starting.Wait())
		}
	}
	return time.Since(began), starting.Wait()
}
