// Package firelens is what a task definition says of the log router of its task, and the
// configuration file that the router gets: FireLens, in ECS's word.
//
// It promises: the file is the same for the same task; no value of a secret is in it, but
// the name of a variable that the router has in its environment; and no option of a
// container can add a line or a section to it.
//
// It makes no files and asks for no secret (see engine). It is here, and not there, because
// a task definition is checked when it is registered, where there is no engine.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_firelens.html
package firelens

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/internal/s3file"
)

// Where a router has what ECS gives it.
const (
	SocketDir  = "/var/run"
	SocketName = "fluent.sock"
	Port       = "24224" // of its forward input, in the network modes bridge and awsvpc
)

// Options of firelensConfiguration.
const (
	optionMetadata  = "enable-ecs-log-metadata"
	optionFileType  = "config-file-type"
	optionFileValue = "config-file-value"
)

// Options of a container that uses a router which are not the output's.
const (
	optionBuffer  = "log-driver-buffer-limit"
	optionInclude = "include-pattern"
	optionExclude = "exclude-pattern"
)

// Router is the log router of a task.
type Router struct {
	Container string
	Type      types.FirelensConfigurationType
	Metadata  bool   // records tell of their task
	Include   string // a file that belongs to the configuration: of the image, or ExternalPath
	S3        string // the ARN of the object at ExternalPath; empty: none
	UID, GID  int    // whose its socket's directory is
	Sources   []Source
}

// Source is a container whose log goes to the router.
type Source struct {
	Container string
	BufferMax int  // lines that may wait for the router; 0: no limit of its own
	Waits     bool // it starts after the router and stops before it

	options map[string]string // of the output, with references in the place of secrets
}

// name is a variable's, too: what a shell could not name is fine, a reference's end is not.
var name = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]*$`)

// Uses reports whether a container's log goes to the task's router.
func Uses(def *types.ContainerDefinition) bool {
	return def.LogConfiguration != nil && def.LogConfiguration.LogDriver == types.LogDriverAwsfirelens
}

// Variable is the router's variable with a secret option of the container at an index of the
// task definition.
func Variable(option string, index int) string { return option + "_" + strconv.Itoa(index) }

// Of returns the router of a task with these containers, nil for none, or what is wrong with
// what they say of it.
func Of(defs []types.ContainerDefinition) (*Router, error) {
	var router *types.ContainerDefinition
	used := false
	for i := range defs {
		if defs[i].FirelensConfiguration != nil {
			if router != nil {
				return nil, errors.New("A task definition can have at most one container with a firelensConfiguration object.")
			}
			router = &defs[i]
		}
		used = used || Uses(&defs[i])
	}
	switch {
	case router == nil && used:
		return nil, errors.New("When awsfirelens log driver is specified in log configuration, a firelens configuration object must be configured in one of the containers.")
	case router == nil:
		return nil, nil
	case !used:
		return nil, errors.New("When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver.")
	}
	r := &Router{Container: aws.ToString(router.Name), Type: router.FirelensConfiguration.Type}
	if r.Type != types.FirelensConfigurationTypeFluentbit && r.Type != types.FirelensConfigurationTypeFluentd {
		return nil, fmt.Errorf("Invalid 'type' in the firelensConfiguration of container '%s': '%s'. It must be fluentd or fluentbit.", r.Container, r.Type)
	}
	if Uses(router) {
		return nil, fmt.Errorf("Container '%s' has a firelensConfiguration object and cannot use the log driver awsfirelens itself.", r.Container)
	}
	if err := r.read(router.FirelensConfiguration.Options); err != nil {
		return nil, fmt.Errorf("Invalid 'firelensConfiguration' setting for container '%s'. %w", r.Container, err)
	}
	if err := r.owner(aws.ToString(router.User)); err != nil {
		return nil, err
	}
	for i := range defs {
		if !Uses(&defs[i]) {
			continue
		}
		s, err := r.source(&defs[i], i)
		if err != nil {
			return nil, fmt.Errorf("Invalid 'logConfiguration' setting for container '%s'. %w", aws.ToString(defs[i].Name), err)
		}
		// As on ECS a router that says that it waits for a container has the last word.
		s.Waits = !slices.ContainsFunc(router.DependsOn, func(d types.ContainerDependency) bool {
			return aws.ToString(d.ContainerName) == s.Container
		})
		r.Sources = append(r.Sources, s)
	}
	return r, nil
}

// Source returns what the router knows of a container, nil if its log goes elsewhere. A nil
// router knows none.
func (r *Router) Source(container string) *Source {
	if r == nil {
		return nil
	}
	for i := range r.Sources {
		if r.Sources[i].Container == container {
			return &r.Sources[i]
		}
	}
	return nil
}

// read reads the options of firelensConfiguration.
func (r *Router) read(options map[string]string) error {
	r.Metadata = true
	for _, option := range slices.Sorted(maps.Keys(options)) {
		value := options[option]
		switch option {
		case optionMetadata:
			b, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("The option %s must be true or false.", option)
			}
			r.Metadata = b
		case optionFileType:
			switch value {
			case "file", "s3":
			default:
				return fmt.Errorf("The option %s must be file or s3.", option)
			}
			if options[optionFileValue] == "" {
				return fmt.Errorf("The option %s needs the option %s.", option, optionFileValue)
			}
		case optionFileValue:
			if options[optionFileType] == "" {
				return fmt.Errorf("The option %s needs the option %s.", option, optionFileType)
			}
			if options[optionFileType] == "file" && (!path.IsAbs(value) || unprintable(value)) {
				return fmt.Errorf("The option %s must be the absolute path of a file in the container.", option)
			}
			if ext := strings.ToLower(path.Ext(value)); r.Type == types.FirelensConfigurationTypeFluentbit && (ext == ".yaml" || ext == ".yml") {
				return fmt.Errorf("The option %s names a file in YAML, which Fluent Bit cannot include in a configuration of its classic format.", option)
			}
			if options[optionFileType] == "s3" {
				o, err := s3file.Parse(value)
				if err != nil {
					return fmt.Errorf("The option %s: %w.", option, err)
				}
				r.S3, value = o.ARN(), r.ExternalPath()
			}
			r.Include = value
		default:
			return fmt.Errorf("There is no option '%s'.", option)
		}
	}
	return nil
}

// owner reads the router's user, which must be able to make a socket.
func (r *Router) owner(user string) error {
	who, group, _ := strings.Cut(user, ":")
	if who == "" || who == "root" {
		return nil
	}
	uid, err := strconv.ParseUint(who, 10, 31)
	if err != nil {
		return fmt.Errorf("Invalid 'user' setting for container '%s'. A container with a firelensConfiguration object has a user id, or user and group as UID:GID.", r.Container)
	}
	r.UID = int(uid)
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		r.GID = int(gid)
	}
	return nil
}

// source reads the log configuration of a container that uses the router.
func (r *Router) source(def *types.ContainerDefinition, index int) (Source, error) {
	s := Source{Container: aws.ToString(def.Name), options: map[string]string{}}
	check := func(option string) error {
		if strings.HasPrefix(option, "@") && r.Type == types.FirelensConfigurationTypeFluentd {
			option = option[1:]
		}
		if !name.MatchString(option) {
			return fmt.Errorf("An option of the log driver awsfirelens cannot be called %q.", option)
		}
		return nil
	}
	for _, option := range slices.Sorted(maps.Keys(def.LogConfiguration.Options)) {
		value := def.LogConfiguration.Options[option]
		if option == optionBuffer {
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return s, fmt.Errorf("The option %s must be a number.", option)
			}
			s.BufferMax = int(n)
			continue
		}
		if err := check(option); err != nil {
			return s, err
		}
		if unprintable(value) {
			return s, fmt.Errorf("The value of the option '%s' has a line break or another control character, which the configuration of a log router cannot hold.", option)
		}
		if strings.TrimSpace(value) == "" && r.Type == types.FirelensConfigurationTypeFluentbit {
			return s, fmt.Errorf("The option '%s' has no value, which Fluent Bit does not accept.", option)
		}
		s.options[option] = value
	}
	for _, secret := range def.LogConfiguration.SecretOptions {
		option := aws.ToString(secret.Name)
		if err := check(option); err != nil {
			return s, err
		}
		if option == optionBuffer {
			return s, fmt.Errorf("The option %s cannot be a secret.", option)
		}
		s.options[option] = r.reference(Variable(option, index))
	}
	for option := range s.options {
		if output := r.outputOption(); s.options[output] == "" && option != optionInclude && option != optionExclude {
			return s, fmt.Errorf("missing output key %s which is required for firelens configuration of type %s", output, r.Type)
		}
	}
	return s, nil
}

// unprintable reports whether a value would end its line, or do worse.
func unprintable(value string) bool {
	return strings.ContainsFunc(value, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029'
	})
}
