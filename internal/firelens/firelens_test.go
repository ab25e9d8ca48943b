package firelens_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/internal/firelens"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var task = firelens.Task{
	Cluster: "shop", ARN: "arn:aws:ecs:eu-west-1:123456789012:task/shop/0123456789abcdef0123456789abcdef", Definition: "web:7",
	Network: types.NetworkModeBridge,
}

func router(kind types.FirelensConfigurationType, options ...string) types.ContainerDefinition {
	return types.ContainerDefinition{Name: aws.String("router"), FirelensConfiguration: &types.FirelensConfiguration{Type: kind, Options: pairs(options)}}
}

func source(name string, options ...string) types.ContainerDefinition {
	return types.ContainerDefinition{Name: aws.String(name), LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwsfirelens, Options: pairs(options)}}
}

func secret(def types.ContainerDefinition, option string) types.ContainerDefinition {
	def.LogConfiguration.SecretOptions = append(def.LogConfiguration.SecretOptions, types.Secret{Name: aws.String(option), ValueFrom: aws.String("p")})
	return def
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

func TestConfig(t *testing.T) {
	t.Parallel()
	other := types.ContainerDefinition{Name: aws.String("db")}
	for _, tt := range []struct {
		golden  string
		network types.NetworkMode
		defs    []types.ContainerDefinition
	}{
		{"fluent-bit.conf", types.NetworkModeBridge, []types.ContainerDefinition{
			other,
			secret(source("app", "Name", "http", "Host", "logs.example.com", "Header", "X-Team shop", "include-pattern", "^order ", "exclude-pattern", "healthz", "log-driver-buffer-limit", "1000"), "http_Passwd"),
			router("fluentbit", "config-file-type", "file", "config-file-value", "/extra.conf"),
			source("worker"),
			source("cache", "Name", "stdout"),
		}},
		{"fluent-bit-awsvpc.conf", types.NetworkModeAwsvpc, []types.ContainerDefinition{router("fluentbit", "enable-ecs-log-metadata", "false"), source("app", "Name", "stdout")}},
		{"fluent-bit-host.conf", types.NetworkModeHost, []types.ContainerDefinition{router("fluentbit"), source("app", "Name", "stdout")}},
		{"fluentd.conf", types.NetworkModeBridge, []types.ContainerDefinition{
			secret(source("app", "@type", "http", "endpoint", "https://logs.example.com", "include-pattern", "^order ", "exclude-pattern", "healthz"), "password"),
			router("fluentd", "enable-ecs-log-metadata", "true", "config-file-type", "file", "config-file-value", "/extra.conf"),
			source("worker"),
		}},
		{"fluentd-none.conf", types.NetworkModeNone, []types.ContainerDefinition{router("fluentd", "enable-ecs-log-metadata", "false"), source("app", "@type", "stdout")}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			t.Parallel()
			r, err := firelens.Of(tt.defs)
			if err != nil {
				t.Fatal(err)
			}
			task := task
			task.Network = tt.network
			got := string(r.Config(task))
			path := filepath.Join("testdata", tt.golden)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("Config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRouter(t *testing.T) {
	t.Parallel()
	def := router("fluentd")
	def.User = aws.String("1000:2000")
	def.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("first"), Condition: "START"}}
	r, err := firelens.Of([]types.ContainerDefinition{def, source("first"), source("app", "log-driver-buffer-limit", "7")})
	if err != nil {
		t.Fatal(err)
	}
	if r.Container != "router" || r.UID != 1000 || r.GID != 2000 || !r.Metadata || r.ConfigPath() != "/fluentd/etc/fluent.conf" {
		t.Errorf("router = %+v", r)
	}
	if s := r.Source("app"); s == nil || !s.Waits || s.BufferMax != 7 {
		t.Errorf("app = %+v", s)
	}
	if s := r.Source("first"); s == nil || s.Waits {
		t.Errorf("first, which the router waits for = %+v", s)
	}
	if s := r.Source("router"); s != nil {
		t.Errorf("router = %+v", s)
	}
	if r, err := firelens.Of([]types.ContainerDefinition{{Name: aws.String("app")}}); r != nil || err != nil || r.Source("app") != nil {
		t.Errorf("Of without a router = %+v, %v", r, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	as := func(def types.ContainerDefinition, user string) types.ContainerDefinition {
		def.User = aws.String(user)
		return def
	}
	both := router("fluentbit")
	both.LogConfiguration = source("x").LogConfiguration
	for _, tt := range []struct {
		name string
		defs []types.ContainerDefinition
		want string
	}{
		{"no router", []types.ContainerDefinition{source("app")}, "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be configured in one of the containers."},
		{"no source", []types.ContainerDefinition{router("fluentbit")}, "When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver."},
		{"two routers", []types.ContainerDefinition{router("fluentbit"), source("app"), router("fluentd")}, "at most one container"},
		{"a router of its own", []types.ContainerDefinition{both}, "cannot use the log driver awsfirelens itself"},
		{"another type", []types.ContainerDefinition{router("vector"), source("app")}, "Invalid 'type'"},
		{"user by name", []types.ContainerDefinition{as(router("fluentbit"), "fluent"), source("app")}, "Invalid 'user' setting for container 'router'"},
		{"unknown option", []types.ContainerDefinition{router("fluentbit", "config", "x"), source("app")}, "There is no option 'config'."},
		{"metadata", []types.ContainerDefinition{router("fluentbit", "enable-ecs-log-metadata", "yes"), source("app")}, "must be true or false"},
		{"file from S3 by address", []types.ContainerDefinition{router("fluentbit", "config-file-type", "s3", "config-file-value", "s3://b/k"), source("app")}, "is not the ARN of an object in S3"},
		{"file from elsewhere", []types.ContainerDefinition{router("fluentbit", "config-file-type", "http", "config-file-value", "x"), source("app")}, "must be file or s3"},
		{"no file", []types.ContainerDefinition{router("fluentbit", "config-file-type", "file"), source("app")}, "needs the option config-file-value"},
		{"file of no type", []types.ContainerDefinition{router("fluentbit", "config-file-value", "/x"), source("app")}, "needs the option config-file-type"},
		{"file that is two lines", []types.ContainerDefinition{router("fluentbit", "config-file-type", "file", "config-file-value", "/x\n[OUTPUT]"), source("app")}, "absolute path"},
		{"file in YAML", []types.ContainerDefinition{router("fluentbit", "config-file-type", "file", "config-file-value", "/x.yaml"), source("app")}, "YAML"},
		{"value that is two lines", []types.ContainerDefinition{router("fluentbit"), source("app", "Name", "stdout\n[OUTPUT]\n    Name exec")}, "The value of the option 'Name' has a line break"},
		{"value that is two lines, to some", []types.ContainerDefinition{router("fluentd"), source("app", "@type", "stdout", "format", "x\r</match>")}, "has a line break"},
		{"pattern that is two lines", []types.ContainerDefinition{router("fluentd"), source("app", "include-pattern", "x\n</filter>")}, "has a line break"},
		{"option that is two lines", []types.ContainerDefinition{router("fluentbit"), source("app", "Name", "stdout", "x\n[OUTPUT]", "y")}, "cannot be called"},
		{"option that is two words", []types.ContainerDefinition{router("fluentbit"), source("app", "Name", "stdout", "a b", "y")}, "cannot be called"},
		{"a command of Fluent Bit", []types.ContainerDefinition{router("fluentbit"), source("app", "Name", "stdout", "@INCLUDE", "/x")}, "cannot be called"},
		{"a section of Fluentd", []types.ContainerDefinition{router("fluentd"), source("app", "@type", "stdout", "<buffer>", "x")}, "cannot be called"},
		{"secret that ends its reference", []types.ContainerDefinition{router("fluentd"), secret(source("app", "@type", "stdout"), "x']}#{`id`}")}, "cannot be called"},
		{"nothing as a value", []types.ContainerDefinition{router("fluentbit"), source("app", "Name", "stdout", "Host", " ")}, "has no value"},
		{"no output", []types.ContainerDefinition{router("fluentbit"), source("app", "Host", "x")}, "missing output key Name which is required for firelens configuration of type fluentbit"},
		{"the other's output", []types.ContainerDefinition{router("fluentd"), source("app", "Name", "x")}, "missing output key @type which is required for firelens configuration of type fluentd"},
		{"buffer", []types.ContainerDefinition{router("fluentbit"), source("app", "log-driver-buffer-limit", "many")}, "must be a number"},
		{"buffer as a secret", []types.ContainerDefinition{router("fluentbit"), secret(source("app"), "log-driver-buffer-limit")}, "cannot be a secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := firelens.Of(tt.defs)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Of = %+v, %v, want %q", r, err, tt.want)
			}
		})
	}
}

// Whatever options hold, there is a line for each and no other.
func FuzzConfig(f *testing.F) {
	f.Add("Host", "x")
	f.Add("a\nb", "[OUTPUT]")
	f.Add("Host", "x\r\n@INCLUDE /etc/passwd")
	f.Fuzz(func(t *testing.T, option, value string) {
		for _, kind := range []types.FirelensConfigurationType{"fluentbit", "fluentd"} {
			output := map[types.FirelensConfigurationType]string{"fluentbit": "Name", "fluentd": "@type"}[kind]
			if option == output || strings.HasSuffix(option, "-pattern") || option == "log-driver-buffer-limit" {
				return
			}
			without, err := firelens.Of([]types.ContainerDefinition{router(kind), source("app", output, "stdout")})
			if err != nil {
				t.Fatal(err)
			}
			with, err := firelens.Of([]types.ContainerDefinition{router(kind), source("app", output, "stdout", option, value)})
			if err != nil {
				continue
			}
			config := string(with.Config(task))
			if got, want := len(strings.FieldsFunc(config, newline)), len(strings.FieldsFunc(string(without.Config(task)), newline))+1; got != want {
				t.Errorf("option %q, value %q: %d lines, want %d:\n%s", option, value, got, want, config)
			}
		}
	})
}

func newline(r rune) bool { return r == '\n' || r == '\r' || r == '\v' || r == '\f' }

func TestFileOfS3(t *testing.T) {
	t.Parallel()
	for kind, want := range map[types.FirelensConfigurationType]string{
		"fluentbit": "@INCLUDE /fluent-bit/etc/external.conf\n", "fluentd": "@include /fluentd/etc/external.conf\n",
	} {
		def := types.ContainerDefinition{Name: aws.String("router"), FirelensConfiguration: &types.FirelensConfiguration{
			Type: kind, Options: map[string]string{"config-file-type": "s3", "config-file-value": "arn:aws:s3:::b/k.conf"},
		}}
		app := types.ContainerDefinition{Name: aws.String("app"), LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwsfirelens}}
		r, err := firelens.Of([]types.ContainerDefinition{def, app})
		if err != nil {
			t.Fatal(err)
		}
		if config := string(r.Config(firelens.Task{})); r.S3 != "arn:aws:s3:::b/k.conf" || !strings.Contains(config, want) {
			t.Errorf("%s: of %q, config %q, want %q", kind, r.S3, config, want)
		}
	}
}
