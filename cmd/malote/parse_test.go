package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A command that is parsed by itself says what it says among all, right or wrong.
func TestCommandByItself(t *testing.T) {
	t.Parallel()
	parse := func(commands []command, args ...string) string {
		var stdout, stderr bytes.Buffer
		p := &program{stdout: &stdout, stderr: &stderr}
		parsed, status := p.parse(t.Context(), commands, args)
		if parsed == nil {
			return fmt.Sprintf("%d\n%s\n%s", status, &stdout, &stderr)
		}
		flags := ""
		for _, f := range parsed.Flags() {
			flags += fmt.Sprintf("%s=%v ", f.Name, f.Target)
		}
		return fmt.Sprintf("%s %s\n%s\n%s", parsed.Command(), flags, &stdout, &stderr)
	}
	p := &program{stdout: t.Output(), stderr: t.Output()}
	version, _ := p.parse(t.Context(), commands(), []string{"version"})
	var named int
	for _, leaf := range version.Model.Leaves(false) {
		path := strings.Fields(leaf.Path())
		if one := asked(commands(), path); len(one) != 1 || one[0].name != path[0] {
			t.Errorf("malote %s is of %d commands", leaf.Path(), len(one))
		}
		named++
		for depth := 1; depth <= len(path); depth++ {
			for _, rest := range [][]string{nil, {"--help"}, {"-h", "x"}, {"--nosuch"}, {"--nosuch=x", "y"}, {"--hlep"}, {"x"}, {"x", "y", "z", "--", "w"}, {"--region"}, {"--region", "x"}} {
				args := slices.Concat(path[:depth], rest)
				if got, want := parse(asked(commands(), args), args...), parse(commands(), args...); got != want {
					t.Errorf("malote %q: %s\namong all: %s", args, got, want)
				}
			}
		}
	}
	if named < len(commands()) {
		t.Errorf("%d commands of %d", named, len(commands()))
	}
	for _, args := range [][]string{nil, {""}, {"--help"}, {"--help", "server"}, {"serve"}, {"-h"}, {"--", "server"}} {
		if got := asked(commands(), args); len(got) != len(commands()) {
			t.Errorf("malote %q is of %d commands", args, len(got))
		}
	}
}
