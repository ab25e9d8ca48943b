package shim

import (
	"fmt"
	"strings"
)

const (
	// MountPoint is where an endpoint's directory belongs in the container, read-only.
	MountPoint = "/.malote"

	initPath = MountPoint + "/init"
)

// Entrypoint returns the entrypoint of a container, with no command beside it,
// that becomes entrypoint and cmd once it has its environment. These are the
// effective ones: the image's, unless the task definition or an override
// replaces them. It is nil when both are empty, since there is nothing to run.
func Entrypoint(entrypoint, cmd []string) []string {
	if len(entrypoint)+len(cmd) == 0 {
		return nil
	}
	return command("run", append(append([]string(nil), entrypoint...), cmd...))
}

// HealthCheck returns a health check that runs test, in Docker's words ("CMD" or
// "CMD-SHELL" first), in the container's environment. shell is the
// image's SHELL, if it has one of its own. "NONE" and no test at all stay as they are.
func HealthCheck(test []string, shell ...string) []string {
	if len(test) == 0 {
		return test
	}
	switch test[0] {
	case "CMD":
		return append([]string{"CMD"}, command("health", test[1:])...)
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		line := strings.Join(test[1:], " ")
		return append([]string{"CMD"}, command("health", append(append([]string(nil), shell...), line))...)
	}
	return test
}

// Exec returns the command that runs cmd in the container's environment later.
func Exec(cmd []string) []string {
	return command("exec", cmd)
}

func command(verb string, args []string) []string {
	return append([]string{initPath, verb, "--"}, args...)
}

// Sizes that the kernel allows: fs/exec.c and binfmts.h of Linux.
const (
	pageSize      = 4096
	maxString     = 32 * pageSize // MAX_ARG_STRLEN, the NUL included
	maxArgs       = 6 << 20       // three quarters of _STK_LIM
	minArgs       = 32 * pageSize // ARG_MAX
	DefaultStack  = 8 << 20       // the soft stack limit that Docker gives
	pointerLength = 8
)

// CheckEnv says whether the kernel would start a process with this environment
// and these arguments under a soft stack limit (DefaultStack when zero). The error names the
// variable and its size, never its value.
func CheckEnv(env, args []string, stack uint64) error {
	if stack == 0 {
		stack = DefaultStack
	}
	limit := max(min(stack/4, maxArgs), minArgs)
	total, most := uint64(0), ""
	for _, pair := range env {
		name, _, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "":
			// Without "=" the whole could be a value, so it is not printed.
			return fmt.Errorf("an environment variable has no name")
		case strings.Contains(name, "\x00"):
			return fmt.Errorf("the name of environment variable %q contains a NUL character", name)
		case strings.Contains(pair, "\x00"):
			return fmt.Errorf("the value of environment variable %s contains a NUL character, which no environment variable can hold", name)
		case len(pair)+1 > maxString:
			return fmt.Errorf("environment variable %s has %d bytes, name included; Linux allows %d in one variable: hand such a value over in a file", name, len(pair), maxString-1)
		}
		total += uint64(len(pair)) + 1 + pointerLength
		if len(pair) > len(most) {
			most = pair
		}
	}
	for _, arg := range args {
		total += uint64(len(arg)) + 1 + pointerLength
	}
	if total > limit {
		name, _, _ := strings.Cut(most, "=")
		return fmt.Errorf("the environment and arguments have %d bytes in all; Linux allows %d (the largest variable, %s, has %d): hand large values over in files", total, limit, name, len(most))
	}
	return nil
}
