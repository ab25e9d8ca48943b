package malotetest_test

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shown"
	"github.com/malote/malote/malotetest"
)

// secretive is an example with every member that AWS calls sensitive, and every blob, made
// of canaries: those that may be left out are there too. It counts them.
func secretive(t *testing.T, sys *malotetest.System, shape *model.Shape, path string, planted *int) any {
	t.Helper()
	switch {
	case shape.Type == "blob":
		*planted++
		return base64.StdEncoding.EncodeToString([]byte(sys.Canary()))
	case shape.Type == "string" && shape.Sensitive && len(shape.Enum) == 0:
		*planted++
		return sys.Canary()
	case shape.Type == "list":
		return []any{secretive(t, sys, shape.Elem, path+".member", planted)}
	case shape.Type == "structure":
		members := map[string]any{}
		for name, member := range shape.Members {
			switch {
			case member.Token:
				members[name] = "1234abcd-12ab-34cd-56ef-1234567890ab"
			case member.Hides(), member.Type == "blob", slices.Contains(shape.Required, name):
				members[name] = secretive(t, sys, member, path+"."+name, planted)
			}
		}
		return members
	}
	return example(t, shape, path)
}

// Every operation that takes something sensitive is asked with canaries for it, by who
// may and by who may not; then those whose secrets the API's description does not call
// so. No record has one: the system looks for them when the test ends. Each request has
// exactly one record of its own.
func TestNoRecordHoldsAValue(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	nobody := sys.User(t, "nobody", "")
	admin := sys.Config()
	if _, err := s3.NewFromConfig(admin).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(doorBucket)}); err != nil {
		t.Fatal(err)
	}
	coverage, err := gateway.Coverage(sys.Services()...)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, service := range coverage {
		described, _ := model.For(service.Service)
		for _, done := range service.Operations {
			op, _ := described.Operation(done.Name)
			if !done.Implemented || op.Input == nil || described.Protocol == model.RestXML {
				continue
			}
			planted := 0
			if input := secretive(t, sys, op.Input, op.Name, &planted).(map[string]any); planted > 0 {
				for _, who := range []aws.Config{admin, nobody} {
					keys := keysOf(t, who)
					callWith(t, sys, &keys, described, op, input)
					asked[described.Name+":"+op.Name]++
				}
			}
		}
	}
	if len(asked) < 15 {
		t.Errorf("%d operations were asked: what is sensitive is not seen", len(asked))
	}

	ctx, canary := t.Context(), func() *string { return aws.String(sys.Canary()) }
	secrets, parameters, tasks := secretsmanager.NewFromConfig(admin), ssm.NewFromConfig(admin), ecs.NewFromConfig(admin)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("sweep"), SecretString: canary(), Description: canary()})
	must(made, err)
	must(secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretBinary: []byte(*canary())}))
	must(secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.ARN}))
	must(secrets.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{*made.ARN}}))
	must(parameters.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/sweep"), Value: canary(), Type: ssmtypes.ParameterTypeSecureString}))
	must(parameters.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/"), Recursive: aws.Bool(true), WithDecryption: aws.Bool(true)}))
	key, err := kms.NewFromConfig(admin).CreateKey(ctx, &kms.CreateKeyInput{})
	must(key, err)
	encrypted, err := kms.NewFromConfig(admin).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.KeyId, Plaintext: []byte(*canary())})
	must(encrypted, err)
	must(kms.NewFromConfig(admin).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob}))
	must(s3.NewFromConfig(admin).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(doorBucket), Key: aws.String("sweep.env"), Body: strings.NewReader(*canary()), Metadata: map[string]string{"note": *canary()}}))
	must(s3.NewFromConfig(admin).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(doorBucket), Key: aws.String("sweep.env")}))
	must(tasks.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("sweep"), ContainerDefinitions: []ecstypes.ContainerDefinition{{
		Name: aws.String("app"), Image: aws.String("app"), Memory: aws.Int32(64), Command: []string{*canary()}, EntryPoint: []string{*canary()},
		Environment:  []ecstypes.KeyValuePair{{Name: aws.String("A"), Value: canary()}},
		DockerLabels: map[string]string{"label": *canary()},
	}}}))
	overrides := &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{{
		Name: aws.String("app"), Command: []string{*canary()}, Environment: []ecstypes.KeyValuePair{{Name: aws.String("A"), Value: canary()}},
	}}}
	// There is no instance to run it: what was asked is recorded all the same.
	_, _ = tasks.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("sweep"), Overrides: overrides})
	output := cloudwatchlogs.NewFromConfig(admin)
	must(output.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("sweep")}))
	must(output.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String("sweep"), LogStreamName: aws.String("s")}))
	must(output.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("sweep"), LogStreamName: aws.String("s"),
		LogEvents: []logtypes.InputLogEvent{{Message: canary(), Timestamp: aws.Int64(time.Now().UnixMilli())}}}))
	must(output.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("sweep"), FilterPattern: aws.String(`"` + *canary() + `"`)}))

	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		recorded, hidden, requests := map[string]int{}, 0, map[string]int{}
		for line, err := range audit.Lines(sys.Audit(), audit.Times{}) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := audit.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			hidden += strings.Count(string(line), shown.Hidden)
			if e.UserIdentity.InvokedBy == "" {
				requests[e.RequestID]++
				recorded[strings.TrimSuffix(e.Source, ".amazonaws.com")+":"+e.Name]++
			}
		}
		if recorded["logs:FilterLogEvents"] == 0 && time.Now().Before(deadline) {
			continue
		}
		for op, n := range asked {
			if _, unproven := unsigned[op]; unproven {
				n = 0 // nobody was shown to have asked
			}
			if recorded[op] < n {
				t.Errorf("%s was asked %d times and has %d records", op, n, recorded[op])
			}
		}
		for id, n := range requests {
			if n != 1 && id != "" {
				t.Errorf("request %s has %d records", id, n)
			}
		}
		if hidden < len(asked) {
			t.Errorf("%d members are hidden, of %d operations that take some", hidden, len(asked))
		}
		t.Logf("%d operations with something sensitive, %d members hidden, %d requests", len(asked), hidden, len(requests))
		return
	}
}

// A request that is no request of anybody's leaves no record: whoever has no credentials
// could fill the disk.
func TestUnsignedLeavesNoRecord(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sys.Endpoint(), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "secretsmanager.ListSecrets")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if _, err := secretsmanager.NewFromConfig(sys.Config()).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		lines, err := audit.Last(sys.Audit(), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 && time.Now().Before(deadline) {
			continue
		}
		if len(lines) > 2 || !strings.Contains(string(lines[0]), "ListSecrets") || response.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d, %d records: %s", response.StatusCode, len(lines), lines)
		}
		return
	}
}
