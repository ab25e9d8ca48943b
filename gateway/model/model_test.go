package model_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape/shapetest"
)

func TestTables(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ecs": "json 2014-11-13 AmazonEC2ContainerServiceV20141113 77", "iam": "query 2010-05-08  176", "kms": "json 2014-11-01 TrentService 54",
		"cloudtrail": "json 2013-11-01 com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101 60", "logs": "json 2014-03-28 Logs_20140328 20", "s3": "rest-xml 2006-03-01  111", "secretsmanager": "json 2017-10-17 secretsmanager 23",
		"ssm": "json 2014-11-06 AmazonSSM 16", "sts": "query 2011-06-15  11",
		"organizations": "json 2016-11-28 AWSOrganizationsV20161128 63",
	} {
		s, ok := model.For(name)
		if !ok {
			t.Errorf("no table of %s", name)
			continue
		}
		if got := fmt.Sprint(s.Protocol, " ", s.Version, " ", s.Target, " ", len(s.Operations())); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
		for _, op := range s.Operations() {
			if _, ok := s.Operation(op); !ok {
				t.Errorf("%s.%s cannot be read", name, op)
			}
		}
	}
	files, err := filepath.Glob("tables/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = strings.TrimSuffix(filepath.Base(files[i]), ".txt")
	}
	if got := model.Names(); len(got) != 10 || !slices.Equal(got, files) {
		t.Errorf("tables of %q, in files of %q", got, files)
	}
	if _, ok := model.For("../model"); ok {
		t.Error("a path is a service")
	}
	s, _ := model.For("iam")
	if e, ok := s.Error("NoSuchEntity"); !ok || e.Status != 404 {
		t.Errorf("NoSuchEntity = %+v", e)
	}
	s, _ = model.For("s3")
	if op, _ := s.Operation("PutObject"); op.HTTP.Method != "PUT" || op.HTTP.URI == "" || op.Input.Members["Key"].Binding.Location != "uri" || op.Input.Payload != "Body" {
		t.Errorf("PutObject = %+v", op)
	}
}

// Every member that AWS describes exists in the SDK's type, and every pattern can be
// matched, for all operations that speak JSON or Query.
func TestValidators(t *testing.T) {
	t.Parallel()
	for _, protocol := range []model.Protocol{model.JSON, model.Query} {
		for _, op := range shapetest.Operations(protocol) {
			s, _ := model.For(op.Service)
			described, _ := s.Operation(op.Name)
			if described.Input == nil {
				continue
			}
			v, err := model.NewValidator(described.Input, op.In)
			if err != nil {
				t.Errorf("%s.%s: %v", op.Service, op.Name, err)
				continue
			}
			violations := v.Validate(reflect.New(op.In).Elem())
			if len(violations) > len(described.Input.Required) {
				t.Errorf("%s.%s: %d violations by nothing, which lacks %d members", op.Service, op.Name, len(violations), len(described.Input.Required))
			}
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 9000)
	for _, tt := range []struct {
		name, service, operation string
		in                       any
		want                     string // of Message; "" for valid
	}{
		{"valid", "kms", "CreateKey", kms.CreateKeyInput{Description: aws.String("d"), Tags: []kmstypes.Tag{{TagKey: aws.String("k"), TagValue: aws.String("")}}}, ""},
		{"missing", "kms", "Encrypt", kms.EncryptInput{Plaintext: []byte{1}}, "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		{"missing and sensitive", "kms", "Encrypt", kms.EncryptInput{KeyId: aws.String("k")}, "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must not be null"},
		{"too long and sensitive", "kms", "Encrypt", kms.EncryptInput{KeyId: aws.String("k"), Plaintext: make([]byte, 4097)}, "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		{"characters count, not bytes", "kms", "CreateKey", kms.CreateKeyInput{Description: aws.String(strings.Repeat("é", 8192))}, ""},
		{"too long", "kms", "CreateKey", kms.CreateKeyInput{Description: aws.String(long)}, "1 validation error detected: Value '" + long + "' at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192"},
		{"a number", "kms", "ListKeys", kms.ListKeysInput{Limit: aws.Int32(1001)}, "1 validation error detected: Value '1001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 1000"},
		{"within a list", "kms", "CreateKey", kms.CreateKeyInput{Tags: []kmstypes.Tag{{TagKey: aws.String("k"), TagValue: aws.String("v")}, {TagKey: aws.String("")}}},
			"2 validation errors detected: Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: Member must have length greater than or equal to 1; Value null at 'tags.2.member.tagValue' failed to satisfy constraint: Member must not be null"},
		{"a list's length", "ssm", "GetParameters", ssm.GetParametersInput{Names: strings.Split("abcdefghijk", "")}, "1 validation error detected: Value '[a, b, c, d, e, f, g, h, i, j, k]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10"},
		{"an empty list", "ssm", "GetParameters", ssm.GetParametersInput{Names: []string{}}, "1 validation error detected: Value '[]' at 'names' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"elements that are no structures", "kms", "CreateGrant", kms.CreateGrantInput{KeyId: aws.String("k"), GranteePrincipal: aws.String("p"), Operations: []kmstypes.GrantOperation{"Encrypt", "Fly"}},
			"1 validation error detected: Value '[Encrypt, Fly]' at 'operations' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [Decrypt, Encrypt, …"},
		{"enumeration", "ssm", "PutParameter", ssm.PutParameterInput{Name: aws.String("n"), Value: aws.String("v"), Type: "Secret"}, "1 validation error detected: Value 'Secret' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [String, StringList, SecureString]"},
		{"pattern", "sts", "AssumeRole", sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/x"), RoleSessionName: aws.String("Session1:2")},
			`1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"the whole must match", "iam", "CreateRole", iam.CreateRoleInput{RoleName: aws.String("a\nb"), AssumeRolePolicyDocument: aws.String("{}")},
			"1 validation error detected: Value 'a\nb' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]+"},
		{"deep", "ecs", "RegisterTaskDefinition", ecs.RegisterTaskDefinitionInput{Family: aws.String("f"), ContainerDefinitions: []ecstypes.ContainerDefinition{{Secrets: []ecstypes.Secret{{Name: aws.String("n")}}, Ulimits: []ecstypes.Ulimit{{Name: "x"}}}}},
			"…Value null at 'containerDefinitions.1.member.secrets.1.member.valueFrom' failed to satisfy constraint: Member must not be null…"},
		{"of a union", "ecs", "RegisterTaskDefinition", ecs.RegisterTaskDefinitionInput{Family: aws.String("f"), ContainerDefinitions: []ecstypes.ContainerDefinition{}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _ := model.For(tt.service)
			op, _ := s.Operation(tt.operation)
			v, err := model.NewValidator(op.Input, reflect.TypeOf(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if violations := v.Validate(reflect.ValueOf(tt.in)); len(violations) > 0 {
				got = model.Message(violations)
			}
			if strings.Contains(tt.want, "…") {
				parts := strings.Split(tt.want, "…")
				for _, part := range parts {
					if !strings.Contains(got, part) {
						t.Errorf("Validate = %s, want %s", got, tt.want)
					}
				}
			} else if got != tt.want {
				t.Errorf("Validate = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSensitive(t *testing.T) {
	t.Parallel()
	for op, want := range map[string][]string{
		"secretsmanager.GetSecretValue":      {"SecretBinary", "SecretString"},
		"secretsmanager.BatchGetSecretValue": {"SecretValues.member.SecretBinary", "SecretValues.member.SecretString"},
		"ssm.GetParameter":                   {"Parameter.Value"},
		"kms.GenerateDataKey":                {"Plaintext"},
		"kms.ListKeys":                       nil,
		"kms.Nonsense":                       nil,
		"nothing.Nonsense":                   nil,
	} {
		service, name, _ := strings.Cut(op, ".")
		if got := model.Sensitive(service, name); !slices.Equal(got, want) {
			t.Errorf("Sensitive(%s) = %q, want %q", op, got, want)
		}
	}
}

// The tables say what the patterns say, in Go.
func TestPatternsOfTables(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, name := range model.Names() {
		s, _ := model.For(name)
		for _, op := range s.Operations() {
			described, _ := s.Operation(op)
			for _, side := range []*model.Shape{described.Input, described.Output} {
				patternsOf(side, seen)
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("%d patterns, want more", len(seen))
	}
	for pattern := range seen {
		match, not := model.Translate(pattern)
		for _, text := range []string{match, not} {
			if _, err := regexp.Compile(text); err != nil {
				t.Errorf("%s: %v", pattern, err)
			}
		}
	}
}

func patternsOf(s *model.Shape, seen map[string]bool) {
	if s == nil {
		return
	}
	if s.Pattern != "" {
		seen[s.Pattern] = true
	}
	for _, m := range s.Members {
		patternsOf(m, seen)
	}
	patternsOf(s.Elem, seen)
	patternsOf(s.Key, seen)
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{`[\w+=,.@-]+`, "a+b", true},
		{`[\w+=,.@-]+`, "a b", false},
		{`[\w+=,.@-]+`, "é", false}, // Java's \w is ASCII
		{`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, "é 1", true},
		{`[\u0009\u000A\u000D\u0020-\u00FF]+`, "{\n\t\"é\": 1}\r\n", true},
		{`[\u0009\u000A\u000D\u0020-\u00FF]+`, "€", false},
		{`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`, "/a/", true},
		{`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`, "/a", false},
		{`^(?!\s*$).+`, " a", true},
		{`^(?!\s*$).+`, "  ", false},
		{`^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`, "a-b-c", true},
		{`^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`, "a--c", false},
		{`tag:.+|Name|Type`, "Name", true},
		{`tag:.+|Name|Type`, "Names", false},
		{`[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`, "😀", true},
	} {
		if got := model.MatchPattern(tt.pattern, tt.value); got != tt.want {
			t.Errorf("%s matches %q: %t, want %t", tt.pattern, tt.value, got, tt.want)
		}
	}
}
