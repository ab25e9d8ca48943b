package malote_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/malote/malote"

// arrows says what each part of the tree may not depend on, however indirectly: a
// prefix of our own packages, or of somebody's module.
var arrows = []struct {
	from string
	not  []string
	why  string
}{
	{"policy", []string{"/caller", "/store", "/authz", "/audit", "/gateway", "/service", "/engine", "github.com/aws"}, "policy is pure"},
	{"store", []string{"/keyring", "/policy", "/caller", "/authz", "/audit", "/gateway", "/service", "/engine", "github.com/aws"}, "a store knows nothing of what it keeps"},
	{"keyring", []string{"/policy", "/caller", "/authz", "/gateway", "/service", "/engine"}, "the keyring decides nothing"},
	{"audit", []string{"/store", "/gateway", "/service", "/engine"}, "the audit only writes"},
	{"authz", []string{"/store", "/keyring", "/gateway", "/service", "/engine"}, "authz looks nothing up itself"},
	{"gateway", []string{"/store", "/keyring", "/audit", "/service", "/engine"}, "the gateway knows SDK types and no service"},
	{"service", []string{"/keyring", "/engine", "/inject", "/controlplane", "github.com/moby"}, "a service has neither keys nor Docker"},
	{"inject", []string{"/store", "/keyring", "/policy", "/authz", "/audit", "/gateway", "/service", "/engine", "github.com/moby"}, "inject reaches secrets through SDK clients alone"},
	{"engine", []string{"/store", "/keyring", "/authz", "/audit", "/service", "/controlplane"}, "the engine reaches secrets through SDK clients like anyone"},
	{"controlplane", []string{"/engine", "/inject", "github.com/moby"}, "the control plane never has a Docker socket"},
	{"acs", []string{"/store", "/service", "/engine", "/gateway"}, "acs is words between two halves"},
	{"rotation", []string{"/store", "/keyring", "/authz", "/service", "/gateway", "/engine"}, "a rotation function is a client like any"},
	{"caller", []string{"/store", "/authz", "/service", "/gateway", "/engine"}, "caller holds facts alone"},
}

type pkg struct {
	ImportPath   string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
	Standard     bool
}

func list(t *testing.T, pattern string) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps,Standard", pattern).Output()
	if err != nil {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			t.Fatalf("go list %s: %s", pattern, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func below(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func TestArrowsPointOneWay(t *testing.T) {
	t.Parallel()
	packages := list(t, "./...")
	if len(packages) < 20 {
		t.Fatalf("go list found %d packages: it does not see the tree", len(packages))
	}
	for _, arrow := range arrows {
		seen := false
		for _, p := range packages {
			// What exists for tests may reach further.
			if !below(p.ImportPath, module+"/"+arrow.from) || strings.HasSuffix(p.ImportPath, "test") {
				continue
			}
			seen = true
			for _, dep := range p.Deps {
				for _, not := range arrow.not {
					if strings.HasPrefix(not, "/") {
						not = module + not
					}
					if below(dep, not) {
						t.Errorf("%s depends on %s: %s", strings.TrimPrefix(p.ImportPath, module+"/"), strings.TrimPrefix(dep, module+"/"), arrow.why)
					}
				}
			}
		}
		if !seen {
			t.Errorf("no package below %s: the rule guards nothing", arrow.from)
		}
	}
}

// Only the program and the test system wire services together by name.
func TestWhoImportsServices(t *testing.T) {
	t.Parallel()
	may := []string{"service", "controlplane", "cmd/malote", "malotetest", "bench", "docs"}
	for _, p := range list(t, "./...") {
		if slices.ContainsFunc(may, func(room string) bool { return below(p.ImportPath, module+"/"+room) }) {
			continue
		}
		for _, imported := range p.Imports {
			if below(imported, module+"/service") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestOnlyEngineDockerImportsDocker(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		if below(p.ImportPath, module+"/engine/docker") || strings.HasSuffix(p.ImportPath, "test") || p.ImportPath == module+"/bench" { // which compares with plain Docker
			continue
		}
		for _, imported := range p.Imports {
			if below(imported, "github.com/moby/moby") {
				t.Errorf("%s imports %s: ask engine/docker", p.ImportPath, imported)
			}
		}
	}
}

// The shim is copied into the address space of every container's first process.
func TestInitNeedsTheStandardLibraryAlone(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./cmd/malote-init") {
		for _, dep := range p.Deps {
			first, _, _ := strings.Cut(dep, "/")
			if strings.Contains(first, ".") && !below(dep, module) {
				t.Errorf("malote-init depends on %s", dep)
			}
			for _, heavy := range []string{"net", "net/http", "crypto/tls", "encoding/json", "reflect"} {
				if dep == heavy {
					t.Errorf("malote-init depends on %s: the shim stays small", dep)
				}
			}
		}
	}
}
