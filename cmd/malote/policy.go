package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/internal/s3file"
)

type policyCommand struct {
	TaskDefinition string `arg:"" name:"taskdef" help:"A task definition file." type:"existingfile"`
	connectFlags   `embed:""`
}

func (policyCommand) Help() string {
	return `For each role that the file names, its trust policy and the least that it must be
allowed, as JSON. Where the stores can be asked, ARNs are exact and kms:Decrypt is
there for customer-managed keys; else patterns stand for what is not known.

    malote policy task.json | jq .execution.PolicyDocument`
}

// rolePolicy is what one role of a task definition needs.
type rolePolicy struct {
	RoleArn                  string
	AssumeRolePolicyDocument document
	// PolicyDocument is nil when the file asks nothing of the role.
	PolicyDocument *document
}

type document struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string            `json:",omitempty"`
	Effect    string            `json:",omitempty"`
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func (c *policyCommand) Run(ctx context.Context, p *program) error {
	definition, err := readDefinition(c.TaskDefinition)
	if err != nil {
		return err
	}
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	policies, err := policiesOf(ctx, cfg, definition)
	if err != nil {
		return err
	}
	if len(policies) == 0 {
		return fmt.Errorf("%s names neither executionRoleArn nor taskRoleArn", c.TaskDefinition)
	}
	out := json.NewEncoder(p.stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(policies)
}

// policiesOf derives the least-privilege policies of the definition's roles, by
// "execution" and "task".
func policiesOf(ctx context.Context, cfg aws.Config, definition *ecs.RegisterTaskDefinitionInput) (map[string]*rolePolicy, error) {
	needs, err := needsOf(definition, cfg.Region)
	if err != nil {
		return nil, err
	}
	account := accountOf(definition)
	policies := map[string]*rolePolicy{}
	for _, role := range []struct {
		name string
		arn  *string
		task bool
	}{{"execution", definition.ExecutionRoleArn, false}, {"task", definition.TaskRoleArn, true}} {
		if role.arn == nil {
			continue
		}
		g := grants{}
		for _, n := range needs {
			if n.task == role.task {
				g.addNeed(ctx, cfg, n, account)
			}
		}
		if !role.task {
			g.addImagesAndLogs(definition, cfg.Region, account)
		}
		policies[role.name] = &rolePolicy{*role.arn, ecsTrust(), g.document()}
	}
	return policies, nil
}

// ecsTrust lets ECS assume a role for a task, and nobody else.
func ecsTrust() document {
	return document{"2012-10-17", []statement{{
		Effect: "Allow", Principal: map[string]string{"Service": "ecs-tasks.amazonaws.com"}, Action: []string{"sts:AssumeRole"},
	}}}
}

// grants collects resources by action.
type grants map[string][]string

func (g grants) allow(action string, resources ...string) {
	g[action] = append(g[action], resources...)
}

// document is nil when nothing was collected.
func (g grants) document() *document {
	d := &document{Version: "2012-10-17"}
	for _, group := range []struct {
		sid     string
		actions []string
	}{
		{"Secrets", []string{"secretsmanager:GetSecretValue"}},
		{"Parameters", []string{"ssm:GetParameters"}},
		{"ParametersByName", []string{"ssm:GetParameter"}},
		{"ParametersByPath", []string{"ssm:GetParametersByPath"}},
		{"Files", []string{"s3:GetObject"}},
		{"Buckets", []string{"s3:GetBucketLocation"}},
		{"Keys", []string{"kms:Decrypt"}},
		{"RegistryLogin", []string{"ecr:GetAuthorizationToken"}},
		{"Images", []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}},
		{"Logs", []string{"logs:CreateLogStream", "logs:PutLogEvents"}},
		{"LogGroups", []string{"logs:CreateLogGroup"}},
	} {
		if resources := g[group.actions[0]]; len(resources) > 0 {
			d.Statement = append(d.Statement, statement{Sid: group.sid, Effect: "Allow", Action: group.actions, Resource: distinct(slices.Clone(resources))})
		}
	}
	if len(d.Statement) == 0 {
		return nil
	}
	return d
}

// addNeed allows what reading n takes, as exactly as the stores tell.
func (g grants) addNeed(ctx context.Context, cfg aws.Config, n need, account string) {
	if n.object != nil {
		g.allow("s3:GetObject", n.object.ARN())
		g.allow("s3:GetBucketLocation", n.object.BucketARN())
		if region, key, err := keyOf(ctx, cfg, n.object); err == nil {
			g.addKey(ctx, cfg, region, key)
		}
		return
	}
	if n.ref.Service == inject.SecretsManager {
		g.addSecret(ctx, cfg, n.ref.ID, n.ref.Region, n.resource(account))
		return
	}
	parameter := n.resource(account)
	if n.path() {
		g.addPath(ctx, cfg, n, parameter)
		return
	}
	g.allow("ssm:GetParameters", parameter)
	if n.task {
		g.allow("ssm:GetParameter", parameter)
	}
	if secret, ok := n.reference(account); ok {
		g.addSecret(ctx, cfg, secret, n.ref.Region, secretPattern(secret))
		return
	}
	client := ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.Region = n.ref.Region })
	out, err := client.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{
		{Key: aws.String("Name"), Option: aws.String("Equals"), Values: []string{parameterName(parameter)}},
	}})
	if err == nil && len(out.Parameters) == 1 && out.Parameters[0].Type == ssmtypes.ParameterTypeSecureString {
		g.addKey(ctx, cfg, n.ref.Region, aws.ToString(out.Parameters[0].KeyId))
	}
}

// keyOf is the KMS key that an object is under, if any, and its region.
func keyOf(ctx context.Context, cfg aws.Config, o *s3file.Object) (region, key string, err error) {
	region, err = inject.BucketRegion(ctx, cfg, o.Bucket)
	if err != nil {
		return "", "", err
	}
	out, err := inject.S3(cfg, region).HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return "", "", err
	}
	return region, aws.ToString(out.SSEKMSKeyId), nil
}

// addPath allows reading all that is below a path, and each of it by itself: a task goes on with the versions
// that it has.
func (g grants) addPath(ctx context.Context, cfg aws.Config, n need, path string) {
	g.allow("ssm:GetParametersByPath", path, path+"/*")
	g.allow("ssm:GetParameters", path+"/*")
	client := ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.Region = n.ref.Region })
	pages := ssm.NewDescribeParametersPaginator(client, pathFilter(path))
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return
		}
		for _, p := range page.Parameters {
			g.addKey(ctx, cfg, n.ref.Region, aws.ToString(p.KeyId))
		}
	}
}

// pathFilter is for what is encrypted below a path, which is given by its ARN.
func pathFilter(path string) *ssm.DescribeParametersInput {
	_, name, _ := strings.Cut(path, ":parameter")
	return &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{
		{Key: aws.String("Path"), Option: aws.String("Recursive"), Values: []string{name}},
		{Key: aws.String("Type"), Values: []string{string(ssmtypes.ParameterTypeSecureString)}},
	}}
}

// addSecret allows reading a secret: by its exact ARN where it can be described.
func (g grants) addSecret(ctx context.Context, cfg aws.Config, id, region, pattern string) {
	client := secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { o.Region = region })
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		g.allow("secretsmanager:GetSecretValue", pattern)
		return
	}
	g.allow("secretsmanager:GetSecretValue", *out.ARN)
	g.addKey(ctx, cfg, region, aws.ToString(out.KmsKeyId))
}

// addKey allows kms:Decrypt under a customer-managed key. AWS's own keys need no
// permission.
func (g grants) addKey(ctx context.Context, cfg aws.Config, region, id string) {
	if id == "" || strings.HasPrefix(id, "alias/aws/") {
		return
	}
	client := kms.NewFromConfig(cfg, func(o *kms.Options) { o.Region = region })
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err == nil && out.KeyMetadata.KeyManager == kmstypes.KeyManagerTypeCustomer {
		g.allow("kms:Decrypt", *out.KeyMetadata.Arn)
	}
}

// addImagesAndLogs allows what ECS needs besides secrets: images of ECR and log groups.
func (g grants) addImagesAndLogs(definition *ecs.RegisterTaskDefinitionInput, region, account string) {
	for _, container := range definition.ContainerDefinitions {
		host, path, _ := strings.Cut(aws.ToString(container.Image), "/")
		if parts := strings.Split(host, "."); len(parts) >= 6 && parts[1] == "dkr" && parts[2] == "ecr" {
			repository, _, _ := strings.Cut(strings.SplitN(path, ":", 2)[0], "@")
			g.allow("ecr:GetAuthorizationToken", "*")
			g.allow("ecr:BatchCheckLayerAvailability", "arn:aws:ecr:"+parts[3]+":"+parts[0]+":repository/"+repository)
		}
		log := container.LogConfiguration
		if log == nil || log.LogDriver != types.LogDriverAwslogs || log.Options["awslogs-group"] == "" {
			continue
		}
		in := region
		if named := log.Options["awslogs-region"]; named != "" {
			in = named
		}
		group := "arn:aws:logs:" + in + ":" + account + ":log-group:" + log.Options["awslogs-group"]
		g.allow("logs:CreateLogStream", group+":*")
		if log.Options["awslogs-create-group"] == "true" {
			g.allow("logs:CreateLogGroup", group+":*")
		}
	}
}
