// Package inject turns the valueFrom of a task definition into the value that a
// container gets: which secret or parameter, which version of it, which key of its JSON.
//
// It promises: each distinct secret is asked for once, every failure is reported
// and not just the first, an error names what to do and never holds a value, and a
// value prints as [sealed] until it is revealed. It reaches secrets through AWS SDK clients
// with the credentials it is given, like anyone. It does not decide whose those are,
// nor what becomes of a value (see engine).
package inject

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// The services that a valueFrom may name.
const (
	SecretsManager = "secretsmanager"
	ParameterStore = "ssm"
)

// A Ref is a valueFrom, understood.
type Ref struct {
	ValueFrom string // as written
	Service   string // SecretsManager or ParameterStore
	Region    string

	// ID is what the service is asked for: a secret's ARN without suffix, or a
	// parameter's name or ARN with its selector if it has one.
	ID string

	JSONKey, VersionStage, VersionID string // of Secrets Manager; empty when not given

	// Optional is for the caller to set: when there is no such secret, version, JSON key or
	// parameter it has no value and that is no failure.
	Optional bool
}

// Parse understands a valueFrom of a task in region, by ECS's rules: a Secrets Manager ARN,
// with or without the suffix ":json-key:version-stage:version-id" whose three
// colons come together or not at all; an ARN of a parameter; or else a
// parameter's name. The error is an *Error.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
func Parse(valueFrom, region string) (Ref, error) {
	ref, err := parse(valueFrom, region)
	if err != nil {
		return Ref{}, &Error{ValueFrom: valueFrom, Err: err}
	}
	return ref, nil
}

func parse(valueFrom, region string) (Ref, error) {
	ref := Ref{ValueFrom: valueFrom, Region: region}
	if !strings.HasPrefix(valueFrom, "arn:") {
		ref.Service, ref.ID = ParameterStore, valueFrom
		return ref, checkParameter(valueFrom)
	}
	parsed, err := arn.Parse(valueFrom)
	if err != nil {
		return Ref{}, errors.New("an invalid ARN format was specified: an ARN has six parts, arn:partition:service:region:account:resource")
	}
	if parsed.Region == "" || parsed.AccountID == "" || parsed.Partition == "" {
		return Ref{}, errors.New("an invalid ARN format was specified: the ARN of a secret or parameter names its partition, Region and account")
	}
	ref.Service, ref.Region = parsed.Service, parsed.Region
	switch parsed.Service {
	case ParameterStore:
		name, ok := strings.CutPrefix(parsed.Resource, "parameter/")
		if !ok {
			return Ref{}, fmt.Errorf("the ARN of a parameter ends in parameter/NAME, not in %q", parsed.Resource)
		}
		if strings.HasPrefix(name, "/") {
			return Ref{}, fmt.Errorf("the ARN of a parameter has one slash after \"parameter\": write parameter/%s", strings.TrimLeft(name, "/"))
		}
		ref.ID = valueFrom
		return ref, checkParameter(name)
	case SecretsManager:
		return ref, ref.parseSecret(parsed)
	}
	return Ref{}, fmt.Errorf("the service in the ARN is %q; a secret comes from %q (Secrets Manager) or %q (Parameter Store)", parsed.Service, SecretsManager, ParameterStore)
}

// invalidSecretARN is AWS's text for it.
const invalidSecretARN = "an invalid ARN format for the AWS Secrets Manager secret was specified. Specify a valid ARN and try again"

func (ref *Ref) parseSecret(parsed arn.ARN) error {
	fields := strings.Split(parsed.Resource, ":")
	if fields[0] != "secret" || len(fields) < 2 || fields[1] == "" {
		return fmt.Errorf("%s: it ends in secret:NAME-AbCdEf, not in %q", invalidSecretARN, parsed.Resource)
	}
	bare := parsed
	bare.Resource = "secret:" + fields[1]
	ref.ID = bare.String()
	switch len(fields) {
	case 2:
	case 3:
		return fmt.Errorf("%s: the suffix has one colon of three; for the JSON key %q write %s:%s::", invalidSecretARN, fields[2], ref.ID, fields[2])
	case 4:
		return fmt.Errorf("%s: the suffix has two colons of three; for the JSON key %q and the stage %q write %s:%s:%s:", invalidSecretARN, fields[2], fields[3], ref.ID, fields[2], fields[3])
	case 5:
		ref.JSONKey, ref.VersionStage, ref.VersionID = fields[2], fields[3], fields[4]
	default:
		return fmt.Errorf("%s: the suffix has %d colons, and three are json-key:version-stage:version-id; a JSON key that contains a colon cannot be referred to", invalidSecretARN, len(fields)-2)
	}
	return nil
}

// checkParameter refuses what no parameter is called, before it fails the nine
// others that are asked for in the same call.
func checkParameter(name string) error {
	base, selector, selected := strings.Cut(name, ":")
	if strings.HasPrefix(base, "/aws/reference/secretsmanager/") {
		// Its selector may be a version id or a stage, and a secret's name has more letters.
		if strings.TrimPrefix(base, "/aws/reference/secretsmanager/") == "" {
			return errors.New("/aws/reference/secretsmanager/ is to be followed by the name of a secret")
		}
		return nil
	}
	if strings.Trim(base, "/") == "" {
		return errors.New("valueFrom is empty; it takes the name or ARN of a parameter, or the ARN of a secret")
	}
	for _, c := range base {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/_.-", c) {
			return fmt.Errorf("a parameter's name has letters, digits and / _ . - alone, so %q cannot be in it; a Secrets Manager secret is referred to by its full ARN", c)
		}
	}
	if selected && (selector == "" || strings.Contains(selector, ":")) {
		return fmt.Errorf("the selector of a parameter is :VERSION or :LABEL, not %q", ":"+selector)
	}
	return nil
}
