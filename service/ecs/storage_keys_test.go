package ecs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

// fargatePolicy is the key policy of AWS's page.
const fargatePolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
	{"Effect":"Allow","Principal":{"Service":"fargate.amazonaws.com"},"Action":"kms:GenerateDataKeyWithoutPlaintext","Resource":"*",
		"Condition":{"StringEquals":{"kms:EncryptionContext:aws:ecs:clusterAccount":"123456789012","kms:EncryptionContext:aws:ecs:clusterName":"default"}}},
	{"Effect":"Allow","Principal":{"Service":"fargate.amazonaws.com"},"Action":"kms:CreateGrant","Resource":"*",
		"Condition":{"StringEquals":{"kms:EncryptionContext:aws:ecs:clusterAccount":"123456789012","kms:EncryptionContext:aws:ecs:clusterName":"default"},
			"ForAllValues:StringEquals":{"kms:GrantOperations":["Decrypt"]}}}]}`

func storageKey(t *testing.T, client *kms.Client, in *kms.CreateKeyInput) string {
	t.Helper()
	out, err := client.CreateKey(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func storage(volumes, ephemeral string) *types.ClusterConfiguration {
	m := &types.ManagedStorageConfiguration{}
	if volumes != "" {
		m.KmsKeyId = &volumes
	}
	if ephemeral != "" {
		m.FargateEphemeralStorageKmsKeyId = &ephemeral
	}
	return &types.ClusterConfiguration{ManagedStorageConfiguration: m}
}

func TestAClusterHasKeysForStorage(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, client, keys := t.Context(), ecs.NewFromConfig(sys.Config()), kms.NewFromConfig(sys.Config())
	one, two := storageKey(t, keys, &kms.CreateKeyInput{}), storageKey(t, keys, &kms.CreateKeyInput{})
	tells := func(what string, c *types.Cluster, volumes, ephemeral string) {
		t.Helper()
		if volumes == "" && ephemeral == "" {
			if c.Configuration != nil {
				t.Errorf("%s: configuration = %+v", what, c.Configuration)
			}
			return
		}
		if c.Configuration == nil || c.Configuration.ManagedStorageConfiguration == nil {
			t.Errorf("%s: no configuration", what)
			return
		}
		if m := c.Configuration.ManagedStorageConfiguration; aws.ToString(m.KmsKeyId) != volumes || aws.ToString(m.FargateEphemeralStorageKmsKeyId) != ephemeral {
			t.Errorf("%s: keys %q and %q, want %q and %q", what, aws.ToString(m.KmsKeyId), aws.ToString(m.FargateEphemeralStorageKmsKeyId), volumes, ephemeral)
		}
	}
	made, err := client.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("kept"), Configuration: storage(one, two)})
	if err != nil {
		t.Fatal(err)
	}
	tells("CreateCluster", made.Cluster, one, two)
	for _, include := range [][]types.ClusterField{{types.ClusterFieldConfigurations}, nil} {
		described, err := client.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{"kept"}, Include: include})
		if err != nil {
			t.Fatal(err)
		}
		if include == nil {
			tells("DescribeClusters without", &described.Clusters[0], "", "")
		} else {
			tells("DescribeClusters", &described.Clusters[0], one, two)
		}
	}
	for _, want := range [][2]string{{"", one}, {two, ""}, {"", ""}} {
		changed, err := client.UpdateCluster(ctx, &ecs.UpdateClusterInput{Cluster: aws.String("kept"), Configuration: storage(want[0], want[1])})
		if err != nil {
			t.Fatal(err)
		}
		tells(fmt.Sprint("UpdateCluster ", want), changed.Cluster, want[0], want[1])
	}

	disabled := storageKey(t, keys, &kms.CreateKeyInput{})
	if _, err := keys.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &disabled}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"alias/data": "KMS key aliases are not supported",
		strings.Replace(one, ":key/"+one[strings.LastIndex(one, "/")+1:], ":alias/data", 1):                         "KMS key aliases are not supported",
		storageKey(t, keys, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)}):                                       "Multi-Region keys are not supported",
		storageKey(t, keys, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecHmac256, KeyUsage: "GENERATE_VERIFY_MAC"}): "The key must be a symmetric encryption key.",
		storageKey(t, keys, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: "ENCRYPT_DECRYPT"}):     "The key must be a symmetric encryption key.",
		disabled:                               "The key is not enabled; its state is Disabled.",
		"00000000-0000-4000-8000-000000000000": "NotFoundException",
	} {
		_, err := client.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("refused"), Configuration: storage("", id)})
		wantError(t, err, "InvalidParameterException", "managedStorageConfiguration.fargateEphemeralStorageKmsKeyId: "+want)
		_, err = client.UpdateCluster(ctx, &ecs.UpdateClusterInput{Cluster: aws.String("kept"), Configuration: storage(id, "")})
		wantError(t, err, "InvalidParameterException", "managedStorageConfiguration.kmsKeyId: "+want)
	}
	keyless := ecs.NewFromConfig(sys.User(t, "keyless", malotetest.Allow("*", "ecs:*")))
	_, err = keyless.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("refused"), Configuration: storage("", one)})
	wantError(t, err, "InvalidParameterException", "managedStorageConfiguration.fargateEphemeralStorageKmsKeyId: AccessDeniedException: User: arn:aws:iam::123456789012:user/keyless is not authorized to perform: kms:DescribeKey")
	nobody := ecs.NewFromConfig(sys.User(t, "nobody", malotetest.Allow("*", "kms:*")))
	_, err = nobody.UpdateCluster(ctx, &ecs.UpdateClusterInput{Cluster: aws.String("kept"), Configuration: storage("", "alias/data")})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/nobody is not authorized to perform: ecs:UpdateCluster")
}

// The storage of a FARGATE task has a key of its own, made as Fargate under the cluster's; what
// KMS says no to does not start.
func TestTheStorageOfATaskIsUnderTheClustersKey(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, client, keys := t.Context(), ecs.NewFromConfig(sys.Config()), kms.NewFromConfig(sys.Config())
	define(t, client, "vpc", "", `'networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256','memory':'512','ephemeralStorage':{'sizeInGiB':30}`)
	define(t, client, "both", "", `'networkMode':'awsvpc','requiresCompatibilities':['EC2','FARGATE'],'cpu':'256','memory':'512','ephemeralStorage':{'sizeInGiB':30}`)
	define(t, client, "plain", "", `'networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256','memory':'512'`)
	define(t, client, "web", "", launched)
	key, policy := storageKey(t, keys, &kms.CreateKeyInput{Policy: aws.String(fargatePolicy)}), fargatePolicy
	volumes := storageKey(t, keys, &kms.CreateKeyInput{})
	if _, err := client.UpdateCluster(ctx, &ecs.UpdateClusterInput{Cluster: aws.String("default"), Configuration: storage(volumes, key)}); err != nil {
		t.Fatal(err)
	}
	e := register(t, sys, sys.Config())
	next := func() *acs.Task { // and make room
		t.Helper()
		told := e.nextTask()
		e.status(told.ARN, "STOPPED", aws.Int32(0), "")
		return told
	}
	in := &ecs.RunTaskInput{
		TaskDefinition: aws.String("vpc"), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}},
	}
	made := run(t, client, in)
	if s := describe(t, client, *made.TaskArn).FargateEphemeralStorage; s == nil || s.SizeInGiB != 30 || aws.ToString(s.KmsKeyId) != key {
		t.Errorf("fargateEphemeralStorage = %+v", s)
	}
	told := next()
	if told.StorageKMSKeyID != key || len(told.StorageKey) != 64 || strings.Trim(string(told.StorageKey), "\x00") == "" {
		t.Errorf("the engine was told of %d bytes under %q", len(told.StorageKey), told.StorageKMSKeyID)
	}
	if grants, err := keys.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &key}); err != nil || len(grants.Grants) != 0 {
		t.Errorf("grants that are left: %+v, %v", grants, err)
	}
	in.ClientToken = nil
	run(t, client, in)
	if again := next(); string(again.StorageKey) == string(told.StorageKey) {
		t.Error("two tasks have one key")
	}

	// What has no such storage, and what is not Fargate's, needs no key.
	in.ClientToken, in.TaskDefinition = nil, aws.String("plain")
	if s := run(t, client, in).FargateEphemeralStorage; s != nil {
		t.Errorf("without ephemeralStorage: %+v", s)
	}
	if told := next(); told.StorageKMSKeyID != "" || told.StorageKey != nil {
		t.Errorf("the engine was told of a key of no storage: %q", told.StorageKMSKeyID)
	}
	in.ClientToken, in.TaskDefinition, in.LaunchType = nil, aws.String("both"), types.LaunchTypeEc2
	if s := run(t, client, in).FargateEphemeralStorage; s != nil {
		t.Errorf("on EC2: %+v", s)
	}
	next()

	// A volume that names no key is under the cluster's other one.
	maker := makers(t, sys)
	run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), VolumeConfigurations: taskVolume(maker, nil)})
	if told := next(); len(told.Volumes) != 1 || told.Volumes[0].KMSKeyID != volumes {
		t.Errorf("volumes = %+v", told.Volumes)
	}
	run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), VolumeConfigurations: taskVolume(maker, func(v *types.TaskManagedEBSVolumeConfiguration) { v.KmsKeyId = aws.String("alias/own") })})
	if told := next(); len(told.Volumes) != 1 || told.Volumes[0].KMSKeyID != "alias/own" {
		t.Errorf("volumes = %+v", told.Volumes)
	}

	in.TaskDefinition, in.LaunchType = aws.String("vpc"), types.LaunchTypeFargate
	fails := func(want string) {
		t.Helper()
		in.ClientToken = nil
		task := run(t, client, in)
		for end := time.Now().Add(10 * time.Second); *task.LastStatus != "STOPPED" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			task = describe(t, client, *task.TaskArn)
		}
		reason := aws.ToString(task.StoppedReason)
		if !strings.HasPrefix(reason, "ResourceInitializationError: unable to encrypt the task's ephemeral storage under the cluster's key "+key) ||
			!strings.Contains(reason, want) || task.StopCode != types.TaskStopCodeTaskFailedToStart {
			t.Errorf("stopped: %s: %q, want %q", task.StopCode, reason, want)
		}
	}
	setPolicy := func(policy string) {
		t.Helper()
		if _, err := keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &key, Policy: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	setPolicy(strings.Replace(policy, "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey", 1))
	fails("AccessDeniedException: User: fargate.amazonaws.com is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext")
	setPolicy(strings.Replace(policy, "kms:CreateGrant", "kms:DescribeKey", 1))
	fails("AccessDeniedException: User: fargate.amazonaws.com is not authorized to perform: kms:CreateGrant")
	setPolicy(strings.ReplaceAll(policy, `"kms:EncryptionContext:aws:ecs:clusterName":"default"`, `"kms:EncryptionContext:aws:ecs:clusterName":"other"`))
	fails("AccessDeniedException")
	setPolicy(policy)
	if _, err := keys.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	fails("DisabledException: " + key + " is disabled.")

	// A service keeps the key that its deployment began with.
	if _, err := keys.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	service, err := client.CreateService(ctx, &ecs.CreateServiceInput{
		ServiceName: aws.String("shop"), TaskDefinition: aws.String("vpc"), LaunchType: types.LaunchTypeFargate, DesiredCount: aws.Int32(1), NetworkConfiguration: in.NetworkConfiguration,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := service.Service.Deployments[0].FargateEphemeralStorage; s == nil || aws.ToString(s.KmsKeyId) != key {
		t.Errorf("the deployment's storage: %+v", s)
	}
	if told := next(); told.StorageKMSKeyID != key || len(told.StorageKey) != 64 {
		t.Errorf("the service's task: %q", told.StorageKMSKeyID)
	}
}
