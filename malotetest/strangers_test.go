package malotetest_test

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secretstypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/gateway"
	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// mark is in whatever of the first account's has room for a text.
const mark = "this-is-the-first-accounts"

// possessions are what the first account has: what each service's members are to name, by ARN
// where there is one.
type possessions map[string]map[string]string

func possess(t *testing.T, cfg aws.Config) possessions {
	t.Helper()
	ctx := t.Context()
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const account = malotetest.Account

	keys := kms.NewFromConfig(cfg)
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Description: aws.String(mark), Tags: []kmstypes.Tag{{TagKey: aws.String("mark"), TagValue: aws.String(mark)}}})
	fatal(err)
	keyARN := key.KeyMetadata.Arn
	_, err = keys.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/" + mark), TargetKeyId: keyARN})
	fatal(err)
	sealed, err := keys.Encrypt(ctx, &kms.EncryptInput{KeyId: keyARN, Plaintext: []byte(mark)})
	fatal(err)

	people := iam.NewFromConfig(cfg)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `","Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	role, err := people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("role-" + mark), Description: aws.String(mark), AssumeRolePolicyDocument: &trust})
	fatal(err)
	user, err := people.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("user-" + mark)})
	fatal(err)
	access, err := people.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user.User.UserName})
	fatal(err)
	_, err = people.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("group-" + mark)})
	fatal(err)
	policy, err := people.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("policy-" + mark), PolicyDocument: aws.String(malotetest.Allow("*", "s3:Get*"))})
	fatal(err)
	grant, err := keys.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: keyARN, GranteePrincipal: role.Role.Arn, Operations: []kmstypes.GrantOperation{"Decrypt"}, Name: aws.String(mark)})
	fatal(err)

	secret, err := secretsmanager.NewFromConfig(cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("secret-" + mark), Description: aws.String(mark), SecretString: aws.String(mark), KmsKeyId: keyARN,
		Tags: []secretstypes.Tag{{Key: aws.String("mark"), Value: aws.String(mark)}},
	})
	fatal(err)
	_, err = ssm.NewFromConfig(cfg).PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String("/" + mark), Value: aws.String(mark), Description: aws.String(mark), Type: ssmtypes.ParameterTypeSecureString, KeyId: keyARN, Tier: ssmtypes.ParameterTierAdvanced,
	})
	fatal(err)

	logs := cloudwatchlogs.NewFromConfig(cfg)
	_, err = logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String(mark), Tags: map[string]string{"mark": mark}})
	fatal(err)
	_, err = logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String(mark), LogStreamName: aws.String(mark)})
	fatal(err)

	buckets := s3.NewFromConfig(cfg)
	_, err = buckets.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(doorBucket)})
	fatal(err)
	_, err = buckets.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(doorBucket), Key: aws.String("key"), Body: strings.NewReader(mark)})
	fatal(err)

	tasks := ecs.NewFromConfig(cfg)
	tags := []ecstypes.Tag{{Key: aws.String("mark"), Value: aws.String(mark)}}
	cluster, err := tasks.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String(mark), Tags: tags})
	fatal(err)
	definition, err := tasks.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String(mark), Tags: tags, ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Memory: aws.Int32(64)}},
	})
	fatal(err)
	instance, err := tasks.RegisterContainerInstance(ctx, &ecs.RegisterContainerInstanceInput{
		Cluster: aws.String(mark), Tags: tags, TotalResources: []ecstypes.Resource{
			{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: 1024}, {Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: 1024},
		},
	})
	fatal(err)
	task, err := tasks.StartTask(ctx, &ecs.StartTaskInput{Cluster: aws.String(mark), ContainerInstances: []string{*instance.ContainerInstance.ContainerInstanceArn}, TaskDefinition: aws.String(mark), Tags: tags})
	fatal(err)
	service, err := tasks.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String(mark), ServiceName: aws.String(mark), TaskDefinition: aws.String(mark), DesiredCount: aws.Int32(0), Tags: tags})
	fatal(err)
	var deployment ecstypes.ServiceDeploymentBrief
	for deployment.Status != ecstypes.ServiceDeploymentStatusSuccessful { // then nothing more is written
		deployments, err := tasks.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{Cluster: aws.String(mark), Service: aws.String(mark)})
		fatal(err)
		deployment = deployments.ServiceDeployments[0]
	}

	group := "arn:aws:logs:us-east-1:" + account + ":log-group:" + mark
	parameter := "arn:aws:ssm:us-east-1:" + account + ":parameter/" + mark
	return possessions{
		"secretsmanager": {"SecretId": *secret.ARN, "SecretIdList": *secret.ARN, "VersionId": *secret.VersionId, "MoveToVersionId": *secret.VersionId},
		"ssm":            {"Name": parameter, "Names": parameter, "ResourceArn": parameter, "ResourceId": parameter, "Path": "/"},
		"kms": {
			"KeyId": *keyARN, "SourceKeyId": *keyARN, "DestinationKeyId": *keyARN, "TargetKeyId": *keyARN, "AliasName": "alias/" + mark,
			"CiphertextBlob": base64.StdEncoding.EncodeToString(sealed.CiphertextBlob), "GrantId": *grant.GrantId,
			"RetiringPrincipal": *role.Role.Arn,
		},
		"iam": {
			"PolicyArn": *policy.Policy.Arn, "RoleName": *role.Role.RoleName, "UserName": *user.User.UserName, "GroupName": "group-" + mark,
			"PolicySourceArn": *role.Role.Arn, "AccessKeyId": *access.AccessKey.AccessKeyId, "PermissionsBoundary": *policy.Policy.Arn,
		},
		"sts": {"RoleArn": *role.Role.Arn, "AccessKeyId": *access.AccessKey.AccessKeyId},
		"ecs": {
			"cluster": *cluster.Cluster.ClusterArn, "clusters": *cluster.Cluster.ClusterArn, "taskDefinition": *definition.TaskDefinition.TaskDefinitionArn,
			"taskDefinitions": *definition.TaskDefinition.TaskDefinitionArn, "containerInstance": *instance.ContainerInstance.ContainerInstanceArn,
			"containerInstances": *instance.ContainerInstance.ContainerInstanceArn, "task": *task.Tasks[0].TaskArn, "tasks": *task.Tasks[0].TaskArn,
			"service": *service.Service.ServiceArn, "services": *service.Service.ServiceArn, "resourceArn": *service.Service.ServiceArn,
			"serviceDeploymentArn": *deployment.ServiceDeploymentArn, "serviceDeploymentArns": *deployment.ServiceDeploymentArn, "serviceRevisionArns": *deployment.TargetServiceRevisionArn,
			"principalArn": *role.Role.Arn, "containerInstanceArn": *instance.ContainerInstance.ContainerInstanceArn,
		},
		"logs":          {"logGroupName": mark, "logGroupIdentifier": group, "logGroupIdentifiers": group, "resourceArn": group, "resourceIdentifier": group, "logStreamName": mark},
		"organizations": {"AccountId": account},
		"s3":            {},
	}
}

// on puts what the first account has into the smallest valid request.
func (p possessions) on(t *testing.T, service *model.Service, op *model.Operation) map[string]any {
	t.Helper()
	input := map[string]any{}
	if op.Input == nil {
		return input
	}
	input = example(t, op.Input, op.Name).(map[string]any)
	for name, member := range op.Input.Members {
		value, ok := p[service.Name][name]
		switch {
		case !ok, name == "Name" && op.Name == "CreateSecret":
		case name == "logGroupName" && op.Input.Members["logGroupIdentifier"] != nil, name == "logGroupName" && op.Input.Members["resourceIdentifier"] != nil:
			delete(input, name) // the ARN is given, and not both may be
		case member.Type == "list":
			input[name] = []any{value}
		default:
			input[name] = value
		}
	}
	return input
}

// exceptions are operations whose answer to a stranger is another than their service's usual
// one: an error's code, or "own" where the stranger asks about what is the stranger's own.
var exceptions = map[string]string{
	"secretsmanager:BatchGetSecretValue": "own", // with an AccessDeniedException for each: see below
	"secretsmanager:CreateSecret":        "own",
	"secretsmanager:GetRandomPassword":   "own",
	"secretsmanager:ListSecrets":         "own",

	// These take a name, and no ARN.
	"ssm:AddTagsToResource":       "ValidationException",
	"ssm:DeleteParameter":         "ValidationException",
	"ssm:DeleteParameters":        "own",
	"ssm:DescribeParameters":      "own",
	"ssm:GetParametersByPath":     "own",
	"ssm:LabelParameterVersion":   "ValidationException",
	"ssm:ListTagsForResource":     "ValidationException",
	"ssm:PutParameter":            "ValidationException",
	"ssm:RemoveTagsFromResource":  "ValidationException",
	"ssm:UnlabelParameterVersion": "ValidationException",

	"kms:ConnectCustomKeyStore":    "CustomKeyStoreNotFoundException",
	"kms:CreateCustomKeyStore":     "CloudHsmClusterNotFoundException",
	"kms:CreateKey":                "own",
	"kms:DeleteAlias":              "NotFoundException", // an alias is one's own
	"kms:DeleteCustomKeyStore":     "CustomKeyStoreNotFoundException",
	"kms:DescribeCustomKeyStores":  "own",
	"kms:DisconnectCustomKeyStore": "CustomKeyStoreNotFoundException",
	"kms:GenerateRandom":           "ValidationException",
	"kms:ListAliases":              "NotFoundException",
	"kms:ListKeys":                 "own",
	"kms:ListRetirableGrants":      "InvalidArnException",
	"kms:UpdateAlias":              "NotFoundException",
	"kms:UpdateCustomKeyStore":     "CustomKeyStoreNotFoundException",

	"ecs:CreateCluster":                 "own",
	"ecs:CreateService":                 "ClusterNotFoundException",
	"ecs:DeleteAccountSetting":          "InvalidParameterException",
	"ecs:DeleteAttributes":              "ClusterNotFoundException",
	"ecs:DeleteService":                 "ClusterNotFoundException",
	"ecs:DeregisterContainerInstance":   "ClusterNotFoundException",
	"ecs:DeregisterTaskDefinition":      "ClientException",
	"ecs:DescribeContainerInstances":    "ClusterNotFoundException",
	"ecs:DescribeServices":              "ClusterNotFoundException",
	"ecs:DescribeTaskDefinition":        "ClientException",
	"ecs:DescribeTasks":                 "ClusterNotFoundException",
	"ecs:DiscoverPollEndpoint":          "own",
	"ecs:ExecuteCommand":                "ClusterNotFoundException",
	"ecs:GetTaskProtection":             "ClusterNotFoundException",
	"ecs:ListAccountSettings":           "InvalidParameterException",
	"ecs:ListAttributes":                "ClusterNotFoundException",
	"ecs:ListClusters":                  "own",
	"ecs:ListContainerInstances":        "ClusterNotFoundException",
	"ecs:ListServiceDeployments":        "ClusterNotFoundException",
	"ecs:ListServices":                  "ClusterNotFoundException",
	"ecs:ListTaskDefinitionFamilies":    "own",
	"ecs:ListTaskDefinitions":           "own",
	"ecs:ListTasks":                     "ClusterNotFoundException",
	"ecs:PutAccountSetting":             "InvalidParameterException",
	"ecs:PutAccountSettingDefault":      "InvalidParameterException",
	"ecs:PutAttributes":                 "ClusterNotFoundException",
	"ecs:RegisterContainerInstance":     "ClusterNotFoundException",
	"ecs:RegisterTaskDefinition":        "ClientException",
	"ecs:StopTask":                      "ClusterNotFoundException",
	"ecs:SubmitContainerStateChange":    "ClusterNotFoundException",
	"ecs:SubmitTaskStateChange":         "ClusterNotFoundException",
	"ecs:UpdateContainerInstancesState": "ClusterNotFoundException",
	"ecs:UpdateService":                 "ClusterNotFoundException",
	"ecs:UpdateTaskProtection":          "ClusterNotFoundException",

	// These take a name, and no ARN.
	"logs:CreateLogGroup":        "own",
	"logs:CreateLogStream":       "own",
	"logs:DeleteLogGroup":        "own",
	"logs:DeleteLogStream":       "ResourceNotFoundException",
	"logs:DeleteRetentionPolicy": "ResourceNotFoundException",
	"logs:DescribeLogGroups":     "own",
	"logs:ListTagsLogGroup":      "ResourceNotFoundException",
	"logs:PutLogEvents":          "ResourceNotFoundException",
	"logs:PutRetentionPolicy":    "ResourceNotFoundException",
	"logs:TagLogGroup":           "ResourceNotFoundException",
	"logs:UntagLogGroup":         "ResourceNotFoundException",

	"s3:CreateBucket":  "BucketAlreadyExists",
	"s3:DeleteObjects": "own", // with an AccessDenied for each: see below
	"s3:HeadBucket":    "",    // a HEAD has no body
	"s3:HeadObject":    "",
	"s3:ListBuckets":   "own",

	"organizations:DescribeOrganization": "own",

	"cloudtrail:LookupEvents": "own", // among them the stranger's own attempts
}

// because is what a denial says of why, by service.
var because = map[string]string{
	"secretsmanager": "because no resource-based policy allows the",
	"ssm":            "because no resource-based policy allows the",
	"ecs":            "because no resource-based policy allows the",
	"logs":           "because no resource-based policy allows the",
	"iam":            "because no resource-based policy allows the",
	"kms":            "on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
	"s3":             "Access Denied",
	"organizations":  "You don't have permissions to access this resource.",
}

// wanted is the code of the error that an operation on the first account's is to be refused
// with; "own" where there is nothing to refuse; "any" where either may be: of IAM and STS,
// whose names are each account's own.
func wanted(service *model.Service, op *model.Operation) string {
	action := service.Name + ":" + op.Name
	if code, ok := exceptions[action]; ok {
		return code
	}
	takes := func(names ...string) bool {
		return op.Input != nil && slices.ContainsFunc(names, func(name string) bool { return op.Input.Members[name] != nil })
	}
	switch {
	case action == "sts:AssumeRole", service.Name == "s3":
		return "AccessDenied"
	case service.Name != "iam" && service.Name != "sts":
		return "AccessDeniedException"
	case strings.HasPrefix(op.Name, "Create") && op.Name != "CreatePolicyVersion", op.Name == "DeleteGroup": // after CreateGroup
		return "any"
	case service.Name == "iam" && takes("RoleName", "UserName", "GroupName") && !takes("AccessKeyId") && slices.ContainsFunc(op.Input.Required, func(name string) bool {
		return name == "RoleName" || name == "UserName" || name == "GroupName"
	}):
		return "NoSuchEntity"
	case service.Name == "iam" && takes("PolicyArn", "PolicySourceArn"):
		return "AccessDenied"
	}
	return "any"
}

// Every operation of every service, asked of what the first account has by an administrator
// and by the root user of another, is refused in AWS's words; and whatever they are answered,
// nothing of the first account's is in it, and nothing of it has changed.
func TestEveryDoorIsClosedToStrangers(t *testing.T) {
	t.Parallel()
	st := memory.New()
	sys := malotetest.New(t, malotetest.Store(st))
	have := possess(t, sys.Config())
	strangers := map[string]aws.Config{"administrator": sys.Other(t, "210987654321"), "root": sys.OtherRoot(t, "310987654321")}
	if _, err := sts.NewFromConfig(sys.Config()).GetSessionToken(t.Context(), nil); err != nil { // makes the key of all tokens
		t.Fatal(err)
	}
	coverage, err := gateway.Coverage(sys.Services()...)
	if err != nil {
		t.Fatal(err)
	}
	before := records(t, st)
	refused := 0
	for who, stranger := range strangers {
		keys, err := stranger.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range coverage {
			described, _ := model.For(service.Service)
			for _, op := range service.Operations {
				if !op.Implemented {
					continue
				}
				operation, _ := described.Operation(op.Name)
				status, answer := callWith(t, sys, &keys, described, operation, have.on(t, described, operation))
				code, text := refusedWith(status, answer)
				action, want := service.Service+":"+op.Name, wanted(described, operation)
				switch {
				case want == "any":
				case want == "own" && status >= 300, want != "own" && (status < 400 || code != want):
					t.Errorf("%s by another account's %s: %d %s %s, want %s", action, who, status, code, text, want)
				case status == http.StatusForbidden || strings.HasPrefix(code, "AccessDenied"):
					refused++
					if clause := because[service.Service]; want != "" && !strings.Contains(html.UnescapeString(text), clause) {
						t.Errorf("%s by another account's %s is refused with %q, want %q in it", action, who, text, clause)
					}
				}
				switch {
				case status >= 300:
				case action == "secretsmanager:BatchGetSecretValue":
					if !strings.Contains(answer, `"ErrorCode":"AccessDeniedException"`) || !strings.Contains(answer, `"SecretValues":[]`) {
						t.Errorf("%s by another account's %s: %s", action, who, answer)
					}
				case action == "s3:DeleteObjects":
					if !strings.Contains(answer, "<Code>AccessDenied</Code>") || strings.Contains(answer, "<Deleted>") {
						t.Errorf("%s by another account's %s: %s", action, who, answer)
					}
				case action == "ssm:DeleteParameters":
					if !strings.Contains(answer, `"DeletedParameters":[]`) {
						t.Errorf("%s by another account's %s: %s", action, who, answer)
					}
				case strings.Contains(strings.ToLower(answer), mark) && !strings.HasPrefix(op.Name, "Create") && service.Service != "cloudtrail":
					t.Errorf("%s by another account's %s has what is the first account's: %s", action, who, answer)
				}
			}
		}
	}
	if refused < 2*140 {
		t.Errorf("%d refusals: the first account's was not asked for", refused)
	}
	after := records(t, st)
	for key, value := range before {
		if after[key] != value {
			t.Errorf("the record %s of the first account was changed or removed", key)
		}
	}
	for key := range after {
		if _, ok := before[key]; !ok {
			t.Errorf("the first account has a new record, %s", key)
		}
	}
}

var (
	xmlCode = regexp.MustCompile(`<Code>([^<]*)</Code>`)
	xmlText = regexp.MustCompile(`(?s)<Message>(.*?)</Message>`)
)

// refusedWith is the code and the text of an error, "" for an answer that is none.
func refusedWith(status int, answer string) (code, text string) {
	if status < 400 {
		return "", ""
	}
	var failure struct {
		Type    string `json:"__type"`
		Message string
	}
	if json.Unmarshal([]byte(answer), &failure) == nil {
		return failure.Type[strings.IndexByte(failure.Type, '#')+1:], failure.Message
	}
	if found := xmlCode.FindStringSubmatch(answer); found != nil {
		code = found[1]
	}
	if found := xmlText.FindStringSubmatch(answer); found != nil {
		text = found[1]
	}
	return code, text
}

// records is what the store has of the first account, save for when it was last seen, and
// of buckets and access keys, whose records do not say whose they are.
func records(t *testing.T, st store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := st.View(t.Context(), func(tx store.Tx) error {
		clear(all)
		for e, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			if strings.Contains(e.Key, malotetest.Account) || strings.HasPrefix(e.Key, "s3/") {
				all[e.Key] = string(e.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
