package logs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dockerOptions are those that Docker itself acts on, whatever the driver.
var dockerOptions = []string{"tag", "labels", "labels-regex", "env", "env-regex", "mode", "max-buffer-size"}

// options are a log configuration's, being read. What has been asked for is known; what
// is left over at the end is refused.
type options struct {
	driver string
	values map[string]string
	known  map[string]bool
	err    error
}

func newOptions(spec Spec) *options {
	o := &options{driver: spec.Driver, values: maps.Clone(spec.Options), known: map[string]bool{}}
	if o.values == nil {
		o.values = map[string]string{}
	}
	for name, value := range spec.Secrets {
		if value != "" { // as ECS: an empty secret leaves the option as it is
			o.values[name] = value
		}
	}
	for _, name := range dockerOptions {
		o.known[name] = true
	}
	return o
}

func (o *options) text(name, otherwise string) string {
	o.known[name] = true
	if value, ok := o.values[name]; ok {
		return value
	}
	return otherwise
}

// fail keeps the first error. It never holds a value, which may be a secret.
func (o *options) fail(name, want string) {
	if o.err == nil {
		o.err = fmt.Errorf("log driver %s: option %s must be %s", o.driver, name, want)
	}
}

func (o *options) bool(name string, otherwise bool) bool {
	text := o.text(name, strconv.FormatBool(otherwise))
	value, err := strconv.ParseBool(text)
	if err != nil {
		o.fail(name, "true or false")
	}
	return value
}

func (o *options) int(name string, otherwise, least, most int) int {
	value, err := strconv.Atoi(o.text(name, strconv.Itoa(otherwise)))
	if err != nil || value < least || value > most {
		o.fail(name, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return value
}

func (o *options) duration(name string, otherwise time.Duration) time.Duration {
	value, err := time.ParseDuration(o.text(name, otherwise.String()))
	if err != nil || value < 0 {
		o.fail(name, "a duration such as 500ms")
	}
	return value
}

func (o *options) finish() error {
	if o.err != nil {
		return o.err
	}
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		if !o.known[name] {
			return fmt.Errorf("unknown log opt '%s' for %s log driver: this engine knows %s", name, o.driver, strings.Join(slices.Sorted(maps.Keys(o.known)), ", "))
		}
	}
	return nil
}

// Check says whether this package forwards for a driver, so that a task can be refused before anything is made.
func Check(driver string) error {
	switch driver {
	case "splunk", "fluentd":
		return nil
	case "":
		return errors.New("logConfiguration has secretOptions and no logDriver")
	}
	return fmt.Errorf("malote does not forward secretOptions for the log driver %s, only for splunk and fluentd: given to Docker they would show in docker inspect", driver)
}
