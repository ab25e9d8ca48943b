package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/internal/ourlabels"
	"github.com/malote/malote/internal/s3file"
	"github.com/malote/malote/service/ecs/taskdef"
)

// need is one value that a task definition asks for.
type need struct {
	container string
	as        string // "DB_PASSWORD", "splunk-token (log option)", "registry credentials"
	role      string // ARN, or "" when the definition names none
	task      bool   // by the task role, not the execution role
	registry  bool
	ref       inject.Ref
	expand    *ourlabels.Expansion // it is many variables
	object    *s3file.Object       // a file of S3; ref says no more than its ARN
}

// path reports whether it is all that is below a path.
func (n need) path() bool { return n.expand != nil && n.ref.IsPath() }

// readDefinition reads and validates a task definition file.
func readDefinition(path string) (*ecs.RegisterTaskDefinitionInput, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	definition, err := taskdef.Read(file)
	if err == nil {
		err = taskdef.Validate(definition)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return definition, nil
}

// needsOf lists what the definition's roles must be able to read, in the order of the
// file. Besides secrets, secretOptions and repositoryCredentials it takes an environment
// variable whose value is the ARN of a secret or parameter for something that the
// container reads itself, as AWS's sample sidecar does.
func needsOf(definition *ecs.RegisterTaskDefinitionInput, region string) ([]need, error) {
	var needs []need
	execution, task := aws.ToString(definition.ExecutionRoleArn), aws.ToString(definition.TaskRoleArn)
	for _, container := range definition.ContainerDefinitions {
		name := aws.ToString(container.Name)
		wishes, err := ourlabels.Of(&container)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", name, err)
		}
		add := func(list []types.Secret, suffix string) error {
			for _, secret := range list {
				ref, err := inject.Parse(aws.ToString(secret.ValueFrom), region)
				if err != nil {
					return fmt.Errorf("container %s, %s%s: %w", name, aws.ToString(secret.Name), suffix, err)
				}
				n := need{container: name, as: aws.ToString(secret.Name) + suffix, role: execution, ref: ref}
				if suffix == "" {
					_, n.ref.Optional = wishes.Optional[aws.ToString(secret.Name)]
					n.expand = wishes.Expand[aws.ToString(secret.Name)]
				}
				needs = append(needs, n)
			}
			return nil
		}
		if err := add(container.Secrets, ""); err != nil {
			return nil, err
		}
		if container.LogConfiguration != nil {
			if err := add(container.LogConfiguration.SecretOptions, " (log option)"); err != nil {
				return nil, err
			}
		}
		file := func(value, as string) error {
			object, err := s3file.Parse(value)
			if err != nil {
				return fmt.Errorf("container %s, %s: %w", name, as, err)
			}
			needs = append(needs, need{container: name, as: as, role: execution, ref: inject.Ref{ValueFrom: value, Region: region}, object: &object})
			return nil
		}
		for _, f := range container.EnvironmentFiles {
			if err := file(aws.ToString(f.Value), "environment file"); err != nil {
				return nil, err
			}
		}
		if f := container.FirelensConfiguration; f != nil && f.Options["config-file-type"] == "s3" {
			if err := file(f.Options["config-file-value"], "log router's configuration"); err != nil {
				return nil, err
			}
		}
		if container.RepositoryCredentials != nil {
			id := aws.ToString(container.RepositoryCredentials.CredentialsParameter)
			ref := inject.Ref{ValueFrom: id, Service: inject.SecretsManager, Region: region, ID: id}
			if parsed, err := arn.Parse(id); err == nil {
				ref.Region = parsed.Region
			}
			needs = append(needs, need{container: name, as: "registry credentials", role: execution, registry: true, ref: ref})
		}
		for _, variable := range container.Environment {
			value := aws.ToString(variable.Value)
			if !strings.HasPrefix(value, "arn:") {
				continue
			}
			if ref, err := inject.Parse(value, region); err == nil {
				needs = append(needs, need{container: name, as: aws.ToString(variable.Name) + " (read by the container)", role: task, task: true, ref: ref})
			}
		}
	}
	return needs, nil
}

// resource is the ARN, or the pattern for it, that a policy names for a need. Account
// is that of bare names.
func (n need) resource(account string) string {
	ref := n.ref
	if ref.Service == inject.ParameterStore {
		return parameterARN(ref, account)
	}
	if !strings.HasPrefix(ref.ID, "arn:") {
		return secretPattern("arn:aws:secretsmanager:" + ref.Region + ":" + account + ":secret:" + ref.ID)
	}
	return secretPattern(ref.ID)
}

// secretPattern adds the six random characters to an ARN that has none. A name that
// itself ends in a hyphen and six characters cannot be told from a full ARN: Secrets
// Manager takes it for one, and so does this.
func secretPattern(secret string) string {
	tail := secret[strings.LastIndex(secret, ":")+1:]
	if i := len(tail) - 7; i > 0 && tail[i] == '-' && !strings.ContainsAny(tail[i+1:], "-/_+=.@!") {
		return secret
	}
	return secret + "-??????"
}

func parameterARN(ref inject.Ref, account string) string {
	if parsed, err := arn.Parse(ref.ID); err == nil {
		name, _, _ := strings.Cut(parsed.Resource, ":")
		parsed.Resource = strings.TrimSuffix(name, "/")
		return parsed.String()
	}
	name, _, _ := strings.Cut(ref.ID, ":")
	return "arn:aws:ssm:" + ref.Region + ":" + account + ":parameter/" + strings.Trim(name, "/")
}

// reference is the secret behind /aws/reference/secretsmanager/NAME.
func (n need) reference(account string) (secret string, ok bool) {
	name := n.ref.ID
	if parsed, err := arn.Parse(name); err == nil {
		name = "/" + strings.TrimPrefix(parsed.Resource, "parameter/")
	}
	name, ok = strings.CutPrefix(name, "/aws/reference/secretsmanager/")
	if !ok || n.ref.Service != inject.ParameterStore {
		return "", false
	}
	name, _, _ = strings.Cut(name, ":")
	return "arn:aws:secretsmanager:" + n.ref.Region + ":" + account + ":secret:" + name, true
}

// accountOf is the account that bare names in a definition belong to: its roles' own.
func accountOf(definition *ecs.RegisterTaskDefinitionInput) string {
	for _, role := range []*string{definition.ExecutionRoleArn, definition.TaskRoleArn} {
		if parsed, err := arn.Parse(aws.ToString(role)); err == nil {
			return parsed.AccountID
		}
	}
	return ""
}

// distinct sorts and leaves out what is there twice.
func distinct[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
