package ecs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// pod is an app that waits for a sidecar which fills a volume of both.
func pod() *types.TaskDefinition {
	mount := func(readOnly bool) []types.MountPoint {
		return []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: aws.String("/s"), ReadOnly: &readOnly}}
	}
	return &types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{
		{Name: aws.String("files"), Essential: aws.Bool(false), MountPoints: mount(false)},
		{Name: aws.String("app"), MountPoints: mount(true), DependsOn: []types.ContainerDependency{{ContainerName: aws.String("files"), Condition: types.ContainerConditionSuccess}}},
	}}
}

func TestOutOfReach(t *testing.T) {
	t.Parallel()
	ended := []types.Container{{Name: aws.String("files"), LastStatus: aws.String("STOPPED"), ExitCode: aws.Int32(0)}, {Name: aws.String("app"), LastStatus: aws.String("RUNNING")}}
	for _, tt := range []struct {
		name, container, variable string
		change                    func(d *types.TaskDefinition, containers []types.Container)
		want                      string
	}{
		{"a sidecar that filled a volume", "files", "A", nil, ""},
		{"COMPLETE will do", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[1].DependsOn[0].Condition = types.ContainerConditionComplete
		}, ""},
		{"one that failed", "files", "A", func(_ *types.TaskDefinition, c []types.Container) { c[0].ExitCode = aws.Int32(1) }, ""},
		{"volumesFrom", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[1].MountPoints, d.ContainerDefinitions[1].VolumesFrom = nil, []types.VolumeFrom{{SourceContainer: aws.String("files")}}
		}, ""},
		{"volumesFrom of the app", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[0].MountPoints, d.ContainerDefinitions[0].VolumesFrom = nil, []types.VolumeFrom{{SourceContainer: aws.String("app")}}
		}, ""},
		{"volumesFrom of the app, to read", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[0].MountPoints, d.ContainerDefinitions[0].VolumesFrom = nil, []types.VolumeFrom{{SourceContainer: aws.String("app"), ReadOnly: aws.Bool(true)}}
		}, "no volume"},
		{"the app", "app", "A", nil, "essential"},
		{"a log", "files", "log:token", nil, "log driver"},
		{"Docker's environment", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[0].DockerLabels = map[string]string{"malote.secrets": "docker-env"}
		}, "Docker's configuration"},
		{"a log router", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[0].FirelensConfiguration = &types.FirelensConfiguration{}
		}, "log router"},
		{"nobody waits", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[1].DependsOn[0].Condition = types.ContainerConditionStart
		}, "no other container waits"},
		{"one that migrates a database", "files", "A", func(d *types.TaskDefinition, _ []types.Container) { d.ContainerDefinitions[0].MountPoints = nil }, "no volume"},
		{"one that reads", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[0].MountPoints[0].ReadOnly = aws.Bool(true)
		}, "no volume"},
		{"a volume of its own", "files", "A", func(d *types.TaskDefinition, _ []types.Container) {
			d.ContainerDefinitions[0].MountPoints[0].SourceVolume = aws.String("other")
		}, "no volume"},
		{"one that runs", "files", "A", func(_ *types.TaskDefinition, c []types.Container) {
			c[0].LastStatus, c[0].ExitCode = aws.String("RUNNING"), nil
		}, "not run to its end"},
		{"one that never ran", "files", "A", func(_ *types.TaskDefinition, c []types.Container) { c[0].ExitCode = nil }, "not run to its end"},
		{"none", "gone", "A", nil, "does not have"},
	} {
		d, containers := pod(), slices.Clone(ended)
		if tt.change != nil {
			tt.change(d, containers)
		}
		got := outOfReach(d, containers, acs.Held{Container: tt.container, Name: tt.variable})
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// chain is a pod whose sidecar is followed by another one, render, that reads its files and writes
// those of the app.
func chain() (*types.TaskDefinition, []types.Container) {
	mount := func(volume string, readOnly bool) types.MountPoint {
		return types.MountPoint{SourceVolume: &volume, ContainerPath: aws.String("/" + volume), ReadOnly: &readOnly}
	}
	waits := func(on string) []types.ContainerDependency {
		return []types.ContainerDependency{{ContainerName: &on, Condition: types.ContainerConditionSuccess}}
	}
	d := &types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{
		{Name: aws.String("files"), Essential: aws.Bool(false), MountPoints: []types.MountPoint{mount("secrets", false)}},
		{Name: aws.String("render"), Essential: aws.Bool(false), MountPoints: []types.MountPoint{mount("secrets", true), mount("config", false)}, DependsOn: waits("files")},
		{Name: aws.String("app"), MountPoints: []types.MountPoint{mount("config", true)}, DependsOn: waits("render")},
	}}
	ended := func(name string) types.Container {
		return types.Container{Name: &name, LastStatus: aws.String("STOPPED"), ExitCode: aws.Int32(0), RuntimeId: aws.String("id")}
	}
	return d, []types.Container{ended("files"), ended("render"), {Name: aws.String("app"), LastStatus: aws.String("RUNNING"), RuntimeId: aws.String("id")}}
}

func TestLookAtAChain(t *testing.T) {
	t.Parallel()
	const beyond = "container files, whose files container render may have made others of, which is not run again"
	for _, tt := range []struct {
		name   string
		change func(d *types.TaskDefinition, c *candidate)
		again  string
		why    string
	}{
		{"what another made files of", nil, "", beyond},
		{"one between them", func(d *types.TaskDefinition, _ *candidate) {
			d.ContainerDefinitions = append(d.ContainerDefinitions, types.ContainerDefinition{Name: aws.String("between"), DependsOn: d.ContainerDefinitions[1].DependsOn})
			d.ContainerDefinitions[1].DependsOn = []types.ContainerDependency{{ContainerName: aws.String("between"), Condition: types.ContainerConditionStart}}
		}, "", beyond},
		{"both have the secret", func(_ *types.TaskDefinition, c *candidate) { c.t.Held = append(c.t.Held, held("render", "secret")) }, "files render", ""},
		{"the other has another secret", func(_ *types.TaskDefinition, c *candidate) { c.t.Held = append(c.t.Held, held("render", "unchanged")) }, "", beyond},
		{"the other has it, and is itself out of reach", func(d *types.TaskDefinition, c *candidate) {
			c.t.Held = append(c.t.Held, held("render", "secret"))
			d.ContainerDefinitions[1].DockerLabels = map[string]string{"malote.secrets": "docker-env"}
		}, "", "container render, which has it in Docker's configuration; " + beyond},
		{"a third one after both", func(d *types.TaskDefinition, c *candidate) {
			c.t.Held = append(c.t.Held, held("render", "secret"))
			last := d.ContainerDefinitions[1]
			last.Name, last.DependsOn = aws.String("last"), []types.ContainerDependency{{ContainerName: aws.String("render")}}
			last.MountPoints = []types.MountPoint{{SourceVolume: aws.String("config")}}
			d.ContainerDefinitions = append(d.ContainerDefinitions, last)
			c.t.Task.Containers = append(c.t.Task.Containers, types.Container{Name: aws.String("last"), LastStatus: aws.String("STOPPED"), RuntimeId: aws.String("id")})
		}, "", "container render, whose files container last may have made others of, which is not run again; " + beyond},
		{"one that only reads", func(d *types.TaskDefinition, _ *candidate) {
			for _, c := range d.ContainerDefinitions[1:] { // as one that migrates a database
				c.MountPoints[0] = types.MountPoint{SourceVolume: aws.String("secrets"), ReadOnly: aws.Bool(true)}
			}
			d.ContainerDefinitions[1].MountPoints = d.ContainerDefinitions[1].MountPoints[:1]
		}, "files", ""},
		{"one that makes files of others", func(d *types.TaskDefinition, _ *candidate) {
			d.ContainerDefinitions[1].MountPoints = d.ContainerDefinitions[1].MountPoints[1:]
			d.ContainerDefinitions[2].MountPoints = append(d.ContainerDefinitions[2].MountPoints, types.MountPoint{SourceVolume: aws.String("secrets")})
		}, "files", ""},
		{"one from before", func(d *types.TaskDefinition, _ *candidate) {
			d.ContainerDefinitions[0].DependsOn, d.ContainerDefinitions[1].DependsOn = []types.ContainerDependency{{ContainerName: aws.String("render")}}, nil
			d.ContainerDefinitions[2].DependsOn[0].ContainerName = aws.String("files")
		}, "files", ""},
		{"one that runs on", func(_ *types.TaskDefinition, c *candidate) {
			c.t.Task.Containers[1].LastStatus, c.t.Task.Containers[1].ExitCode = aws.String("RUNNING"), nil
		}, "files", ""},
		{"one that never was, and has what the other had", func(_ *types.TaskDefinition, c *candidate) {
			c.t.Held = append(c.t.Held, held("render", "secret"))
			c.t.Task.Containers[1].ExitCode, c.t.Task.Containers[1].RuntimeId = aws.Int32(143), nil
		}, "files", ""},
		{"one that never was", func(_ *types.TaskDefinition, c *candidate) {
			c.t.Task.Containers[1].ExitCode, c.t.Task.Containers[1].RuntimeId = aws.Int32(143), nil
		}, "files", ""},
	} {
		d, containers := chain()
		c := &candidate{t: &task{Task: types.Task{TaskArn: aws.String("arn:aws:ecs:us-east-1:1:task/default/t"), Containers: containers}, Held: []acs.Held{held("files", "secret")}}, definition: d, able: true}
		if tt.change != nil {
			tt.change(d, c)
		}
		f := &following{}
		s := &Service{current: currentOf{versions: map[string]string{"secret": "2", "unchanged": "1"}}}
		if err := c.look(t.Context(), &currentVersions{s: s}, f); err != nil {
			t.Fatal(err)
		}
		if again, why := strings.Join(c.again, " "), strings.Join(f.why, "; "); again != tt.again || why != tt.why {
			t.Errorf("%s: runs %q again, and does not reach %q; want %q and %q", tt.name, again, why, tt.again, tt.why)
		}
		if len(c.stale) != len(c.again) || (len(c.stale) > 0) != (len(f.reached.current) > 0) || (len(c.beyond) > 0) != (tt.why != "") {
			t.Errorf("%s: stale %v of %v, beyond %v", tt.name, c.stale, f.reached, c.beyond)
		}
	}
}

// A redeployment is for what tasks have; a rollback gives what was had for all of their containers.
func TestCompare(t *testing.T) {
	t.Parallel()
	_, containers := chain()
	one := &task{Task: types.Task{TaskArn: aws.String("arn:aws:ecs:us-east-1:1:task/default/t"), Containers: containers}, Held: []acs.Held{held("files", "unchanged"), held("render", "secret")}}
	s := &Service{current: currentOf{versions: map[string]string{"secret": "2", "unchanged": "1"}}}
	compare := func() *following {
		t.Helper()
		f := &following{tasks: []*task{one}}
		if err := f.compare(t.Context(), &currentVersions{s: s}); err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := compare(); f.count != 1 || !slices.Equal(f.held, one.Held) {
		t.Errorf("%d tasks are stale, and hold %v", f.count, f.held)
	}
	containers[1].ExitCode, containers[1].RuntimeId = aws.Int32(143), nil
	if f := compare(); f.count != 0 || len(f.current) > 0 {
		t.Errorf("%d tasks are stale for %v, which a container was to be given that never was", f.count, f.current)
	}
	one.Held[0] = held("files", "secret")
	if f := compare(); f.count != 1 || !slices.Equal(f.held, one.Held) {
		t.Errorf("%d tasks are stale, and hold %v", f.count, f.held)
	}
}

func held(container, secret string) acs.Held {
	return acs.Held{Container: container, Name: "A", ARN: "arn:aws:secretsmanager:us-east-1:1:secret:" + secret, Version: "1"}
}

// currentOf are the current versions of secrets by their names.
type currentOf struct {
	Versions
	versions map[string]string
}

func (c currentOf) Current(_ context.Context, arn, _ string) (string, error) {
	return c.versions[arn[strings.LastIndexByte(arn, ':')+1:]], nil
}

func TestSignals(t *testing.T) {
	t.Parallel()
	d := pod()
	label := map[string]string{"malote.refresh-signal": "hup"}
	d.ContainerDefinitions[0].DockerLabels, d.ContainerDefinitions[1].DockerLabels = label, label
	d.ContainerDefinitions = append(d.ContainerDefinitions,
		types.ContainerDefinition{Name: aws.String("other"), DockerLabels: label},
		types.ContainerDefinition{Name: aws.String("silent"), MountPoints: d.ContainerDefinitions[1].MountPoints})
	if got := fmt.Sprint(signals(d, []string{"files"})); got != "[{app SIGHUP}]" {
		t.Errorf("signals = %s", got)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	current := []acs.Held{{ARN: "a", Version: "2"}}
	older := []acs.Held{{ARN: "a", Version: "1"}}
	// Tasks are 0, 1, … by their place; r of those that can be refreshed, - of others: a asked, A
	// by an engine that is gone, s starting, g its engine is gone, n nothing stale.
	for _, tt := range []struct {
		name, tasks string
		r           *refreshing
		want        string
	}{
		{"one to begin with", "rrr", nil, "0"},
		{"one for what is new", "rrr", &refreshing{For: older, Proven: true, RetryAt: now.Add(time.Minute)}, "0"},
		{"one at a time until it went well", "arr", &refreshing{For: current}, ""},
		{"one more when its engine has gone", "Arr", &refreshing{For: current}, "1"},
		{"then several", "rrrrrrr", &refreshing{For: current, Proven: true}, "0 1 2 3 4"},
		{"but no more", "aarrrrr", &refreshing{For: current, Proven: true}, "2 3 4"},
		{"not those that cannot", "sgnra", &refreshing{For: current, Proven: true}, "3"},
		{"not so soon after a failure", "rrr", &refreshing{For: current, Tries: 1, RetryAt: now.Add(time.Second)}, ""},
		{"another one after a failure", "rrr", &refreshing{For: current, Tries: 1, Failed: []string{"0"}, RetryAt: now}, "1"},
		{"again when there is no other", "rr", &refreshing{For: current, Proven: true, Tries: 3, Failed: []string{"1", "0"}}, "1"},
		{"the failed ones last", "rrrr", &refreshing{For: current, Proven: true, Failed: []string{"0", "1"}}, "2 3 0 1"},
	} {
		f := &following{v: &service{Refresh: tt.r}, reached: versions{current: current}}
		for i, kind := range tt.tasks {
			f.candidates = append(f.candidates, &candidate{
				t: &task{ID: fmt.Sprint(i)}, asked: kind == 'a' || kind == 'A', running: kind != 's', connected: kind != 'g' && kind != 'A',
				again: map[bool][]string{true: {"files"}}[kind != 'n'],
			})
		}
		var got []string
		for _, c := range f.choose(now) {
			got = append(got, c.t.ID)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}
