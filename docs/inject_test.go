package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/malote/malote/inject/files"
	"github.com/malote/malote/service/ecs/taskdef"
)

// TestInject registers the task definition of inject.md, and reads the files it asks for.
func TestInject(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("inject.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("there is no task definition")
	}
	definition, err := taskdef.Read(strings.NewReader(block))
	if err == nil {
		err = taskdef.Validate(definition)
	}
	if err != nil {
		t.Fatal(err)
	}
	specs := 0
	for _, container := range definition.ContainerDefinitions {
		for i, word := range container.Command {
			if word != "--spec" {
				continue
			}
			specs++
			f, err := files.ParseSpec(container.Command[i+1])
			if err != nil || f.ValueFrom == "" || f.Name == "" {
				t.Errorf("%s: %+v, %v", container.Command[i+1], f, err)
			}
		}
	}
	if specs != 4 {
		t.Errorf("%d specs were read, want 4", specs)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, `    [{"valueFrom"`) {
			if _, err := files.ParseJSON(line); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			return
		}
	}
	t.Error("there is no list for MALOTE_INJECT")
}
