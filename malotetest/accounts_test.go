package malotetest_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secretstypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

// household is one account with one of everything, all called the same.
type household struct {
	t       *testing.T
	account string
	cfg     aws.Config
	secret  string // the value of whatever has one
	keyID   string
}

const sameName = "shop"

func (h *household) fill() {
	t, ctx, name := h.t, h.t.Context(), aws.String(sameName)
	t.Helper()
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("account %s: %v", h.account, err)
		}
	}
	keys := kms.NewFromConfig(h.cfg)
	key, err := keys.CreateKey(ctx, nil)
	fatal(err)
	h.keyID = *key.KeyMetadata.KeyId
	_, err = keys.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/" + sameName), TargetKeyId: &h.keyID})
	fatal(err)
	_, err = secretsmanager.NewFromConfig(h.cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: &h.secret, KmsKeyId: aws.String("alias/" + sameName)})
	fatal(err)
	_, err = ssm.NewFromConfig(h.cfg).PutParameter(ctx, &ssm.PutParameterInput{Name: name, Value: &h.secret, Type: ssmtypes.ParameterTypeSecureString})
	fatal(err)

	people := iam.NewFromConfig(h.cfg)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	_, err = people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: &trust})
	fatal(err)
	_, err = people.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	fatal(err)
	_, err = people.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: name})
	fatal(err)
	_, err = people.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: name, UserName: name})
	fatal(err)
	policy, err := people.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(malotetest.Allow("*", "s3:*"))})
	fatal(err)
	_, err = people.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: policy.Policy.Arn})
	fatal(err)
	_, err = people.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")})
	fatal(err)

	logs := cloudwatchlogs.NewFromConfig(h.cfg)
	_, err = logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: name})
	fatal(err)
	_, err = logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: name, LogStreamName: name})
	fatal(err)
	_, err = logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: name, LogStreamName: name, LogEvents: []logstypes.InputLogEvent{
		{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: aws.String("of " + h.account)},
	}})
	fatal(err)

	// Names of buckets are everybody's.
	_, err = s3.NewFromConfig(h.cfg).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(sameName + "-" + h.account)})
	fatal(err)
	_, err = s3.NewFromConfig(h.cfg).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(sameName + "-" + h.account), Key: name, Body: strings.NewReader(h.secret)})
	fatal(err)

	tasks := ecs.NewFromConfig(h.cfg)
	_, err = tasks.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: name})
	fatal(err)
	_, err = tasks.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: name, TaskRoleArn: name, ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: name, Image: name, Memory: aws.Int32(64)}},
	})
	fatal(err)
	instance, err := tasks.RegisterContainerInstance(ctx, &ecs.RegisterContainerInstanceInput{Cluster: name, TotalResources: []ecstypes.Resource{
		{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: 1024}, {Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: 1024},
	}})
	fatal(err)
	_, err = tasks.StartTask(ctx, &ecs.StartTaskInput{Cluster: name, TaskDefinition: name, ContainerInstances: []string{*instance.ContainerInstance.ContainerInstanceArn}})
	fatal(err)
	_, err = tasks.CreateService(ctx, &ecs.CreateServiceInput{Cluster: name, ServiceName: name, TaskDefinition: name, DesiredCount: aws.Int32(0)})
	fatal(err)
}

// own wants one ARN, or one name, in a list: that of the account's own.
func (h *household) own(what string, err error, found ...string) {
	h.t.Helper()
	switch {
	case err != nil:
		h.t.Errorf("%s of account %s: %v", what, h.account, err)
	case len(found) != 1 || !strings.Contains(found[0], h.account):
		h.t.Errorf("%s of account %s: %q, want its own", what, h.account, found)
	}
}

func each[T any](list []T, arn func(*T) *string) (found []string) {
	for i := range list {
		found = append(found, aws.ToString(arn(&list[i])))
	}
	return found
}

// look lists and gets everything by the names that the other account has, too.
func (h *household) look() {
	t, ctx, name := h.t, h.t.Context(), aws.String(sameName)
	t.Helper()
	own := h.own
	value := func(what string, got *string, err error) {
		t.Helper()
		if err != nil || *got != h.secret {
			t.Errorf("%s of account %s is not its own: %v", what, h.account, err)
		}
	}

	secrets := secretsmanager.NewFromConfig(h.cfg)
	listed, err := secrets.ListSecrets(ctx, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)})
	own("ListSecrets", err, each(listed.SecretList, func(s *secretstypes.SecretListEntry) *string { return s.ARN })...)
	secret, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name})
	value("GetSecretValue", secret.SecretString, err)
	batch, err := secrets.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{Filters: []secretstypes.Filter{{Key: "name", Values: []string{sameName}}}})
	own("BatchGetSecretValue", err, each(batch.SecretValues, func(s *secretstypes.SecretValueEntry) *string { return s.ARN })...)

	parameters := ssm.NewFromConfig(h.cfg)
	described, err := parameters.DescribeParameters(ctx, nil)
	own("DescribeParameters", err, each(described.Parameters, func(p *ssmtypes.ParameterMetadata) *string { return p.ARN })...)
	path, err := parameters.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/"), Recursive: aws.Bool(true), WithDecryption: aws.Bool(true)})
	own("GetParametersByPath", err, each(path.Parameters, func(p *ssmtypes.Parameter) *string { return p.ARN })...)
	parameter, err := parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: name, WithDecryption: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	value("GetParameter", parameter.Parameter.Value, err)
	shared, err := parameters.DescribeParameters(ctx, &ssm.DescribeParametersInput{Shared: aws.Bool(true)})
	if err != nil || len(shared.Parameters) != 0 {
		t.Errorf("parameters shared with account %s: %v, %v", h.account, shared, err)
	}

	// A key of its own, and AWS's for its parameters.
	keys := kms.NewFromConfig(h.cfg)
	everyKey, err := keys.ListKeys(ctx, nil)
	if err != nil || len(everyKey.Keys) != 2 {
		t.Errorf("ListKeys of account %s: %v, %v", h.account, everyKey, err)
	}
	for _, key := range everyKey.Keys {
		own("ListKeys", err, *key.KeyArn)
	}
	aliases, err := keys.ListAliases(ctx, nil)
	own("ListAliases", err, each(slices.DeleteFunc(aliases.Aliases, func(a kmstypes.AliasListEntry) bool { return strings.HasPrefix(*a.AliasName, "alias/aws/") }), func(a *kmstypes.AliasListEntry) *string { return a.AliasArn })...)
	key, err := keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/" + sameName)})
	if err != nil || *key.KeyMetadata.KeyId != h.keyID || *key.KeyMetadata.AWSAccountId != h.account {
		t.Errorf("DescribeKey of account %s: %v, %v", h.account, key, err)
	}

	people := iam.NewFromConfig(h.cfg)
	roles, err := people.ListRoles(ctx, nil)
	own("ListRoles", err, each(roles.Roles, func(r *iamtypes.Role) *string { return r.Arn })...)
	users, err := people.ListUsers(ctx, nil)
	own("ListUsers", err, each(slices.DeleteFunc(users.Users, func(u iamtypes.User) bool { return *u.UserName == "admin" }), func(u *iamtypes.User) *string { return u.Arn })...)
	groups, err := people.ListGroups(ctx, nil)
	own("ListGroups", err, each(groups.Groups, func(g *iamtypes.Group) *string { return g.Arn })...)
	members, err := people.GetGroup(ctx, &iam.GetGroupInput{GroupName: name})
	own("GetGroup", err, each(members.Users, func(u *iamtypes.User) *string { return u.Arn })...)
	policies, err := people.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: iamtypes.PolicyScopeTypeLocal})
	own("ListPolicies", err, each(policies.Policies, func(p *iamtypes.Policy) *string { return p.Arn })...)
	role, err := people.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	if err != nil {
		t.Fatal(err)
	}
	own("GetRole", err, *role.Role.Arn)
	// AWS's own policies are in every account, and who has them is each one's own.
	entities, err := people.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")})
	if err != nil || len(entities.PolicyRoles) != 1 || *entities.PolicyRoles[0].RoleId != *role.Role.RoleId {
		t.Errorf("ListEntitiesForPolicy of account %s: %v, %v", h.account, entities, err)
	}
	awsPolicy, err := people.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")})
	if err != nil || *awsPolicy.Policy.AttachmentCount != 1 {
		t.Errorf("GetPolicy of account %s: %v, %v", h.account, awsPolicy, err)
	}

	logs := cloudwatchlogs.NewFromConfig(h.cfg)
	logGroups, err := logs.DescribeLogGroups(ctx, nil)
	own("DescribeLogGroups", err, each(logGroups.LogGroups, func(g *logstypes.LogGroup) *string { return g.LogGroupArn })...)
	streams, err := logs.DescribeLogStreams(ctx, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: name})
	own("DescribeLogStreams", err, each(streams.LogStreams, func(s *logstypes.LogStream) *string { return s.Arn })...)
	events, err := logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: name, LogStreamName: name, StartFromHead: aws.Bool(true)})
	own("GetLogEvents", err, each(events.Events, func(e *logstypes.OutputLogEvent) *string { return e.Message })...)
	filtered, err := logs.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: name})
	own("FilterLogEvents", err, each(filtered.Events, func(e *logstypes.FilteredLogEvent) *string { return e.Message })...)

	buckets := s3.NewFromConfig(h.cfg)
	everyBucket, err := buckets.ListBuckets(ctx, nil)
	own("ListBuckets", err, each(everyBucket.Buckets, func(b *s3types.Bucket) *string { return b.Name })...)

	tasks := ecs.NewFromConfig(h.cfg)
	clusters, err := tasks.ListClusters(ctx, nil)
	own("ListClusters", err, slices.DeleteFunc(clusters.ClusterArns, func(arn string) bool { return strings.HasSuffix(arn, ":cluster/default") })...)
	cluster, err := tasks.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{sameName}})
	if err != nil || len(cluster.Clusters) != 1 || cluster.Clusters[0].RegisteredContainerInstancesCount != 1 || cluster.Clusters[0].ActiveServicesCount != 1 || cluster.Clusters[0].PendingTasksCount != 1 {
		t.Errorf("DescribeClusters of account %s: %v, %v", h.account, cluster, err)
	}
	instances, err := tasks.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: name})
	own("ListContainerInstances", err, instances.ContainerInstanceArns...)
	families, err := tasks.ListTaskDefinitionFamilies(ctx, nil)
	if err != nil || !slices.Equal(families.Families, []string{sameName}) {
		t.Errorf("ListTaskDefinitionFamilies of account %s: %v, %v", h.account, families, err)
	}
	definitions, err := tasks.ListTaskDefinitions(ctx, nil)
	own("ListTaskDefinitions", err, definitions.TaskDefinitionArns...)
	definition, err := tasks.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: name})
	if err != nil {
		t.Fatal(err)
	}
	own("DescribeTaskDefinition", err, *definition.TaskDefinition.TaskDefinitionArn)
	if definition.TaskDefinition.Revision != 1 {
		t.Errorf("account %s has revision %d: the other's are counted", h.account, definition.TaskDefinition.Revision)
	}
	services, err := tasks.ListServices(ctx, &ecs.ListServicesInput{Cluster: name})
	own("ListServices", err, services.ServiceArns...)
	started, err := tasks.ListTasks(ctx, &ecs.ListTasksInput{Cluster: name})
	own("ListTasks", err, started.TaskArns...)
}

// Two accounts call everything the same, and neither sees anything of the other's.
func TestAccountsAreSeparate(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	first := &household{t: t, account: malotetest.Account, cfg: sys.Config(), secret: sys.Canary()}
	second := &household{t: t, account: "210987654321", cfg: sys.Other(t, "210987654321"), secret: sys.Canary()}
	first.fill()
	second.fill()
	first.look()
	second.look()

	// A bucket's name is taken, whoever's it is.
	bucket := aws.String(sameName + "-" + first.account)
	_, err := s3.NewFromConfig(second.cfg).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket})
	wantError(t, "creating the other's bucket", err, "BucketAlreadyExists", "")
	out, err := s3.NewFromConfig(first.cfg).GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String(sameName)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if body, err := io.ReadAll(out.Body); err != nil || string(body) != first.secret {
		t.Errorf("the object of the first account: %d bytes, %v", len(body), err)
	}

	// What one deletes, the other keeps.
	deleted := t.Context()
	if _, err := secretsmanager.NewFromConfig(second.cfg).DeleteSecret(deleted, &secretsmanager.DeleteSecretInput{SecretId: aws.String(sameName), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := ssm.NewFromConfig(second.cfg).DeleteParameter(deleted, &ssm.DeleteParameterInput{Name: aws.String(sameName)}); err != nil {
		t.Fatal(err)
	}
	if _, err := kms.NewFromConfig(second.cfg).DeleteAlias(deleted, &kms.DeleteAliasInput{AliasName: aws.String("alias/" + sameName)}); err != nil {
		t.Fatal(err)
	}
	if _, err := cloudwatchlogs.NewFromConfig(second.cfg).DeleteLogGroup(deleted, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(sameName)}); err != nil {
		t.Fatal(err)
	}
	if _, err := ecs.NewFromConfig(second.cfg).DeregisterTaskDefinition(deleted, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String(sameName + ":1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := iam.NewFromConfig(second.cfg).RemoveUserFromGroup(deleted, &iam.RemoveUserFromGroupInput{GroupName: aws.String(sameName), UserName: aws.String(sameName)}); err != nil {
		t.Fatal(err)
	}
	if _, err := iam.NewFromConfig(second.cfg).DeleteUser(deleted, &iam.DeleteUserInput{UserName: aws.String(sameName)}); err != nil {
		t.Fatal(err)
	}
	first.look()
}

func wantError(t *testing.T, what string, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("%s: %v, want %s: %s", what, err, code, message)
	}
}
