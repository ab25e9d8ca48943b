package shown_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape/shapetest"
	"github.com/malote/malote/gateway/shown"
)

func plan(t testing.TB, service, operation string, goType reflect.Type) *shown.Plan {
	t.Helper()
	s, _ := model.For(service)
	op, ok := s.Operation(operation)
	if !ok {
		t.Fatalf("no %s.%s", service, operation)
	}
	p, err := shown.New(op.Input, goType)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestShown(t *testing.T) {
	t.Parallel()
	const hidden = `"` + shown.Hidden + `"`
	long := strings.Repeat("é", 40_000)
	for _, tt := range []struct {
		name, service, operation string
		in                       any
		want                     string
	}{
		{"a secret", "secretsmanager", "CreateSecret", secretsmanager.CreateSecretInput{
			Name: aws.String("prod/db"), SecretString: aws.String("hunter2"), SecretBinary: []byte("hunter2"), Description: aws.String("hunter2"),
			ClientRequestToken: aws.String("v1"), KmsKeyId: aws.String("alias/k"), Tags: []smtypes.Tag{{Key: aws.String("env"), Value: aws.String("prod")}},
		}, `{"name":"prod/db","clientRequestToken":"v1","description":` + hidden + `,"forceOverwriteReplicaSecret":false,"kmsKeyId":"alias/k","secretBinary":` + hidden + `,"secretString":` + hidden + `,"tags":[{"key":"env","value":"prod"}]}`},
		{"nothing", "secretsmanager", "ListSecrets", secretsmanager.ListSecretsInput{NextToken: aws.String("t")}, `null`},
		{"a policy", "secretsmanager", "PutResourcePolicy", secretsmanager.PutResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: aws.String(`{"Version":"2012-10-17"}`)},
			`{"resourcePolicy":"{\"Version\":\"2012-10-17\"}","secretId":"s"}`},
		{"a policy that is too long", "secretsmanager", "PutResourcePolicy", secretsmanager.PutResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: &long}, `{"omitted":true,"reason":"value too large"}`},
		{"a closed set", "kms", "CreateGrant", kms.CreateGrantInput{KeyId: aws.String("k"), GranteePrincipal: aws.String("p"), Operations: []kmstypes.GrantOperation{"Decrypt", "hunter2"},
			Constraints: &kmstypes.GrantConstraints{EncryptionContextSubset: map[string]string{"b": "2", "a": "1"}}, GrantTokens: []string{"hunter2"}},
			`{"granteePrincipal":"p","keyId":"k","operations":["Decrypt",` + hidden + `],"constraints":{"encryptionContextSubset":{"a":"1","b":"2"}},"grantTokens":` + hidden + `}`},
		{"bytes", "kms", "Decrypt", kms.DecryptInput{CiphertextBlob: []byte("hunter2"), KeyId: aws.String("k")}, `{"encryptionAlgorithm":"","keyId":"k"}`},
		{"what a task is given", "ecs", "RunTask", ecs.RunTaskInput{
			TaskDefinition: aws.String("web"), Cluster: aws.String("shop\n\u2028"), Overrides: &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{{
				Name: aws.String("app"), Command: []string{"hunter2"}, Environment: []ecstypes.KeyValuePair{{Name: aws.String("P"), Value: aws.String("hunter2")}},
			}}},
		}, `{"cluster":"shop\u000a\u2028","enableECSManagedTags":false,"enableExecuteCommand":false,"overrides":{"containerOverrides":[{"command":` + hidden + `,"environment":` + "ENV" + `,"name":"app"}]},"taskDefinition":"web"}`},
		{"many", "secretsmanager", "BatchGetSecretValue", secretsmanager.BatchGetSecretValueInput{SecretIdList: make([]string, 101)}, `{"secretIdList":` + hidden + `}`},
	} {
		got := string(plan(t, tt.service, tt.operation, reflect.TypeOf(tt.in)).Append(nil, reflect.ValueOf(tt.in)))
		var wanted, found any
		if err := json.Unmarshal([]byte(got), &found); err != nil {
			t.Errorf("%s: %v in %s", tt.name, err, got)
			continue
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s: it is shown: %s", tt.name, got)
		}
		want := strings.NewReplacer("ENV", hidden, `"encryptionAlgorithm":"",`, "").Replace(tt.want)
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(found, wanted) {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, want)
		}
	}
}

// canary is put wherever AWS's description says sensitive, and wherever text is no name.
const canary = "QUJDcanary0123456789"

// plant puts canaries into the sensitive members and blobs of v, and reports how many.
func plant(s *model.Shape, v reflect.Value, sensitive bool) (n int) {
	sensitive = sensitive || s.Sensitive
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil(), v.Kind() == reflect.Interface:
		return 0
	case v.Kind() == reflect.Pointer:
		return plant(s, v.Elem(), sensitive)
	case v.Kind() == reflect.String && sensitive:
		v.SetString(canary)
		return 1
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes([]byte(canary))
		return 1
	case v.Kind() == reflect.Slice && s.Elem != nil:
		for i := range v.Len() {
			n += plant(s.Elem, v.Index(i), sensitive)
		}
	case v.Kind() == reflect.Map && s.Elem != nil && v.Type().Elem().Kind() == reflect.String && (sensitive || s.Elem.Sensitive):
		v.SetMapIndex(reflect.ValueOf(canary).Convert(v.Type().Key()), reflect.ValueOf(canary).Convert(v.Type().Elem()))
		return 1
	case v.Kind() == reflect.Struct && s.Type == "structure":
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			member := s.Members[name]
			if member == nil {
				member = s.Members[strings.ToLower(name[:1])+name[1:]]
			}
			if member != nil && v.Field(i).CanSet() {
				n += plant(member, v.Field(i), sensitive)
			}
		}
	}
	return n
}

// Of no operation, whatever is in its input and output, is anything shown that AWS calls
// sensitive, nor any bytes; and what is shown is one line of JSON.
func TestNothingSensitiveIsShown(t *testing.T) {
	t.Parallel()
	planted := 0
	for _, protocol := range []model.Protocol{model.JSON, model.Query} {
		for _, op := range shapetest.Operations(protocol) {
			s, _ := model.For(op.Service)
			described, _ := s.Operation(op.Name)
			for _, side := range []struct {
				shape  *model.Shape
				goType reflect.Type
			}{{described.Input, op.In}, {described.Output, op.Out}} {
				if side.shape == nil || op.Name == "StartLiveTail" {
					continue
				}
				p, err := shown.New(side.shape, side.goType)
				if err != nil {
					t.Errorf("%s.%s: %v", op.Service, op.Name, err)
					continue
				}
				for seed := range uint64(3) {
					v := reflect.New(side.goType)
					shapetest.FillAll(rand.New(rand.NewPCG(seed, 7)), v.Elem())
					planted += plant(side.shape, v.Elem(), false)
					got := p.Append(nil, v.Elem())
					if strings.Contains(string(got), canary) || strings.ContainsAny(string(got), "\n\u2028") || !json.Valid(got) {
						t.Errorf("%s.%s, %s: %s", op.Service, op.Name, side.goType, got)
					}
				}
			}
		}
	}
	if planted < 300 {
		t.Errorf("%d canaries: what is sensitive is not seen", planted)
	}
}

func BenchmarkAppend(b *testing.B) {
	in := secretsmanager.GetSecretValueInput{SecretId: aws.String("prod/shop/database-password")}
	p := plan(b, "secretsmanager", "GetSecretValue", reflect.TypeOf(in))
	v := reflect.ValueOf(&in).Elem()
	b.ReportAllocs()
	for b.Loop() {
		if got := p.Append(make([]byte, 0, 96), v); len(got) < 10 {
			b.Fatal(string(got))
		}
	}
}
