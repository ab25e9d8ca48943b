package docs_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// TestTaskDefinitions sees that each member that a task definition may have is named in
// task-definitions.md, in the section of what it is a part of.
func TestTaskDefinitions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("task-definitions.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(text), "\n## ") {
		title, body, _ := strings.Cut(section, "\n")
		sections[title] = body
	}
	var walk func(typ reflect.Type, section, path string)
	walk = func(typ reflect.Type, section, path string) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			switch {
			case !f.IsExported() || f.Name == "ResultMetadata":
				continue
			case path == "" && f.Name == "ContainerDefinitions":
				walk(f.Type, "Containers", "containerDefinitions")
				continue
			case path == "" && f.Name == "Volumes":
				walk(f.Type, "Volumes", "volumes")
				continue
			}
			member := strings.ToLower(f.Name[:1]) + f.Name[1:]
			if !strings.Contains(sections[section], "`"+member+"`") {
				t.Errorf("%s.%s: section %q has no `%s`", path, member, section, member)
			}
			walk(f.Type, section, path+"."+member)
		}
	}
	walk(reflect.TypeFor[ecs.RegisterTaskDefinitionInput](), "Task", "")
}
