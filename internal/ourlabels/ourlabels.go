// Package ourlabels knows the labels of a container (dockerLabels) by which users ask malote
// for what ECS lacks. ECS hands them to Docker and thinks nothing of them, so what has them
// can be registered there as well.
package ourlabels

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"golang.org/x/sys/unix"
)

const (
	Secrets  = "malote.secrets"  // DockerEnv: through Docker's own environment
	Bind     = "malote.bind"     // the host's address where ports are published
	Endpoint = "malote.endpoint" // a variable that has AWS_ENDPOINT_URL's value too
	// RefreshSignal is what the container is sent when files that it shares were refreshed.
	RefreshSignal = "malote.refresh-signal"

	// Each is followed by the name of one of the container's secrets.
	Optional = "malote.optional." // its value when there is no such secret
	Expand   = "malote.expand."   // an Expansion: the secret is many variables

	DockerEnv = "docker-env"

	prefix = "malote."
)

// Wishes is what a container's labels say of its secrets, by their names.
type Wishes struct {
	// Optional is the value of those that may be absent; "" leaves the variable unset.
	Optional map[string]string
	// Expand has those that are many variables.
	Expand map[string]*Expansion
	// Signal is that of RefreshSignal, such as SIGHUP; "": none.
	Signal string
}

// Of reads a container's labels. It refuses one that begins with "malote." and means
// nothing, and one that speaks of a secret that the container does not have.
func Of(def *types.ContainerDefinition) (Wishes, error) {
	w := Wishes{Optional: map[string]string{}, Expand: map[string]*Expansion{}}
	known := func(label, name string) error {
		if slices.ContainsFunc(def.Secrets, func(s types.Secret) bool { return aws.ToString(s.Name) == name }) {
			return nil
		}
		return fmt.Errorf("the label %s speaks of the secret '%s', and the container has none of that name", label, name)
	}
	for _, label := range slices.Sorted(maps.Keys(def.DockerLabels)) {
		value := def.DockerLabels[label]
		optional, isOptional := strings.CutPrefix(label, Optional)
		expand, isExpand := strings.CutPrefix(label, Expand)
		switch {
		case !strings.HasPrefix(label, prefix):
		case label == Bind:
			if _, err := netip.ParseAddr(value); err != nil {
				return w, fmt.Errorf("the label %s is '%s'; it can be an address of the host such as 127.0.0.1", label, value)
			}
		case label == Endpoint:
			if name, err := variable(value); err != nil || name != value {
				return w, fmt.Errorf("the label %s is '%s'; it can be the name of a variable: letters, digits and _, and no digit in front", label, value)
			}
		case label == Secrets:
			if value != DockerEnv {
				return w, fmt.Errorf("the label %s is '%s'; it can be %s", label, value, DockerEnv)
			}
		case label == RefreshSignal:
			var err error
			if w.Signal, err = signalName(value); err != nil {
				return w, fmt.Errorf("the label %s: %w", label, err)
			}
		case isOptional:
			if err := known(label, optional); err != nil {
				return w, err
			}
			w.Optional[optional] = value
		case isExpand:
			if err := known(label, expand); err != nil {
				return w, err
			}
			e, err := parseExpansion(value)
			if err != nil {
				return w, fmt.Errorf("the label %s: %w", label, err)
			}
			w.Expand[expand] = e
		default:
			return w, fmt.Errorf("the label %s is not known to malote. There are %s, %s, %s, %s, %sNAME and %sNAME", label, Secrets, Bind, Endpoint, RefreshSignal, Optional, Expand)
		}
	}
	for name := range w.Expand {
		if w.Optional[name] != "" {
			return w, fmt.Errorf("the labels %s%s and %s%s: many variables have no default; leave the value of the first empty", Optional, name, Expand, name)
		}
	}
	return w, nil
}

// signalName makes SIGHUP of HUP, SIGHUP or 1. It refuses those that no program can take.
func signalName(text string) (string, error) {
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if n, err := strconv.Atoi(text); err == nil {
		name = unix.SignalName(unix.Signal(n))
	}
	switch unix.SignalNum(name) {
	case 0:
		return "", fmt.Errorf("'%s' is no signal; it can be HUP, USR1 and the like", text)
	case unix.SIGKILL, unix.SIGSTOP:
		return "", fmt.Errorf("'%s' ends or halts the container whatever its program does; it can be HUP, USR1 and the like", text)
	}
	return name, nil
}

// An Expansion says which keys of a secret's JSON object, or which parameters below a path,
// become variables, and what those are called.
type Expansion struct {
	Prefix string
	Allow  []string // nil: all
	Upper  bool
}

// parseExpansion reads words in any order: prefix=DB_ allow=username,password upper
func parseExpansion(text string) (*Expansion, error) {
	e := new(Expansion)
	for word := range strings.FieldsSeq(text) {
		key, value, given := strings.Cut(word, "=")
		switch {
		case key == "upper" && !given && !e.Upper:
			e.Upper = true
		case key == "prefix" && value != "" && e.Prefix == "":
			if _, err := variable(value); err != nil {
				return nil, err
			}
			e.Prefix = value
		case key == "allow" && value != "" && e.Allow == nil:
			e.Allow = strings.Split(value, ",")
			if slices.Contains(e.Allow, "") {
				return nil, fmt.Errorf("'%s' has an empty name; names are separated by one comma and no blank", word)
			}
		default:
			return nil, fmt.Errorf("'%s' is not understood; it can be prefix=PREFIX, allow=KEY,KEY and upper, each once, separated by blanks", word)
		}
	}
	return e, nil
}

// Variables returns the variable of each key that is allowed, by key. It refuses when a key that is
// listed is not there, when a name would not be one of a variable, and when two keys would be one variable.
func (e *Expansion) Variables(keys []string) (map[string]string, error) {
	for _, key := range e.Allow {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("it has no %q, which is listed to be allowed", key)
		}
	}
	out, owner := map[string]string{}, map[string]string{}
	for _, key := range slices.Sorted(slices.Values(keys)) {
		if e.Allow != nil && !slices.Contains(e.Allow, key) {
			continue
		}
		name, err := variable(e.Prefix + key)
		if err != nil {
			return nil, err
		}
		if e.Upper {
			name = strings.ToUpper(name)
		}
		if other, taken := owner[name]; taken {
			return nil, fmt.Errorf("its %q and %q would both be the variable %s", other, key, name)
		}
		out[key], owner[name] = name, key
	}
	return out, nil
}

// variable makes of a key the name of a variable: the / of paths, and . and - are _.
func variable(key string) (string, error) {
	name := strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(key)
	if name == "" {
		return "", errors.New(`"" cannot be the name of a variable; choose others with allow=, or a prefix=`)
	}
	for i, c := range []byte(name) {
		if letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'; !letter && (i == 0 || c < '0' || c > '9') {
			return "", fmt.Errorf("%q cannot be the name of a variable: it has letters, digits and _, / . - which become _, and no digit in front; choose others with allow=, or a prefix=", key)
		}
	}
	return name, nil
}
