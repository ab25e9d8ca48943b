// Package functions has the rotation functions of a control plane: what a file says of
// each, by the ARN of a Lambda function, and how each kind is called.
//
// It promises: a function gets credentials of the role that the file names, if that role's
// trust policy lets lambda.amazonaws.com have them, and no other rights. It does not decide
// when a function is called (see service/secretsmanager). The file is described in
// docs/rotation.md.
package functions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/malote/malote/internal/lazyregexp"
)

// Definition is one function: exactly one of Builtin, URL, Command and Image, and what it needs.
type Definition struct {
	Builtin string   // the name of a function that malote has
	URL     string   // an endpoint that takes the event by POST and answers as Lambda does
	Command []string // a program that reads the event from its standard input
	Image   string   // a Lambda function's container image, run as a task

	Role        string            // ARN; of all but a URL, which has credentials of its own
	Environment map[string]string // of a Command or an Image; of a Builtin, its options
	Timeout     time.Duration     // of one step; 0 means DefaultTimeout
}

// DefaultTimeout and MaxTimeout are of one step; the latter is Lambda's.
const (
	DefaultTimeout = time.Minute
	MaxTimeout     = 15 * time.Minute
)

var (
	lambdaARN = lazyregexp.New(`^arn:aws:lambda:[a-z]{2}(-[a-z]+)+-[0-9]+:([0-9]{12}):function:[a-zA-Z0-9_-]{1,64}(:[a-zA-Z0-9$_-]{1,128})?$`)
	roleARN   = lazyregexp.New(`^arn:aws:iam::([0-9]{12}):role/([!-~]{1,510}/)?[a-zA-Z0-9+=,.@_-]{1,64}$`)
	imageName = lazyregexp.New(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,254}$`)
	variable  = lazyregexp.New(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// ParseFile reads a JSON object that maps ARNs to definitions. An error says which function
// and which field is wrong, and what would be right.
func ParseFile(data []byte) (map[string]Definition, error) {
	raw, err := object(data)
	if err != nil {
		return nil, fmt.Errorf("want a JSON object whose names are the ARNs of Lambda functions: %w", err)
	}
	all := make(map[string]Definition, len(raw))
	for _, arn := range slices.Sorted(maps.Keys(raw)) {
		d, err := parseDefinition(arn, raw[arn])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arn, err)
		}
		all[arn] = d
	}
	return all, nil
}

// object reads a JSON object and nothing after it. A name that is there twice is an error:
// else the first would silently not count.
func object(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	first, err := d.Token()
	if err != nil {
		return nil, cmp.Or(noEOF(err), errors.New("it is empty"))
	}
	if first != json.Delim('{') {
		return nil, errors.New("it is no object")
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := token.(string) // the decoder takes no other
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return members, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

var fields = []string{"builtin", "url", "command", "image", "role", "environment", "timeout"}

func parseDefinition(arn string, data json.RawMessage) (d Definition, err error) {
	account := lambdaARN.FindStringSubmatch(arn)
	if account == nil {
		return d, errors.New("want the ARN of a Lambda function: arn:aws:lambda:REGION:ACCOUNT:function:NAME")
	}
	members, err := object(data)
	if err != nil {
		return d, fmt.Errorf("want an object such as {\"builtin\": \"NAME\", \"role\": \"ARN\"}: %w", err)
	}
	var timeout string
	targets := map[string]any{
		"builtin": &d.Builtin, "url": &d.URL, "command": &d.Command, "image": &d.Image,
		"role": &d.Role, "environment": &d.Environment, "timeout": &timeout,
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		target, known := targets[name]
		if !known {
			return d, fmt.Errorf("unknown field %q: the fields are %s", name, strings.Join(fields, ", "))
		}
		if err := json.Unmarshal(members[name], target); err != nil || string(members[name]) == "null" {
			return d, fmt.Errorf("%s: want %s", name, shapes[name])
		}
	}
	if timeout != "" {
		if d.Timeout, err = time.ParseDuration(timeout); err != nil || d.Timeout < time.Second || d.Timeout > MaxTimeout {
			return d, fmt.Errorf("timeout: %q is not a duration from 1s to 15m, such as %s", timeout, shapes["timeout"])
		}
	}
	return d, d.check(account[2])
}

var shapes = map[string]string{
	"builtin": `a name such as "random"`, "url": `a URL such as "https://rotate.example.com/db"`,
	"command": `a list such as ["/usr/local/bin/rotate", "--db"]`, "image": `a name such as "registry.example.com/rotate-db:1"`, "role": `the ARN of a role such as "arn:aws:iam::123456789012:role/rotate"`,
	"environment": `an object such as {"EXCLUDE_CHARACTERS": "/@"}`, "timeout": `"30s"`,
}

// check says what is wrong with a definition of a function of account.
func (d *Definition) check(account string) error {
	kinds := 0
	for _, given := range []bool{d.Builtin != "", d.URL != "", len(d.Command) > 0, d.Image != ""} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return errors.New("want exactly one of builtin, url, command and image")
	}
	if d.URL != "" {
		u, err := url.Parse(d.URL)
		switch {
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
			return fmt.Errorf("url: want %s", shapes["url"])
		case u.User != nil:
			return errors.New("url: it must not hold a password, for it is shown in messages")
		case d.Role != "":
			return errors.New("role: an endpoint behind a url brings credentials of its own; leave role out")
		}
	} else {
		role := roleARN.FindStringSubmatch(d.Role)
		switch {
		case role == nil:
			return fmt.Errorf("role: want %s", shapes["role"])
		case role[1] != account:
			return fmt.Errorf("role: it is of account %s, the function of account %s: want a role of the function's account", role[1], account)
		}
	}
	if len(d.Command) > 0 && !strings.HasPrefix(d.Command[0], "/") {
		return fmt.Errorf("command: %q is no absolute path", d.Command[0])
	}
	if len(d.Environment) > 0 && d.URL != "" {
		return errors.New("environment: an endpoint behind a url has one of its own; leave it out")
	}
	if d.Image != "" && !imageName.MatchString(d.Image) {
		return fmt.Errorf("image: want %s", shapes["image"])
	}
	for name := range d.Environment {
		if !variable.MatchString(name) {
			return fmt.Errorf("environment: %q is no name of a variable", name)
		}
		if slices.Contains(ours, name) || d.Image != "" && oursInImage.MatchString(name) {
			return fmt.Errorf("environment: %s is what malote gives the function; leave it out", name)
		}
	}
	return nil
}

// ours are the variables that a function gets from malote.
var ours = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
}

// oursInImage are those that a function in an image gets besides.
var oursInImage = lazyregexp.New(`^(SECRETS_MANAGER_ENDPOINT|AWS_EXECUTION_ENV|AWS_LAMBDA_FUNCTION_(NAME|VERSION|TIMEOUT)|AWS_LAMBDA_RUNTIME_API|AWS_CONTAINER_.*|ECS_CONTAINER_.*)$`)
