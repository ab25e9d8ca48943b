package firelens

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Task is what records tell of their task, and the network that the router is in.
type Task struct {
	Cluster, ARN, Definition string // Definition is family:revision
	Network                  types.NetworkMode
}

// ConfigPath is where the router looks for its configuration.
func (r *Router) ConfigPath() string {
	if r.Type == types.FirelensConfigurationTypeFluentd {
		return "/fluentd/etc/fluent.conf"
	}
	return "/fluent-bit/etc/fluent-bit.conf"
}

// ExternalPath is where the router has a file of S3.
func (r *Router) ExternalPath() string { return path.Join(path.Dir(r.ConfigPath()), "external.conf") }

// Config is the router's configuration file.
func (r *Router) Config(t Task) []byte {
	w := writer{}
	listen := map[types.NetworkMode]string{types.NetworkModeBridge: "0.0.0.0", types.NetworkModeAwsvpc: "127.0.0.1"}[t.Network]
	var records []pair
	if r.Metadata {
		records = []pair{{"ecs_cluster", t.Cluster}, {"ecs_task_arn", t.ARN}, {"ecs_task_definition", t.Definition}}
	}
	if r.Type == types.FirelensConfigurationTypeFluentd {
		r.fluentd(&w, listen, records)
	} else {
		r.fluentBit(&w, listen, records)
	}
	return []byte(strings.TrimSuffix(w.String(), "\n"))
}

func (r *Router) fluentBit(w *writer, listen string, records []pair) {
	w.section("INPUT", pair{"Name", "forward"}, pair{"unix_path", SocketDir + "/" + SocketName})
	if listen != "" {
		w.section("INPUT", pair{"Name", "forward"}, pair{"Listen", listen}, pair{"Port", Port})
		// What AWS's image asks for its health.
		w.section("INPUT", pair{"Name", "tcp"}, pair{"Tag", "firelens-healthcheck"}, pair{"Listen", "127.0.0.1"}, pair{"Port", "8877"})
	}
	for _, s := range r.Sources {
		for _, f := range []pair{{optionInclude, "Regex"}, {optionExclude, "Exclude"}} {
			if pattern := s.options[f.key]; pattern != "" {
				w.section("FILTER", pair{"Name", "grep"}, pair{"Match", s.Container + "-firelens*"}, pair{f.value, "log " + pattern})
			}
		}
	}
	if len(records) > 0 {
		lines := []pair{{"Name", "record_modifier"}, {"Match", "*"}}
		for _, p := range records {
			lines = append(lines, pair{"Record", p.key + " " + p.value})
		}
		w.section("FILTER", lines...)
	}
	if r.Include != "" {
		fmt.Fprintf(w, "@INCLUDE %s\n\n", r.Include)
	}
	if listen != "" {
		w.section("OUTPUT", pair{"Name", "null"}, pair{"Match", "firelens-healthcheck"})
	}
	for _, s := range r.Sources {
		if output := s.options["Name"]; output != "" {
			w.section("OUTPUT", append([]pair{{"Name", output}, {"Match", s.Container + "-firelens*"}}, s.output("Name")...)...)
		}
	}
}

func (r *Router) fluentd(w *writer, listen string, records []pair) {
	w.element("source", "", pair{"@type", "unix"}, pair{"path", SocketDir + "/" + SocketName})
	if listen != "" {
		w.element("source", "", pair{"@type", "forward"}, pair{"bind", listen}, pair{"port", Port})
	}
	for _, s := range r.Sources {
		for _, f := range []pair{{optionInclude, "regexp"}, {optionExclude, "exclude"}} {
			if pattern := s.options[f.key]; pattern != "" {
				w.nested("filter", s.Container+"-firelens**", "grep", f.value, pair{"key", "log"}, pair{"pattern", pattern})
			}
		}
	}
	if len(records) > 0 {
		w.nested("filter", "**", "record_transformer", "record", records...)
	}
	if r.Include != "" {
		fmt.Fprintf(w, "@include %s\n\n", r.Include)
	}
	for _, s := range r.Sources {
		if output := s.options["@type"]; output != "" {
			w.element("match", s.Container+"-firelens**", append([]pair{{"@type", output}}, s.output("@type")...)...)
		}
	}
}

// outputOption is the option that names the output.
func (r *Router) outputOption() string {
	if r.Type == types.FirelensConfigurationTypeFluentd {
		return "@type"
	}
	return "Name"
}

// reference is how the configuration names a variable of the router.
func (r *Router) reference(variable string) string {
	if r.Type == types.FirelensConfigurationTypeFluentd {
		return `"#{ENV['` + variable + `']}"`
	}
	return "${" + variable + "}"
}

type pair struct{ key, value string }

// output is what a container says of its output, besides the name.
func (s *Source) output(name string) []pair {
	var pairs []pair
	for _, option := range slices.Sorted(maps.Keys(s.options)) {
		if option != name && option != optionInclude && option != optionExclude {
			pairs = append(pairs, pair{option, s.options[option]})
		}
	}
	return pairs
}

type writer struct{ strings.Builder }

// section writes one of Fluent Bit's classic format.
func (w *writer) section(name string, pairs ...pair) {
	fmt.Fprintf(w, "[%s]\n", name)
	w.pairs("    ", pairs)
	w.WriteByte('\n')
}

// element writes one of Fluentd's.
func (w *writer) element(name, pattern string, pairs ...pair) {
	fmt.Fprintf(w, "<%s>\n", strings.TrimSpace(name+" "+pattern))
	w.pairs("  ", pairs)
	fmt.Fprintf(w, "</%s>\n\n", name)
}

// nested writes one of Fluentd's with one within.
func (w *writer) nested(name, pattern, kind, within string, pairs ...pair) {
	fmt.Fprintf(w, "<%s %s>\n  @type %s\n  <%s>\n", name, pattern, kind, within)
	w.pairs("    ", pairs)
	fmt.Fprintf(w, "  </%s>\n</%s>\n\n", within, name)
}

func (w *writer) pairs(indent string, pairs []pair) {
	for _, p := range pairs {
		fmt.Fprintf(w, "%s%s %s\n", indent, p.key, p.value)
	}
}
