package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/malotetest/canary"
)

// startContainerd starts a containerd of the test's own, beneath a Docker Engine that is killed: as on Debian
// the one outlives the other.
func (h *hosts) startContainerd() {
	h.t.Helper()
	root := filepath.Join(h.runtime, "containerd")
	if err := os.MkdirAll(root, 0o700); err != nil {
		h.t.Fatal(err)
	}
	config := filepath.Join(h.dir, "containerd.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.containerd = h.daemon("containerd.log", "containerd", "--config", config, "--root", filepath.Join(h.dir, "containerd"), "--state", root, "--address", filepath.Join(root, "sock"))
	h.until("the test's own containerd listens", func() bool { _, err := os.Stat(filepath.Join(root, "sock")); return err == nil })
}

// addBridge makes the network of the test's own Docker Engine. One that is told to have no
// bridge deletes docker0, which is the host's.
func (h *hosts) addBridge() (name string) {
	h.t.Helper()
	name = fmt.Sprintf("malote-t%d", os.Getpid()%100000)
	for _, args := range [][]string{{"link", "add", name, "type", "bridge"}, {"addr", "add", "172.31.253.1/24", "dev", name}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			h.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	h.t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "del", name).CombinedOutput(); err != nil {
			h.t.Errorf("ip link del %s: %v: %s", name, err, out)
		}
	})
	return name
}

// startDocker starts a Docker Engine of the test's own, which it may kill. It is like any but that
// it touches neither iptables nor the default bridge, which belong to the host's.
func (h *hosts) startDocker() {
	h.t.Helper()
	root := filepath.Join(h.runtime, "docker")
	if err := os.MkdirAll(root, 0o700); err != nil {
		h.t.Fatal(err)
	}
	h.dockerd = h.daemon("dockerd.log", "dockerd", "--host", "unix://"+filepath.Join(root, "sock"), "--containerd", filepath.Join(h.runtime, "containerd", "sock"),
		"--data-root", filepath.Join(h.dir, "docker"), "--exec-root", filepath.Join(root, "exec"), "--pidfile", filepath.Join(root, "pid"), "--bridge", h.bridge, "--iptables=false", "--ip6tables=false")
	h.until("the test's own Docker Engine answers", func() bool {
		_, err := h.docker.Ping(context.WithoutCancel(h.t.Context()), client.PingOptions{})
		return err == nil
	})
}

// daemon starts one of the test's own.
func (h *hosts) daemon(log, name string, args ...string) *exec.Cmd {
	h.t.Helper()
	file, err := os.OpenFile(filepath.Join(h.dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	return cmd
}

// kills is how many: a deployment takes seven seconds, and thirty of them more than everything
// else of this package.
var kills = flag.Int("kills", 9, "in how many deployments something is killed")

// Deployments, each with a new value of the secret, in each of which one of control plane, agent and Docker
// Engine is killed at some moment. Each ends in what was asked for, and nothing is left behind.
func TestKilledDuringDeployments(t *testing.T) {
	enginetest.Exclusive(t, "169.254.170.2")
	h := newHosts(t)
	ctx := t.Context()
	var err error
	if h.docker, err = client.New(client.WithHost("unix://" + filepath.Join(h.runtime, "docker", "sock"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.docker.Close() })
	h.bridge = h.addBridge()
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(h.dir, "dockerd.log"))
			t.Logf("dockerd.log:\n%s", text[max(0, len(text)-4096):])
			h.removeContainers()
		}
		h.kill(&h.dockerd, syscall.SIGTERM)
		h.kill(&h.containerd, syscall.SIGTERM)
		// A Docker Engine that was killed while it made a container forgets the mount of its first layer.
		mounts, _ := os.ReadFile("/proc/self/mounts")
		for line := range strings.Lines(string(mounts)) {
			if at := strings.Fields(line)[1]; strings.HasPrefix(at, h.dir) {
				if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}
		}
	})
	h.startContainerd()
	h.startDocker()
	image := enginetest.Build(t, h.docker, enginetest.Image{})

	h.startServer()
	people, secrets, services := iam.NewFromConfig(h.admin), secretsmanager.NewFromConfig(h.admin), ecs.NewFromConfig(h.admin)
	canaries := new(canary.Set)
	value := canaries.New()
	secret, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	h.addHost(people)
	role := h.taskRole(people, malotetest.Allow(*secret.ARN, "secretsmanager:GetSecretValue"))
	if _, err := services.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &role, NetworkMode: types.NetworkModeNone, Volumes: []types.Volume{{Name: aws.String("files")}},
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: &image, Command: []string{"/app", "env", "PASSWORD", "then", "writeenv", "/files/password", "PASSWORD", "then", "trap", "0"}, Memory: aws.Int32(64),
			Secrets:     []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: secret.ARN}},
			MountPoints: []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/files")}},
			HealthCheck: &types.HealthCheck{Command: []string{"CMD", "/app", "env", "PASSWORD"}, Interval: aws.Int32(5)},
			StopTimeout: aws.Int32(5),
		}},
	}); err != nil {
		t.Fatal(err)
	}
	h.startAgent()
	const count = 2
	if _, err := services.CreateService(ctx, &ecs.CreateServiceInput{ServiceName: aws.String("shop"), TaskDefinition: aws.String("shop"), DesiredCount: aws.Int32(count)}); err != nil {
		t.Fatal(err)
	}
	service := func() (types.Service, bool) {
		out, err := services.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{"shop"}})
		if err != nil || len(out.Services) != 1 {
			return types.Service{}, false
		}
		return out.Services[0], true
	}
	// converged reports whether the service is what was asked for, to Docker's eyes as well: each
	// container has printed the hash of today's value.
	converged := func() bool {
		s, ok := service()
		if !ok || len(s.Deployments) != 1 || s.Deployments[0].RolloutState != types.DeploymentRolloutStateCompleted || s.RunningCount != count || s.PendingCount != 0 {
			return false
		}
		list := h.containers()
		if len(list) != count {
			return false
		}
		want := fmt.Sprintf("PASSWORD %x %d", sha256.Sum256([]byte(value)), len(value))
		for _, c := range list {
			if c.State != container.StateRunning || !strings.Contains(enginetest.Logs(t, h.docker, c.ID), want) {
				return false
			}
		}
		return true
	}
	h.until("the service is there", converged)

	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	began, longest := time.Now(), time.Duration(0)
	for n := range *kills {
		value = canaries.New()
		if _, err := secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: secret.ARN, SecretString: &value}); err != nil {
			t.Fatal(err)
		}
		if _, err := services.UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("shop"), ForceNewDeployment: true}); err != nil {
			t.Fatal(err)
		}
		after, away := time.Duration(random.IntN(1500))*time.Millisecond, time.Duration(random.IntN(500))*time.Millisecond
		victim := []string{"the control plane", "the agent", "Docker"}[n%3]
		time.Sleep(after)
		which, again := map[string]**exec.Cmd{"the control plane": &h.server, "the agent": &h.agent, "Docker": &h.dockerd}[victim],
			map[string]func(){"the control plane": h.startServer, "the agent": h.startAgent, "Docker": h.startDocker}[victim]
		h.kill(which, syscall.SIGKILL)
		time.Sleep(away)
		again()
		back := time.Now()
		h.until(fmt.Sprintf("deployment %d converges, in which %s was killed after %s for %s (seed %d)", n, victim, after, away, seed), converged)
		longest = max(longest, time.Since(back))
	}
	t.Logf("%d deployments, each with a kill, in %s; the longest took %s from the restart on", *kills, time.Since(began).Round(time.Second), longest.Round(time.Millisecond))

	if _, err := services.DeleteService(ctx, &ecs.DeleteServiceInput{Service: aws.String("shop"), Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	h.until("the service is gone", func() bool { s, ok := service(); return ok && *s.Status == "INACTIVE" })
	h.until("its containers are gone", func() bool { return len(h.containers()) == 0 })
	h.kill(&h.agent, os.Interrupt)
	h.kill(&h.server, os.Interrupt)
	h.nothingLeft()
	for _, dir := range []string{filepath.Join(h.dir, "server"), filepath.Join(h.dir, "agent"), filepath.Join(h.dir, "docker"), h.runtime, h.serverLog, h.log} {
		hits, err := canaries.Dir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, hit := range hits {
			t.Errorf("%s: a secret leaked", hit)
		}
	}
}

// removeContainers lets a test that has failed end without mounts and processes.
func (h *hosts) removeContainers() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	list, err := h.docker.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		h.t.Log(err)
	}
	for _, c := range list.Items {
		if _, err := h.docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			h.t.Log(err)
		}
	}
}

// nothingLeft checks that of tasks there is no mount, volume, network, record or socket.
func (h *hosts) nothingLeft() {
	h.t.Helper()
	ctx := context.WithoutCancel(h.t.Context())
	volumes, err := h.docker.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		h.t.Error(err)
	}
	for _, v := range volumes.Items {
		h.t.Errorf("volume %s is left", v.Name)
	}
	networks, err := h.docker.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		h.t.Error(err)
	}
	for _, n := range networks.Items {
		if n.Name != "none" && n.Name != "host" && n.Name != "bridge" {
			h.t.Errorf("network %s is left", n.Name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		h.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, h.runtime+"/volumes/") {
			h.t.Errorf("mount is left: %s", line)
		}
	}
	for _, dir := range []string{"tasks", "volumes"} {
		entries, _ := os.ReadDir(filepath.Join(h.runtime, dir))
		for _, e := range entries {
			h.t.Errorf("%s/%s is left", dir, e.Name())
		}
	}
	entries, _ := os.ReadDir(filepath.Join(h.runtime, "sockets"))
	for _, e := range entries {
		if e.IsDir() {
			h.t.Errorf("socket of %s is left", e.Name())
		}
	}
}
