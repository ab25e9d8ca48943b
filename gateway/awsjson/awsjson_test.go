package awsjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

func TestAppend(t *testing.T) {
	t.Parallel()
	var none *string
	for _, tt := range []struct {
		name  string
		lower bool
		value any
		want  string
	}{
		{"absent members are left out", false, &secretsmanager.GetSecretValueOutput{Name: none}, `{}`},
		{"a value by pointer is written when it is empty", false, &secretsmanager.GetSecretValueOutput{SecretString: aws.String("")}, `{"SecretString":""}`},
		{"an empty list is written, none is not", false, &secretsmanager.DescribeSecretOutput{Tags: []smtypes.Tag{}}, `{"Tags":[]}`},
		{"numbers and booleans by value are always written", true, &ecstypes.Service{}, `{"desiredCount":0,"enableECSManagedTags":false,"enableExecuteCommand":false,"pendingCount":0,"runningCount":0}`},
		{"booleans in an upper dialect", false, &kms.ListKeysOutput{}, `{"Truncated":false}`},
		{"blobs are base64", false, &secretsmanager.GetSecretValueOutput{SecretBinary: []byte("footest")}, `{"SecretBinary":"Zm9vdGVzdA=="}`},
		{"times have milliseconds", false, &secretsmanager.GetSecretValueOutput{CreatedDate: aws.Time(time.UnixMilli(1569534789046))}, `{"CreatedDate":1569534789.046}`},
		{"no more than needed", false, &secretsmanager.GetSecretValueOutput{CreatedDate: aws.Time(time.UnixMilli(1569534789500))}, `{"CreatedDate":1569534789.5}`},
		{"whole seconds have one", false, &secretsmanager.GetSecretValueOutput{CreatedDate: aws.Time(time.Unix(1569534789, 0))}, `{"CreatedDate":1569534789.0}`},
		{"users' keys keep their case", true, &ecstypes.ContainerDefinition{DockerLabels: map[string]string{"B": "2", "a.B": "1"}}, `{"cpu":0,"dockerLabels":{"B":"2","a.B":"1"}}`},
		{"members of the lower dialect", true, &ecs.RunTaskInput{TaskDefinition: aws.String("x"), EnableECSManagedTags: true}, `{"taskDefinition":"x","enableECSManagedTags":true,"enableExecuteCommand":false}`},
		{"a union goes by its variant", true, &ecstypes.ServiceConnectService{}, `{}`},
		{"escapes", false, &secretsmanager.GetSecretValueOutput{SecretString: aws.String("\"\\\x00\n\r\t\x7f<&\u2028é\xff")}, `{"SecretString":"\"\\\u0000\n\r\t\u007f<&` + "\u2028é\ufffd" + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Codec{Lower: tt.lower}.Append(nil, tt.value)
			if err != nil {
				t.Fatal(err)
			}
			var x, y any
			if json.Unmarshal(got, &x) != nil || json.Unmarshal([]byte(tt.want), &y) != nil || string(got) != tt.want && !sameMembers(x, y) {
				t.Errorf("Append = %s, want %s", got, tt.want)
			}
		})
	}
}

// sameMembers compares where the order of members is the SDK's.
func sameMembers(x, y any) bool {
	a, _ := json.Marshal(x)
	b, _ := json.Marshal(y)
	return bytes.Equal(a, b)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var in secretsmanager.PutSecretValueInput
	text := ` { "secretId" : "a\/b\u00e9\ud83d\ude00\n" , "SecretBinary":"Zm9v\/w==", "Unknown":[{"a":[1,-2.5e3,null,true,"x"]}],
		"VersionStages":["A","B"], "SecretString":null } `
	// A base64 text with an escaped slash, as PHP writes it.
	if err := (Codec{}).Decode([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	if *in.SecretId != "a/bé😀\n" || string(in.SecretBinary) != "foo\xff" || strings.Join(in.VersionStages, "") != "AB" || in.SecretString != nil {
		t.Errorf("Decode = %+v", in)
	}

	var task ecs.RegisterTaskDefinitionInput
	err := Codec{Lower: true}.Decode([]byte(`{"family":"f","containerDefinitions":[{"name":"c","image":null,"cpu":1e2,"essential":false,
		"dockerLabels":{"Com.Example":"x","gone":null},"environment":[]}],"volumes":[]}`), &task)
	if err != nil {
		t.Fatal(err)
	}
	c := task.ContainerDefinitions[0]
	if c.Cpu != 100 || *c.Essential || c.Image != nil || len(c.DockerLabels) != 1 || c.DockerLabels["Com.Example"] != "x" || c.Environment == nil || task.Volumes == nil {
		t.Errorf("Decode = %+v", c)
	}

	var empty kms.ListKeysInput
	if err := (Codec{}).Decode(nil, &empty); err != nil {
		t.Errorf("Decode of nothing: %v", err)
	}

	var grant kms.ImportKeyMaterialInput
	if err := (Codec{}).Decode([]byte(`{"ValidTo":1.5695347890464e9}`), &grant); err != nil || grant.ValidTo.UnixMilli() != 1569534789046 {
		t.Errorf("Decode = %v, %v", grant.ValidTo, err)
	}
	if err := (Codec{}).Decode([]byte(`{"ValidTo":"2019-09-26T21:53:09Z"}`), &grant); err != nil || grant.ValidTo.Unix() != 1569534789 {
		t.Errorf("Decode = %v, %v", grant.ValidTo, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{`{"PolicyName":1}`, "NUMBER_VALUE cannot be converted to String"},
		{`{"PolicyName":true}`, "TRUE_VALUE cannot be converted to String"},
		{`{"PolicyName":{}}`, "Start of structure or map found where not expected."},
		{`{"PolicyName":[]}`, "Start of list found where not expected"},
		{`{"Tags":"x"}`, "STRING_VALUE cannot be converted to List"},
		{`{"Tags":[null]}`, "Null value found where not expected"},
		{`{"BypassPolicyLockoutSafetyCheck":"true"}`, "STRING_VALUE cannot be converted to Boolean"},
		{`{"Limit":"1"}`, "STRING_VALUE cannot be converted to Integer"},
		{`{"Limit":1.5}`, "NUMBER_VALUE cannot be converted to a whole number"},
		{`{"Limit":3000000000}`, "NUMBER_VALUE is out of range"},
		{`{"Limit":1e400}`, "NUMBER_VALUE is out of range"},
		{`{"Plaintext":"not base64!"}`, "STRING_VALUE is not valid base64"},
		{`{"ValidTo":"yesterday"}`, "STRING_VALUE cannot be converted to Timestamp"},
		{`{"ValidTo":1e300}`, "NUMBER_VALUE is out of range"},
		{`[]`, "Start of list found where not expected"},
		{`"x"`, "STRING_VALUE cannot be converted to Structure"},
		{`{`, errSyntax.Text},
		{`{}}`, errSyntax.Text},
		{`{"a"}`, errSyntax.Text},
		{`{"a":1,}`, errSyntax.Text},
		{`{"PolicyName":"a` + "\n" + `"}`, errSyntax.Text},
		{`{"PolicyName":"\x"}`, errSyntax.Text},
		{`{"PolicyName":"` + "\xff" + `"}`, errSyntax.Text},
		{`{"Limit":01}`, errSyntax.Text},
		{strings.Repeat(`{"Unknown":`, 200) + "1" + strings.Repeat("}", 200), errDepth.Text},
		{`{"Unknown":` + strings.Repeat("[", 1_000_000), errDepth.Text},
	} {
		var in struct {
			PolicyName                     *string
			Tags                           []kmstypes.Tag
			BypassPolicyLockoutSafetyCheck bool
			Limit                          *int32
			Plaintext                      []byte
			ValidTo                        *time.Time
		}
		err := (Codec{}).Decode([]byte(tt.text), &in)
		var refused *Error
		if !errors.As(err, &refused) || refused.Text != tt.want {
			t.Errorf("Decode(%.40s) = %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestAppendError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		codec   Codec
		member  string
		text    string
		details any
		want    string
	}{
		{"without text", Codec{}, "message", "", &kmstypes.InvalidCiphertextException{}, `{"__type":"C"}`},
		{"text", Codec{}, "Message", "a \"b\"", &smtypes.ResourceNotFoundException{Message: aws.String("ignored")}, `{"__type":"C","Message":"a \"b\""}`},
		{"more members", Codec{Lower: true}, "message", "x", &ecstypes.ConflictException{ResourceIds: []string{"r"}}, `{"__type":"C","message":"x","resourceIds":["r"]}`},
		{"none of the SDK's", Codec{}, "Message", "x", &smithy.GenericAPIError{Code: "Other"}, `{"__type":"C","Message":"x"}`},
	} {
		got, err := tt.codec.AppendError(nil, "C", tt.member, tt.text, tt.details)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: AppendError = %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	const text = `{"hookDetails":{"a":[1,2.5,"x",true,null]}}`
	var hook ecstypes.DeploymentLifecycleHook
	if err := (Codec{Lower: true}).Decode([]byte(text), &hook); err != nil {
		t.Fatal(err)
	}
	got, err := Codec{Lower: true}.Append(nil, &hook)
	if err != nil || string(got) != text {
		t.Errorf("Append = %s, %v, want %s", got, err, text)
	}
}

func TestAppendTime(t *testing.T) {
	t.Parallel()
	for ms, want := range map[int64]string{0: "0.0", 1: "0.001", 10: "0.01", 120: "0.12", -1500: "-1.5", 1e12 + 7: "1000000000.007"} {
		if got := string(AppendTime(nil, time.UnixMilli(ms))); got != want {
			t.Errorf("AppendTime(%d ms) = %s, want %s", ms, got, want)
		}
	}
}

func TestFloats(t *testing.T) {
	t.Parallel()
	type floats struct{ A, B, C *float64 }
	in := floats{aws.Float64(math.Inf(1)), aws.Float64(math.Inf(-1)), aws.Float64(1.5)}
	text, err := (Codec{}).Append(nil, &in)
	if err != nil {
		t.Fatal(err)
	}
	var out floats
	if err := (Codec{}).Decode(text, &out); err != nil || *out.A != *in.A || *out.B != *in.B || *out.C != 1.5 {
		t.Errorf("Decode(%s) = %v", text, err)
	}
}

// What is JSON to the standard library is JSON here, and nothing else.
func FuzzSkip(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.0e-3,"\u00e9",null,true,false,{}]}`, `[`, `"\ud800"`, `-`, `0x`, ` 1 `, `"` + "\x80" + `"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := decoder{data: data}
		err := d.skip()
		d.space()
		got := err == nil && d.at == len(data)
		if want := json.Valid(data) && utf8.Valid(data); got != want && err != errDepth {
			t.Errorf("skip(%q) = %v, want %v", data, err, want)
		}
	})
}

// A string is read as the standard library reads it.
func FuzzString(f *testing.F) {
	f.Add(`a\n\u00e9\ud83d\ude00\ud800x\/`)
	f.Fuzz(func(t *testing.T, s string) {
		text := []byte(`{"S":"` + s + `"}`)
		var got, want struct{ S *string }
		err := (Codec{}).Decode(text, &got)
		if json.Unmarshal(text, &want) != nil || !utf8.Valid(text) || strings.Contains(s, `"`) {
			return
		}
		if err != nil || *got.S != *want.S {
			t.Errorf("Decode(%s) = %q, %v, want %q", text, *got.S, err, *want.S)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	in := []byte(`{"SecretId":"prod/shop/database-password","VersionStage":"AWSCURRENT"}`)
	out := &secretsmanager.GetSecretValueOutput{
		ARN: aws.String("arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/shop/database-password-AbCdEf"), Name: aws.String("prod/shop/database-password"),
		SecretString: aws.String("correct horse battery staple"), VersionId: aws.String("01234567-89ab-cdef-0123-456789abcdef"), VersionStages: []string{"AWSCURRENT"},
		CreatedDate: aws.Time(time.UnixMilli(1569534789046)),
	}
	buffer := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var request secretsmanager.GetSecretValueInput
		if err := (Codec{}).Decode(in, &request); err != nil {
			b.Fatal(err)
		}
		if _, err := (Codec{}).Append(buffer, out); err != nil {
			b.Fatal(err)
		}
	}
}
