package shim

import (
	"fmt"
	"strings"
	"testing"
)

func TestContainerOf(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	const host = "1:name=systemd:/\n0::/system.slice/malote.service\n"
	for _, tt := range []struct {
		name, theirs, ours, want string
	}{
		{"version 1", "9:name=systemd:/docker/" + a + "\n4:memory:/docker/" + a + "\n0::/\n", host, a},
		{"version 2, systemd", "0::/system.slice/docker-" + a + ".scope\n", host, a},
		{"version 2, cgroupfs", "0::/docker/" + a + "\n", host, a},
		{"version 2, another cgroup namespace", "0::/../docker-" + a + ".scope\n", host, a},
		{"parent of a task", "4:memory:/ecs/task/" + a + "\n", host, a},
		{"podman", "0::/machine.slice/libpod-" + a + ".scope/container\n", host, a},
		{"a cgroup made within a container", "0::/docker/" + a + "/" + b + "\n", host, a},
		{"we are in a container too", "0::/docker/" + b + "/docker/" + a + "\n", "0::/docker/" + b + "\n", a},
		{"the host", host, host, ""},
		{"hierarchies that disagree", "2:cpu:/docker/" + a + "\n3:memory:/docker/" + b + "\n", host, ""},
		{"a short id", "0::/docker/" + a[:12] + "\n", host, ""},
		{"a name that begins like an id", "0::/docker/" + a + "0\n", host, ""},
		{"nothing", "", host, ""},
	} {
		if got, ok := containerOf(tt.theirs, tt.ours); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: containerOf = %q, %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}

func TestPayloadIsSealed(t *testing.T) {
	p := Payload{Env: []string{"A=secret"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, p); got != sealed {
			t.Errorf("%s prints %q", format, got)
		}
	}
}

func TestCheckEnv(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{"fits", []string{"A=" + strings.Repeat("x", maxString-3)}, ""},
		{"one too long", []string{"A=" + strings.Repeat("x", maxString-2)}, "environment variable A has 131072 bytes, name included; Linux allows 131071 in one variable: hand such a value over in a file"},
		{"NUL", []string{"A=b\x00"}, "the value of environment variable A contains a NUL character, which no environment variable can hold"},
		{"no name", []string{"=secret"}, "an environment variable has no name"},
		{"no equals", []string{"secret"}, "an environment variable has no name"},
		{"too many", append(manyVariables(20), "B=c"), "the environment and arguments have 2457792 bytes in all; Linux allows 2097152 (the largest variable, N00, has 122880): hand large values over in files"},
	} {
		err := CheckEnv(tt.env, nil, 0)
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%s: CheckEnv = %v, want %s", tt.name, err, tt.want)
		}
	}
}

func manyVariables(n int) []string {
	var env []string
	for i := range n {
		env = append(env, fmt.Sprintf("N%02d=", i)+strings.Repeat("x", 120<<10-4))
	}
	return env
}
