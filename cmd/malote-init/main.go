// Command malote-init is the first process of a container that malote starts. It
// asks the engine for the container's secrets over a unix socket, sets them in
// the environment and becomes the command: the same process, with the same pid,
// user, working directory, limits and signals. So the values are in no image,
// no container configuration and no "docker inspect".
//
// It promises to work in any image: without a shell, without a C library, as any
// user, on a read-only root. It reads no file but the command's, and it is small
// because every start of a container pays for it: os and syscall are all it
// imports. The protocol is in the documentation of package engine/shim.
//
//	/.malote/init run -- COMMAND…      the container's entrypoint
//	/.malote/init health -- COMMAND…   its health check
//	/.malote/init exec -- COMMAND…     a command run in it later
//
// Its exit status is the command's, or, as with "docker run", 125 if the
// environment could not be had, 126 if the command cannot be executed and 127 if
// it is not there. A health check that cannot be run says 1, unhealthy: Docker
// reserves the rest.
package main

import (
	"os"
	"syscall"
	"time"
)

const (
	socketPath = "/.malote/socket"

	// patience is how long to wait for an engine that is being restarted.
	patience = 30 * time.Second
)

// A failure says why the command did not run, and how to exit.
type failure struct {
	status  int
	message string
}

func main() {
	fail := run(os.Args)
	os.Stderr.WriteString("malote-init: " + fail.message + "\n")
	os.Exit(fail.status)
}

// run returns only when it failed.
func run(args []string) failure {
	if len(args) < 4 || args[2] != "--" {
		return failure{125, "usage: malote-init run|health|exec -- COMMAND [ARGUMENT…]"}
	}
	verb, command := args[1], args[3:]
	if verb != "run" && verb != "health" && verb != "exec" {
		return failure{125, "no verb " + verb + "; want run, health or exec"}
	}
	fail := become(verb, command)
	if verb == "health" {
		fail.status = 1
	}
	return fail
}

func become(verb string, command []string) failure {
	secret, err := environment(verb)
	if err != nil {
		return failure{125, "asking the engine for the environment: " + err.Error()}
	}
	env := merge(syscall.Environ(), secret)
	path, err := lookPath(command[0], value(env, "PATH"))
	if err == nil {
		err = syscall.Exec(path, command, env)
	}
	switch err {
	case syscall.ENOENT:
		if path != "" {
			// The file is there: what lacks is the interpreter its first line or
			// its ELF header names.
			return failure{127, command[0] + ": its interpreter or dynamic loader is not in the image"}
		}
		return failure{127, command[0] + ": executable file not found in $PATH"}
	case syscall.E2BIG:
		return failure{126, command[0] + ": " + err.Error() + ": " + largest(env)}
	}
	return failure{126, command[0] + ": " + err.Error()}
}

// environment asks the engine. While that is away, what runs beside the container's first
// process takes its environment, so that a container does not turn unhealthy
// because the engine is being restarted.
func environment(verb string) ([]string, error) {
	if verb != "run" {
		env, err := fetch(socketPath, 0)
		if !away(err) {
			return env, err
		}
		if env := inherited(); env != nil {
			return env, nil
		}
	}
	return fetch(socketPath, patience)
}

// inherited returns the environment of process 1 if that is what malote-init became: not
// the host's first process, nor an init that Docker put before.
func inherited() []string {
	ours, err := readFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	if first, err := readFile("/proc/1/cgroup"); err != nil || string(first) != string(ours) {
		return nil
	}
	const dockerInit = "/sbin/docker-init\x00"
	if command, err := readFile("/proc/1/cmdline"); err != nil || len(command) >= len(dockerInit) && string(command[:len(dockerInit)]) == dockerInit {
		return nil
	}
	raw, err := readFile("/proc/1/environ")
	if err != nil {
		return nil
	}
	return variables(raw)
}

// variables splits what /proc has of an environment. A process may have written
// over it; what does not look like a variable is left out.
func variables(raw []byte) []string {
	var env []string
	for start, i := 0, 0; i < len(raw); i++ {
		if raw[i] != 0 {
			continue
		}
		pair := string(raw[start:i])
		start = i + 1
		if n := len(name(pair)); n > 0 && n < len(pair) {
			env = append(env, pair)
		}
	}
	return env
}

// merge returns base with the variables of over, which win.
func merge(base, over []string) []string {
	replaced := make(map[string]bool, len(over))
	for _, pair := range over {
		replaced[name(pair)] = true
	}
	env := make([]string, 0, len(base)+len(over))
	for _, pair := range base {
		if !replaced[name(pair)] {
			env = append(env, pair)
		}
	}
	return append(env, over...)
}

func name(pair string) string {
	for i := range len(pair) {
		if pair[i] == '=' {
			return pair[:i]
		}
	}
	return pair
}

func value(env []string, key string) string {
	for _, pair := range env {
		if len(pair) > len(key) && pair[len(key)] == '=' && pair[:len(key)] == key {
			return pair[len(key)+1:]
		}
	}
	return ""
}

// largest says what fills an environment that the kernel finds too big, in
// names and sizes alone.
func largest(env []string) string {
	total, most := 0, ""
	for _, pair := range env {
		total += len(pair) + 1
		if len(pair) > len(most) {
			most = pair
		}
	}
	return "the environment has " + itoa(total) + " bytes, of which " + name(most) + " has " + itoa(len(most))
}

func itoa(n int) string {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(digits[i:])
		}
	}
}
