package taskdef_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/malote/malote/service/ecs/taskdef"
)

// What is read is JSON; validating and registering it never panics, and what
// registering fills in is valid again.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"taskDefinition":{"family":"a","containerDefinitions":[{"name":"a","image":"i","memory":9}]}}`))
	f.Add([]byte(`{"placementConstraints":[{"type":"memberOf","expression":"attribute:a in [b]"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := taskdef.Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if !json.Valid(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))) {
			t.Fatal("read what is no JSON")
		}
		if taskdef.Validate(in) != nil {
			return
		}
		d, err := taskdef.Definition(in)
		if err != nil {
			t.Fatal(err)
		}
		in.ContainerDefinitions, in.Volumes = d.ContainerDefinitions, d.Volumes
		in.Cpu, in.Memory = d.Cpu, d.Memory
		// Defaults may take a definition over the limit of its size and no other.
		if err := taskdef.Validate(in); err != nil && len(text) < 30000 {
			t.Fatalf("no longer valid with its defaults: %v", err)
		}
	})
}
