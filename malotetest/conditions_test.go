package malotetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cloudwatchlogs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/malote/malote/malotetest"
)

// keyed is an action, the condition keys that AWS documents for it with the values that
// they have in a call, and the call. What it answers is of no interest unless it is a
// denial, which comes before everything else.
type keyed struct {
	action string
	keys   map[string]string
	call   func(ctx context.Context, as aws.Config) error
}

// Every condition key that the Service Authorization Reference lists for an operation, and
// that this malote gives, has its value: a Deny that asks for it denies, and an Allow that
// asks for all of them allows. See docs/condition-keys.md for those it does not give.
//
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
func TestConditionKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin := t.Context(), sys.Config()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	people := iam.NewFromConfig(admin)
	arn := func(service, rest string) string {
		return "arn:aws:" + service + ":" + malotetest.Region + ":" + malotetest.Account + ":" + rest
	}
	yes, str := aws.Bool(true), aws.String
	blue := map[string]string{"aws:RequestTag/team": "blue", "aws:TagKeys": "team"}
	with := func(keys ...any) map[string]string {
		all := map[string]string{}
		for i := 0; i < len(keys); i++ {
			if more, ok := keys[i].(map[string]string); ok {
				maps.Copy(all, more)
				continue
			}
			all[keys[i].(string)] = keys[i+1].(string)
			i++
		}
		return all
	}

	// What the calls are about.
	key, err := kms.NewFromConfig(admin).CreateKey(ctx, &kms.CreateKeyInput{Tags: []kmstypes.Tag{{TagKey: str("team"), TagValue: str("blue")}}})
	must(err)
	keyID, keyARN := key.KeyMetadata.KeyId, *key.KeyMetadata.Arn
	storage := &ecstypes.ClusterConfiguration{ManagedStorageConfiguration: &ecstypes.ManagedStorageConfiguration{FargateEphemeralStorageKmsKeyId: &keyARN}}
	_, err = kms.NewFromConfig(admin).CreateAlias(ctx, &kms.CreateAliasInput{AliasName: str("alias/team"), TargetKeyId: keyID})
	must(err)
	secret, err := secretsmanager.NewFromConfig(admin).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: str("there"), SecretString: str(sys.Canary()), KmsKeyId: &keyARN, Tags: []smtypes.Tag{{Key: str("team"), Value: str("blue")}},
	})
	must(err)
	_, err = ssm.NewFromConfig(admin).PutParameter(ctx, &ssm.PutParameterInput{
		Name: str("/team/there"), Value: str("x"), Type: ssmtypes.ParameterTypeString, Tags: []ssmtypes.Tag{{Key: str("team"), Value: str("blue")}},
	})
	must(err)
	_, err = s3.NewFromConfig(admin, pathStyle).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: str("team-bucket"), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{Tags: []s3types.Tag{{Key: str("team"), Value: str("blue")}}}})
	must(err)
	_, err = s3.NewFromConfig(admin, pathStyle).PutObject(ctx, &s3.PutObjectInput{Bucket: str("team-bucket"), Key: str("there"), Body: strings.NewReader("x"), Tagging: str("team=blue")})
	must(err)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + malotetest.Account + `:root"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]},
		{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	role, err := people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: str("team-role"), AssumeRolePolicyDocument: &trust, Tags: []iamtypes.Tag{{Key: str("team"), Value: str("blue")}}})
	must(err)
	_, err = ecs.NewFromConfig(admin).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: str("team")})
	must(err)
	definition := func() *ecs.RegisterTaskDefinitionInput {
		return &ecs.RegisterTaskDefinitionInput{
			Family: str("team"), Cpu: str("256"), Memory: str("512"), RequiresCompatibilities: []ecstypes.Compatibility{"EC2"}, ExecutionRoleArn: role.Role.Arn,
			ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: str("app"), Image: str("app"), Privileged: yes}}, Tags: []ecstypes.Tag{{Key: str("team"), Value: str("blue")}},
		}
	}
	_, err = ecs.NewFromConfig(admin).RegisterTaskDefinition(ctx, definition())
	must(err)
	cluster := arn("ecs", "cluster/team")
	const readOnly = "arn:aws:iam::aws:policy/ReadOnlyAccess"

	rows := []keyed{
		{"secretsmanager:CreateSecret", with("secretsmanager:Name", "made", "secretsmanager:Description", "d", "secretsmanager:KmsKeyId", keyARN, "secretsmanager:KmsKeyArn", keyARN,
			"secretsmanager:AddReplicaRegions", "eu-west-1", "secretsmanager:ForceOverwriteReplicaSecret", "true", blue), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: str("made"), Description: str("d"), KmsKeyId: &keyARN, SecretString: str("x"),
				AddReplicaRegions: []smtypes.ReplicaRegionType{{Region: str("eu-west-1")}}, ForceOverwriteReplicaSecret: true, Tags: []smtypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"secretsmanager:GetSecretValue", with("secretsmanager:SecretId", *secret.ARN, "secretsmanager:VersionStage", "AWSCURRENT", "secretsmanager:VersionId", *secret.VersionId,
			"secretsmanager:ResourceTag/team", "blue", "aws:ResourceTag/team", "blue", "secretsmanager:SecretPrimaryRegion", malotetest.Region, "aws:ResourceAccount", malotetest.Account), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: str("there"), VersionStage: str("AWSCURRENT"), VersionId: secret.VersionId})
			return err
		}},
		{"kms:Decrypt", with("kms:ViaService", "secretsmanager.us-east-1.amazonaws.com", "aws:CalledVia", "secretsmanager.amazonaws.com", "aws:CalledViaFirst", "secretsmanager.amazonaws.com",
			"aws:CalledViaLast", "secretsmanager.amazonaws.com", "aws:ViaAWSService", "true", "kms:EncryptionContext:SecretARN", *secret.ARN, "kms:EncryptionContextKeys", "SecretVersionId", "kms:CallerAccount", malotetest.Account),
			func(ctx context.Context, as aws.Config) error {
				_, err := secretsmanager.NewFromConfig(as).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: str("there")})
				return err
			}},
		{"secretsmanager:UpdateSecret", with("secretsmanager:SecretId", *secret.ARN, "secretsmanager:Description", "e", "secretsmanager:KmsKeyId", keyARN, "secretsmanager:KmsKeyArn", keyARN), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: str("there"), Description: str("e"), KmsKeyId: &keyARN})
			return err
		}},
		{"secretsmanager:UpdateSecretVersionStage", with("secretsmanager:SecretId", *secret.ARN, "secretsmanager:VersionStage", "MINE"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: str("there"), VersionStage: str("MINE"), MoveToVersionId: secret.VersionId})
			return err
		}},
		{"secretsmanager:RotateSecret", with("secretsmanager:RotationLambdaARN", arn("lambda", "function:f"), "secretsmanager:RotateImmediately", "false", "secretsmanager:ModifyRotationRules", "true"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: str("there"), RotationLambdaARN: str(arn("lambda", "function:f")), RotateImmediately: aws.Bool(false),
				RotationRules: &smtypes.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
			return err
		}},
		{"secretsmanager:PutResourcePolicy", with("secretsmanager:BlockPublicPolicy", "true", "secretsmanager:SecretId", *secret.ARN), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: str("there"), BlockPublicPolicy: yes, ResourcePolicy: str("{}")})
			return err
		}},
		{"secretsmanager:ReplicateSecretToRegions", with("secretsmanager:AddReplicaRegions", "eu-west-1", "secretsmanager:ForceOverwriteReplicaSecret", "false"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).ReplicateSecretToRegions(ctx, &secretsmanager.ReplicateSecretToRegionsInput{SecretId: str("there"), AddReplicaRegions: []smtypes.ReplicaRegionType{{Region: str("eu-west-1")}}})
			return err
		}},
		{"secretsmanager:TagResource", with("secretsmanager:ResourceTag/team", "blue", blue), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: str("there"), Tags: []smtypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"secretsmanager:UntagResource", with("aws:TagKeys", "other"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: str("there"), TagKeys: []string{"other"}})
			return err
		}},
		{"secretsmanager:DeleteSecret", with("secretsmanager:RecoveryWindowInDays", "7"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: str("made"), RecoveryWindowInDays: aws.Int64(7)})
			return err
		}},
		{"secretsmanager:DeleteSecret", with("secretsmanager:ForceDeleteWithoutRecovery", "true"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as).DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: str("made"), ForceDeleteWithoutRecovery: yes})
			return err
		}},

		{"ssm:PutParameter", with("ssm:Overwrite", "false", "ssm:Policies", "*NoChangeNotification*", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ssm.NewFromConfig(as).PutParameter(ctx, &ssm.PutParameterInput{Name: str("/team/made"), Value: str("x"), Type: ssmtypes.ParameterTypeString, Tier: ssmtypes.ParameterTierAdvanced,
				Policies: str(`[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"20","Unit":"Days"}}]`), Tags: []ssmtypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"ssm:GetParameter", with("aws:ResourceTag/team", "blue", "ssm:resourceTag/team", "blue"), func(ctx context.Context, as aws.Config) error {
			_, err := ssm.NewFromConfig(as).GetParameter(ctx, &ssm.GetParameterInput{Name: str("/team/there")})
			return err
		}},
		{"ssm:GetParametersByPath", with("ssm:Recursive", "true"), func(ctx context.Context, as aws.Config) error {
			_, err := ssm.NewFromConfig(as).GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: str("/team"), Recursive: yes})
			return err
		}},
		{"ssm:AddTagsToResource", with("aws:ResourceTag/team", "blue", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ssm.NewFromConfig(as).AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: str("/team/there"), Tags: []ssmtypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},

		{"kms:CreateKey", with("kms:KeySpec", "SYMMETRIC_DEFAULT", "kms:KeyUsage", "ENCRYPT_DECRYPT", "kms:KeyOrigin", "AWS_KMS", "kms:MultiRegion", "true", "kms:MultiRegionKeyType", "PRIMARY", "kms:BypassPolicyLockoutSafetyCheck", "false", blue), func(ctx context.Context, as aws.Config) error {
			_, err := kms.NewFromConfig(as).CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: yes, KeySpec: kmstypes.KeySpecSymmetricDefault, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt, Tags: []kmstypes.Tag{{TagKey: str("team"), TagValue: str("blue")}}})
			return err
		}},
		{"kms:Encrypt", with("kms:EncryptionContext:app", "shop", "kms:EncryptionContextKeys", "app", "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT", "kms:RequestAlias", "alias/team", "kms:ResourceAliases", "alias/team",
			"kms:KeySpec", "SYMMETRIC_DEFAULT", "kms:KeyUsage", "ENCRYPT_DECRYPT", "kms:KeyOrigin", "AWS_KMS", "kms:MultiRegion", "false", "kms:CallerAccount", malotetest.Account, "aws:ResourceTag/team", "blue", "aws:ResourceAccount", malotetest.Account), func(ctx context.Context, as aws.Config) error {
			_, err := kms.NewFromConfig(as).Encrypt(ctx, &kms.EncryptInput{KeyId: str("alias/team"), Plaintext: []byte("x"), EncryptionContext: map[string]string{"app": "shop"}})
			return err
		}},
		{"kms:CreateGrant", with("kms:GrantOperations", "Decrypt", "kms:GranteePrincipal", *role.Role.Arn, "kms:RetiringPrincipal", *role.Role.Arn, "kms:GrantConstraintType", "EncryptionContextSubset", "kms:GrantIsForAWSResource", "false"), func(ctx context.Context, as aws.Config) error {
			_, err := kms.NewFromConfig(as).CreateGrant(ctx, &kms.CreateGrantInput{KeyId: keyID, GranteePrincipal: role.Role.Arn, RetiringPrincipal: role.Role.Arn, Operations: []kmstypes.GrantOperation{"Decrypt"},
				Constraints: &kmstypes.GrantConstraints{EncryptionContextSubset: map[string]string{"app": "shop"}}})
			return err
		}},
		{"kms:EnableKeyRotation", with("kms:RotationPeriodInDays", "100"), func(ctx context.Context, as aws.Config) error {
			_, err := kms.NewFromConfig(as).EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: keyID, RotationPeriodInDays: aws.Int32(100)})
			return err
		}},
		{"kms:PutKeyPolicy", with("kms:BypassPolicyLockoutSafetyCheck", "true"), func(ctx context.Context, as aws.Config) error {
			_, err := kms.NewFromConfig(as).PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: keyID, Policy: str("{}"), BypassPolicyLockoutSafetyCheck: true})
			return err
		}},
		{"kms:ScheduleKeyDeletion", with("kms:ScheduleKeyDeletionPendingWindowInDays", "40"), func(ctx context.Context, as aws.Config) error {
			_, err := kms.NewFromConfig(as).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: keyID, PendingWindowInDays: aws.Int32(40)})
			return err // which is too long
		}},

		{"ecs:RegisterTaskDefinition", with("ecs:privileged", "true", "ecs:task-cpu", "256", "ecs:task-memory", "512", "ecs:compute-compatibility", "EC2", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).RegisterTaskDefinition(ctx, definition())
			return err
		}},
		{"iam:PassRole", with("iam:PassedToService", "ecs-tasks.amazonaws.com"), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).RegisterTaskDefinition(ctx, definition())
			return err
		}},
		{"ecs:RunTask", with("ecs:cluster", cluster, "ecs:enable-execute-command", "true", "ecs:enable-ecs-managed-tags", "true", "ecs:enable-ebs-volumes", "false", "ecs:propagate-tags", "TASK_DEFINITION", "aws:ResourceTag/team", "blue", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).RunTask(ctx, &ecs.RunTaskInput{Cluster: str("team"), TaskDefinition: str("team"), EnableExecuteCommand: true, EnableECSManagedTags: true, PropagateTags: "TASK_DEFINITION", Tags: []ecstypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"ecs:RunTask", with("ecs:capacity-provider", "FARGATE", "ecs:subnet", "subnet-1", "ecs:auto-assign-public-ip", "true"), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).RunTask(ctx, &ecs.RunTaskInput{Cluster: str("team"), TaskDefinition: str("team"), CapacityProviderStrategy: []ecstypes.CapacityProviderStrategyItem{{CapacityProvider: str("FARGATE"), Weight: 1}},
				NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-1"}, AssignPublicIp: "ENABLED"}}})
			return err
		}},
		{"ecs:StartTask", with("ecs:cluster", cluster, "ecs:container-instances", "arn:*:container-instance/team/00000000000000000000000000000000", "ecs:enable-execute-command", "true", "ecs:enable-ecs-managed-tags", "false", "ecs:enable-ebs-volumes", "false"), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).StartTask(ctx, &ecs.StartTaskInput{Cluster: str("team"), TaskDefinition: str("team"), ContainerInstances: []string{"00000000000000000000000000000000"}, EnableExecuteCommand: true})
			return err
		}},
		{"ecs:CreateService", with("ecs:cluster", cluster, "ecs:task-definition", "arn:*:task-definition/team:*", "ecs:task-cpu", "256", "ecs:task-memory", "512", "ecs:enable-execute-command", "true", "ecs:enable-ecs-managed-tags", "true",
			"ecs:enable-ebs-volumes", "false", "ecs:enable-service-connect", "false", "ecs:propagate-tags", "SERVICE", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).CreateService(ctx, &ecs.CreateServiceInput{Cluster: str("team"), ServiceName: str("web"), TaskDefinition: str("team"), DesiredCount: aws.Int32(0), EnableExecuteCommand: true, EnableECSManagedTags: true,
				PropagateTags: "SERVICE", Tags: []ecstypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"ecs:UpdateService", with("ecs:cluster", cluster, "ecs:task-definition", "arn:*:task-definition/team:*", "ecs:enable-execute-command", "false", "ecs:enable-ecs-managed-tags", "false", "ecs:propagate-tags", "NONE", "aws:ResourceTag/team", "blue"), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: str("team"), Service: str("web"), TaskDefinition: str("team"), EnableExecuteCommand: aws.Bool(false), EnableECSManagedTags: aws.Bool(false), PropagateTags: "NONE"})
			return err
		}},
		{"ecs:TagResource", with("ecs:CreateAction", "CreateCluster", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: str("made"), Tags: []ecstypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"ecs:CreateCluster", with("ecs:fargate-ephemeral-storage-kms-key", keyARN, "ecs:capacity-provider", "FARGATE", blue), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: str("sealed"), Configuration: storage, CapacityProviders: []string{"FARGATE"}, Tags: []ecstypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"ecs:UpdateCluster", with("ecs:fargate-ephemeral-storage-kms-key", keyARN, "ecs:cluster", cluster), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).UpdateCluster(ctx, &ecs.UpdateClusterInput{Cluster: str("team"), Configuration: storage})
			return err
		}},
		{"ecs:ListTasks", with("ecs:cluster", cluster), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).ListTasks(ctx, &ecs.ListTasksInput{Cluster: str("team")})
			return err
		}},
		{"ecs:DescribeTasks", with("ecs:cluster", cluster), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: str("team"), Tasks: []string{"00000000000000000000000000000000"}})
			return err
		}},
		{"ecs:StopTask", with("ecs:cluster", cluster), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).StopTask(ctx, &ecs.StopTaskInput{Cluster: str("team"), Task: str("00000000000000000000000000000000")})
			return err
		}},
		{"ecs:PutAccountSetting", with("ecs:account-setting", "containerInsights"), func(ctx context.Context, as aws.Config) error {
			_, err := ecs.NewFromConfig(as).PutAccountSetting(ctx, &ecs.PutAccountSettingInput{Name: "containerInsights", Value: str("disabled")})
			return err
		}},

		{"s3:PutObject", with("s3:x-amz-storage-class", "STANDARD", "s3:x-amz-server-side-encryption", "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id", keyARN, "s3:RequestObjectTag/team", "blue", "s3:RequestObjectTagKeys", "team",
			"s3:authType", "REST-HEADER", "s3:signatureversion", "AWS4-HMAC-SHA256", "s3:x-amz-content-sha256", "*", "s3:if-none-match", "*", "s3:ResourceAccount", malotetest.Account, "s3:BucketTag/team", "blue", "aws:Referer", "https://example.com/"),
			func(ctx context.Context, as aws.Config) error {
				_, err := s3.NewFromConfig(as, refer).PutObject(ctx, &s3.PutObjectInput{Bucket: str("team-bucket"), Key: str("made"), Body: strings.NewReader("x"), ServerSideEncryption: "aws:kms", SSEKMSKeyId: &keyARN, Tagging: str("team=blue"), IfNoneMatch: str("*")})
				return err
			}},
		{"s3:PutObject", with("s3:if-match", `"0"`), func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).PutObject(ctx, &s3.PutObjectInput{Bucket: str("team-bucket"), Key: str("there"), Body: strings.NewReader("x"), IfMatch: str(`"0"`)})
			return err
		}},
		{"s3:GetObject", with("s3:ExistingObjectTag/team", "blue"), func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).GetObject(ctx, &s3.GetObjectInput{Bucket: str("team-bucket"), Key: str("there")})
			return err
		}},
		{"s3:GetObjectVersion", with("s3:versionid", "null"), func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).GetObject(ctx, &s3.GetObjectInput{Bucket: str("team-bucket"), Key: str("there"), VersionId: str("null")})
			return err
		}},
		{"s3:PutObject", with("s3:x-amz-copy-source", "team-bucket/there", "s3:x-amz-metadata-directive", "COPY"), func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).CopyObject(ctx, &s3.CopyObjectInput{Bucket: str("team-bucket"), Key: str("copy"), CopySource: str("team-bucket/there"), MetadataDirective: "COPY"})
			return err
		}},
		{"s3:ListBucket", with("s3:prefix", "th", "s3:delimiter", "/", "s3:max-keys", "7"), func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: str("team-bucket"), Prefix: str("th"), Delimiter: str("/"), MaxKeys: aws.Int32(7)})
			return err
		}},
		{"s3:CreateBucket", with("s3:x-amz-object-ownership", "BucketOwnerEnforced", blue), func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: str("team-made"), ObjectOwnership: "BucketOwnerEnforced", CreateBucketConfiguration: &s3types.CreateBucketConfiguration{Tags: []s3types.Tag{{Key: str("team"), Value: str("blue")}}}})
			return err
		}},
		{"s3:TagResource", blue, func(ctx context.Context, as aws.Config) error {
			_, err := s3.NewFromConfig(as, pathStyle).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: str("team-more"), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{Tags: []s3types.Tag{{Key: str("team"), Value: str("blue")}}}})
			return err
		}},

		{"iam:AttachUserPolicy", with("iam:PolicyARN", readOnly), func(ctx context.Context, as aws.Config) error {
			_, err := iam.NewFromConfig(as).AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: str("admin"), PolicyArn: str(readOnly)})
			return err
		}},
		{"iam:CreateRole", with("iam:PermissionsBoundary", readOnly, blue), func(ctx context.Context, as aws.Config) error {
			_, err := iam.NewFromConfig(as).CreateRole(ctx, &iam.CreateRoleInput{RoleName: str("made"), AssumeRolePolicyDocument: &trust, PermissionsBoundary: str(readOnly), Tags: []iamtypes.Tag{{Key: str("team"), Value: str("blue")}}})
			return err
		}},
		{"iam:GetRole", with("iam:ResourceTag/team", "blue", "aws:ResourceTag/team", "blue"), func(ctx context.Context, as aws.Config) error {
			_, err := iam.NewFromConfig(as).GetRole(ctx, &iam.GetRoleInput{RoleName: str("team-role")})
			return err
		}},

		{"sts:AssumeRole", with("sts:RoleSessionName", "s1", "sts:ExternalId", "outside", "sts:SourceIdentity", "alice", "sts:TransitiveTagKeys", "team", "iam:ResourceTag/team", "blue", "aws:ResourceTag/team", "blue", blue), func(ctx context.Context, as aws.Config) error {
			_, err := sts.NewFromConfig(as).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: str("s1"), ExternalId: str("outside"), SourceIdentity: str("alice"),
				Tags: []ststypes.Tag{{Key: str("team"), Value: str("blue")}}, TransitiveTagKeys: []string{"team"}})
			return err
		}},

		{"logs:CreateLogGroup", blue, func(ctx context.Context, as aws.Config) error {
			_, err := cloudwatchlogs.NewFromConfig(as).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: str("/team"), Tags: map[string]string{"team": "blue"}})
			return err
		}},

		{"secretsmanager:ListSecrets", with("aws:PrincipalArn", "arn:aws:iam::"+malotetest.Account+":user/row*", "aws:PrincipalAccount", malotetest.Account, "aws:PrincipalType", "User", "aws:userid", "AIDA*", "aws:username", "row*",
			"aws:PrincipalTag/team", "blue", "aws:SourceIp", "127.0.0.1", "aws:SecureTransport", "false", "aws:CurrentTime", "2*T*Z", "aws:EpochTime", "1*", "aws:ViaAWSService", "false", "aws:UserAgent", "aws-sdk-go-v2*",
			"aws:RequestedRegion", malotetest.Region, "aws:PrincipalIsAWSService", "false", "aws:Referer", "https://example.com/"), func(ctx context.Context, as aws.Config) error {
			_, err := secretsmanager.NewFromConfig(as, func(o *secretsmanager.Options) { o.HTTPClient = referring{o.HTTPClient} }).ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
			return err
		}},
	}
	given := 0
	for i, row := range rows {
		t.Run(fmt.Sprintf("%d/%s", i, row.action), func(t *testing.T) {
			name := fmt.Sprintf("row%d", i)
			as := sys.User(t, name, "")
			if _, err := people.TagUser(ctx, &iam.TagUserInput{UserName: &name, Tags: []iamtypes.Tag{{Key: str("team"), Value: str("blue")}}}); err != nil {
				t.Fatal(err)
			}
			may := func(statements ...map[string]any) {
				t.Helper()
				text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := people.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: str("row"), PolicyDocument: str(string(text))}); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range slices.Sorted(maps.Keys(row.keys)) {
				given++
				may(map[string]any{"Effect": "Allow", "Action": "*", "Resource": "*"},
					map[string]any{"Effect": "Deny", "Action": row.action, "Resource": "*", "Condition": map[string]any{"ForAnyValue:StringLike": map[string]string{key: row.keys[key]}}})
				if err := row.call(ctx, as); !refused(err) {
					t.Errorf("a Deny for %s = %s did not deny: %v", key, row.keys[key], err)
				}
			}
			may(map[string]any{"Effect": "Allow", "NotAction": row.action, "Resource": "*"},
				map[string]any{"Effect": "Allow", "Action": row.action, "Resource": "*", "Condition": map[string]any{"ForAnyValue:StringLike": row.keys}})
			if err := row.call(ctx, as); refused(err) {
				t.Errorf("an Allow for %v did not allow: %v", row.keys, err)
			}
		})
	}
	if given < 150 {
		t.Errorf("%d keys were asked for", given)
	}
	t.Logf("%d keys of %d calls", given, len(rows))
}

// refused reports whether policies forbade a call.
func refused(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "is not authorized to perform") || strings.Contains(err.Error(), "Access to KMS is not allowed"))
}

// What temporary credentials have besides, and long-term ones do not.
func TestSessionKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	list := func(as aws.Config) error {
		_, err := secretsmanager.NewFromConfig(as).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
		return err
	}
	policy := func(condition string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*","Condition":` + condition + `}}`
	}
	for i, tt := range []struct {
		condition     string
		user, session bool
	}{
		{`{"DateGreaterThan":{"aws:TokenIssueTime":"2020-01-01T00:00:00Z"}}`, false, true},
		{`{"DateLessThan":{"aws:TokenIssueTime":"2020-01-01T00:00:00Z"}}`, false, false},
		{`{"Null":{"aws:TokenIssueTime":"true"}}`, true, false},
		{`{"Bool":{"aws:MultiFactorAuthPresent":"false"}}`, false, true},
		{`{"BoolIfExists":{"aws:MultiFactorAuthPresent":"true"}}`, true, false},
		{`{"StringEquals":{"aws:PrincipalType":"AssumedRole"}}`, false, true},
		{`{"StringLike":{"aws:userid":"AROA*:test"}}`, false, true},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/session*"}}`, false, true}, // the role's, not the session's
		{`{"Null":{"aws:username":"true"}}`, false, true},
		{`{"Bool":{"aws:SecureTransport":"false"},"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`, true, true},
		{`{"NumericGreaterThan":{"aws:EpochTime":"1700000000"},"DateGreaterThan":{"aws:CurrentTime":"2025-01-01T00:00:00Z"}}`, true, true},
	} {
		user, session := sys.User(t, fmt.Sprintf("user%d", i), policy(tt.condition)), sys.Role(t, fmt.Sprintf("session%d", i), policy(tt.condition))
		if err := list(user); refused(err) == tt.user {
			t.Errorf("%s for a user: %v", tt.condition, err)
		}
		if err := list(session); refused(err) == tt.session {
			t.Errorf("%s for a session: %v", tt.condition, err)
		}
	}
}

// refer has requests say where they come from.
func refer(o *s3.Options) { o.HTTPClient = referring{o.HTTPClient}; o.UsePathStyle = true }

type referring struct{ aws.HTTPClient }

func (c referring) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set("Referer", "https://example.com/")
	return c.HTTPClient.Do(r)
}

func pathStyle(o *s3.Options) { o.UsePathStyle = true }
