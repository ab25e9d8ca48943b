package ssm_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
	malotessm "github.com/malote/malote/service/ssm"
)

const arnPrefix = "arn:aws:ssm:" + malotetest.Region + ":" + malotetest.Account + ":parameter/"

// wantError expects an AWS error of that code whose message holds text; "=" for an empty one.
func wantError(t testing.TB, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("error = %v, want %s", err, code)
		return
	}
	if text == "=" && api.ErrorMessage() != "" || text != "=" && !strings.Contains(api.ErrorMessage(), text) {
		t.Errorf("message of %s = %q, want %q", code, api.ErrorMessage(), text)
	}
}

func put(t testing.TB, c *ssm.Client, name, value string, change ...func(*ssm.PutParameterInput)) *ssm.PutParameterOutput {
	t.Helper()
	in := &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString}
	for _, f := range change {
		f(in)
	}
	out, err := c.PutParameter(t.Context(), in)
	if err != nil {
		t.Fatalf("PutParameter(%s): %v", name, err)
	}
	return out
}

func overwrite(in *ssm.PutParameterInput) { in.Overwrite = aws.Bool(true) }
func secure(in *ssm.PutParameterInput)    { in.Type = types.ParameterTypeSecureString }

func get(t testing.TB, c *ssm.Client, name string) (*types.Parameter, error) {
	t.Helper()
	out, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Parameter, nil
}

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	first, second := sys.Canary(), sys.Canary()

	if out := put(t, c, "/app/db", first); out.Version != 1 || out.Tier != types.ParameterTierStandard {
		t.Errorf("PutParameter = %+v", out)
	}
	p, err := get(t, c, "/app/db")
	if err != nil {
		t.Fatal(err)
	}
	if p.LastModifiedDate == nil {
		t.Error("no LastModifiedDate")
	}
	p.LastModifiedDate = nil
	want := &types.Parameter{
		ARN: aws.String(arnPrefix + "app/db"), Name: aws.String("/app/db"), Type: types.ParameterTypeString,
		Value: &first, Version: 1, DataType: aws.String("text"),
	}
	if diff := cmp.Diff(want, p, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".noSmithyDocumentSerde" }, cmp.Ignore())); diff != "" {
		t.Errorf("Parameter (-want +got):\n%s", diff)
	}

	_, err = c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/app/db"), Value: &second, Type: types.ParameterTypeString})
	wantError(t, err, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	out, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/app/db"), Value: &second, Overwrite: aws.Bool(true)})
	if err != nil || out.Version != 2 {
		t.Fatalf("overwriting: %+v, %v", out, err)
	}
	if p, err := get(t, c, " /app/db:1 "); err != nil || *p.Value != first || *p.Selector != ":1" {
		t.Errorf("with spaces around: %v", err)
	}
	for selector, want := range map[string]string{"": second, ":1": first, ":2": second} {
		p, err := get(t, c, "/app/db"+selector)
		if err != nil || *p.Value != want || aws.ToString(p.Selector) != selector || *p.Name != "/app/db" {
			t.Errorf("GetParameter(/app/db%s): %v, selector %q, name %q", selector, err, aws.ToString(p.Selector), aws.ToString(p.Name))
		}
	}
	_, err = get(t, c, "/app/db:3")
	wantError(t, err, "ParameterVersionNotFound", "Systems Manager could not find version 3 of /app/db. Verify the version and try again.")
	_, err = get(t, c, "/app/db:prod")
	wantError(t, err, "ParameterVersionNotFound", "prod")
	_, err = get(t, c, "/app/other")
	wantError(t, err, "ParameterNotFound", "=")

	p, err = get(t, c, arnPrefix+"app/db:1")
	if err != nil || *p.Name != "/app/db" || *p.Value != first {
		t.Errorf("by ARN: %+v, %v", p, err)
	}
}

// One level: with a slash or without, it is the same parameter, named as it was asked for.
func TestLeadingSlash(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "x", "1")
	for _, name := range []string{"x", "/x", arnPrefix + "x"} {
		p, err := get(t, c, name)
		if err != nil {
			t.Fatal(err)
		}
		want := name
		if strings.HasPrefix(name, "arn:") {
			want = "x"
		}
		if *p.Name != want || *p.ARN != arnPrefix+"x" {
			t.Errorf("GetParameter(%s): name %s, ARN %s", name, *p.Name, *p.ARN)
		}
	}
	put(t, c, "/x", "2", overwrite)
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/x")}); err != nil {
		t.Fatal(err)
	}
	_, err := get(t, c, "x")
	wantError(t, err, "ParameterNotFound", "=")
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/there", "1")
	put(t, c, "/a/there", "1")
	put(t, c, "/advanced", "1", func(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced })
	const badName = `Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`

	type input = ssm.PutParameterInput
	for name, tt := range map[string]struct {
		in         input
		code, text string
	}{
		"no type":               {input{Type: ""}, "ValidationException", "A parameter type is required when you create a parameter."},
		"unknown type":          {input{Type: "Text"}, "ValidationException", "'type' failed to satisfy constraint"},
		"empty":                 {input{Value: aws.String("")}, "ValidationException", "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1."},
		"too long":              {input{Value: aws.String(strings.Repeat("v", 4097))}, "ValidationException", "Standard tier parameters support a maximum parameter value of 4096 characters."},
		"too long, advanced":    {input{Value: aws.String(strings.Repeat("v", 8193)), Tier: types.ParameterTierAdvanced}, "ValidationException", "8192"},
		"far too long":          {input{Value: aws.String(strings.Repeat("v", 32769))}, "ValidationException", "Value at 'value' failed to satisfy constraint: Member must have length less than or equal to 32768"},
		"downgraded":            {input{Name: aws.String("/advanced"), Tier: types.ParameterTierStandard, Overwrite: aws.Bool(true)}, "ValidationException", "You can't downgrade a parameter from the advanced-parameter tier"},
		"nested":                {input{Value: aws.String("a {{ssm:/b}}")}, "ValidationException", `Parameter value can't nest another parameter. Do not use "{{}}" in the value.`},
		"tags and overwrite":    {input{Name: aws.String("/there"), Overwrite: aws.Bool(true), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}, "ValidationException", "Invalid request: tags and overwrite can't be used together."},
		"aws: tag":              {input{Tags: []types.Tag{{Key: aws.String("aws:k"), Value: aws.String("v")}}}, "ValidationException", "aws: prefixed tag key names"},
		"policies, standard":    {input{Policies: aws.String(`[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"1","Unit":"Days"}}]`)}, "ValidationException", "Tier"},
		"data type":             {input{DataType: aws.String("aws:ec2:image")}, "ValidationException", "The following data type is not supported: aws:ec2:image (Data type names are all lowercase.)"},
		"pattern":               {input{AllowedPattern: aws.String(`\d+`), Value: aws.String("12a")}, "ParameterPatternMismatchException", `Parameter value, cannot be validated against allowedPattern: \d+`},
		"bad pattern":           {input{AllowedPattern: aws.String(`(`)}, "InvalidAllowedPatternException", ""},
		"key of a String":       {input{KeyId: aws.String("alias/aws/ssm")}, "ValidationException", "KeyId"},
		"type in a hierarchy":   {input{Name: aws.String("/a/there"), Type: types.ParameterTypeSecureString, Overwrite: aws.Bool(true)}, "HierarchyTypeMismatchException", ""},
		"not qualified":         {input{Name: aws.String("a/b")}, "ValidationException", "Parameter name must be a fully qualified name"},
		"aws path":              {input{Name: aws.String("/aws/x")}, "AccessDeniedException", "No access to reserved parameter name: /aws/x."},
		"aws name":              {input{Name: aws.String("awsome")}, "ValidationException", `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`},
		"ssm name":              {input{Name: aws.String("SSMx")}, "ValidationException", `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`},
		"ssm path":              {input{Name: aws.String("/ssm/x")}, "ValidationException", badName},
		"empty level":           {input{Name: aws.String("/a//b")}, "ValidationException", badName},
		"inner space":           {input{Name: aws.String("/a b")}, "ValidationException", badName},
		"trailing slash":        {input{Name: aws.String("/a/")}, "ValidationException", badName},
		"colon":                 {input{Name: aws.String("/a:1")}, "ValidationException", badName},
		"16 levels":             {input{Name: aws.String(strings.Repeat("/l", 16))}, "HierarchyLevelLimitExceededException", ""},
		"name too long":         {input{Name: aws.String("/" + strings.Repeat("n", 1000))}, "ValidationException", ""},
		"key that is not there": {input{Type: types.ParameterTypeSecureString, KeyId: aws.String("alias/nothing")}, "InvalidKeyId", "alias/nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			in := tt.in
			if in.Name == nil {
				in.Name = aws.String("/new")
			}
			if in.Value == nil {
				in.Value = aws.String("value")
			}
			if in.Type == "" && name != "no type" && !aws.ToBool(in.Overwrite) {
				in.Type = types.ParameterTypeString
			}
			_, err := c.PutParameter(t.Context(), &in)
			wantError(t, err, tt.code, tt.text)
		})
	}
	// None of them left a trace.
	out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range out.Parameters {
		names = append(names, fmt.Sprintf("%s v%d", *p.Name, p.Version))
	}
	if diff := cmp.Diff([]string{"/a/there v1", "/advanced v1", "/there v1"}, names); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	put(t, c, strings.Repeat("/l", 15), "15 levels")
	put(t, c, "  /spaces  ", "around")
	put(t, c, "/none", "x", func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String("") })
	put(t, c, "/4096", strings.Repeat("v", 4096))
	if _, err := get(t, c, "/spaces"); err != nil {
		t.Error(err)
	}
}

func TestOverwriteInherits(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/p", sys.Canary(), secure, func(in *ssm.PutParameterInput) {
		in.Description, in.AllowedPattern = aws.String("described"), aws.String(".{36}")
	})
	_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("short"), Overwrite: aws.Bool(true)})
	wantError(t, err, "ParameterPatternMismatchException", ".{36}")
	second := sys.Canary()
	if _, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: &second, Overwrite: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Name"), Values: []string{"/p"}}}})
	if err != nil || len(out.Parameters) != 1 {
		t.Fatalf("DescribeParameters = %+v, %v", out, err)
	}
	p := out.Parameters[0]
	if p.Type != types.ParameterTypeSecureString || aws.ToString(p.Description) != "described" || aws.ToString(p.AllowedPattern) != ".{36}" || aws.ToString(p.KeyId) != "alias/aws/ssm" || p.Version != 2 {
		t.Errorf("after overwriting: %+v", p)
	}
	if *p.LastModifiedUser != "arn:aws:iam::"+malotetest.Account+":user/admin" {
		t.Errorf("LastModifiedUser = %s", *p.LastModifiedUser)
	}
	// The type of a one-level parameter may change; the value is then no longer encrypted.
	put(t, c, "/p", strings.Repeat("x", 36), overwrite)
	if p, err := get(t, c, "/p"); err != nil || p.Type != types.ParameterTypeString || *p.Value != strings.Repeat("x", 36) {
		t.Errorf("as String: %+v, %v", p, err)
	}
	if p, err := get(t, c, "/p:2"); err != nil || *p.Value != second {
		t.Errorf("version 2: %v", err)
	}
}

func TestSecureString(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	keys := kms.NewFromConfig(sys.Config())
	key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id := *key.KeyMetadata.KeyId
	advanced := func(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced }
	underKey := func(in *ssm.PutParameterInput) { in.KeyId = &id }
	values := map[string]string{"/app/standard": sys.Canary(), "/app/own": sys.Canary(), "/app/advanced": strings.Repeat(sys.Canary(), 200)}
	put(t, c, "/app/standard", values["/app/standard"], secure)
	put(t, c, "/app/own", values["/app/own"], secure, underKey)
	put(t, c, "/app/advanced", values["/app/advanced"], secure, underKey, advanced)

	for name, value := range values {
		p, err := get(t, c, name)
		if err != nil || *p.Value != value {
			t.Errorf("GetParameter(%s): %v", name, err)
		}
		out, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name})
		if err != nil {
			t.Fatal(err)
		}
		blob, err := base64.StdEncoding.DecodeString(*out.Parameter.Value)
		if err != nil {
			t.Errorf("%s without decryption: %v", name, err)
		}
		if name != "/app/own" {
			continue
		}
		// A client may decrypt that itself, naming the parameter.
		context := map[string]string{"PARAMETER_ARN": arnPrefix + "app/own"}
		plain, err := keys.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
		if err != nil || string(plain.Plaintext) != value {
			t.Errorf("kms:Decrypt: %v", err)
		}
		_, err = keys.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
		wantError(t, err, "InvalidCiphertextException", "")
	}

	t.Run("denied without kms:Decrypt", func(t *testing.T) {
		reader := ssm.NewFromConfig(sys.User(t, "reader", malotetest.Allow(arnPrefix+"app*", "ssm:GetParameter", "ssm:GetParametersByPath", "ssm:GetParameters", "ssm:GetParameterHistory")))
		// The AWS managed key lets everybody who may read the parameter.
		if p, err := get(t, reader, "/app/standard"); err != nil || *p.Value != values["/app/standard"] {
			t.Errorf("under alias/aws/ssm: %v", err)
		}
		for _, name := range []string{"/app/own", "/app/advanced"} {
			_, err := get(t, reader, name)
			wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access. (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException; Request ID: ")
			if _, err := reader.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name}); err != nil {
				t.Errorf("without decryption: %v", err)
			}
		}
		// In a batch, one denies all.
		_, err := reader.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/app/standard", "/app/own"}, WithDecryption: aws.Bool(true)})
		wantError(t, err, "AccessDeniedException", "AWSKMS")
		_, err = reader.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/app"), WithDecryption: aws.Bool(true)})
		wantError(t, err, "AccessDeniedException", "AWSKMS")
		_, err = reader.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: aws.String("/app/own"), WithDecryption: aws.Bool(true)})
		wantError(t, err, "AccessDeniedException", "AWSKMS")
	})
	t.Run("denied without kms:Encrypt", func(t *testing.T) {
		writer := ssm.NewFromConfig(sys.User(t, "writer", malotetest.Allow("*", "ssm:PutParameter")))
		_, err := writer.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/w"), Value: aws.String(sys.Canary()), Type: types.ParameterTypeSecureString, KeyId: &id})
		wantError(t, err, "AccessDeniedException", "kms:Encrypt")
		put(t, writer, "/w", sys.Canary(), secure)
	})
	t.Run("a disabled key", func(t *testing.T) {
		if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/app/own", "/app/advanced"} {
			_, err := get(t, c, name)
			wantError(t, err, "InvalidKeyId", "is disabled.")
			_, err = c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: aws.String(sys.Canary()), Overwrite: aws.Bool(true)})
			wantError(t, err, "InvalidKeyId", "is disabled.")
		}
		if _, err := keys.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &id}); err != nil {
			t.Fatal(err)
		}
		if p, err := get(t, c, "/app/own"); err != nil || *p.Value != values["/app/own"] || p.Version != 1 {
			t.Errorf("after enabling: %v", err)
		}
	})
}

func TestTiers(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	tier := func(tier types.ParameterTier) func(*ssm.PutParameterInput) {
		return func(in *ssm.PutParameterInput) { in.Tier = tier }
	}
	large := strings.Repeat("v", 4097)
	for _, tt := range []struct {
		name, value string
		change      []func(*ssm.PutParameterInput)
		want        types.ParameterTier
	}{
		{"/p", "small", []func(*ssm.PutParameterInput){tier(types.ParameterTierIntelligentTiering)}, types.ParameterTierStandard},
		{"/p", "small", []func(*ssm.PutParameterInput){overwrite}, types.ParameterTierStandard},
		{"/p", large, []func(*ssm.PutParameterInput){overwrite, tier(types.ParameterTierIntelligentTiering)}, types.ParameterTierAdvanced},
		{"/p", "small", []func(*ssm.PutParameterInput){overwrite, tier(types.ParameterTierIntelligentTiering)}, types.ParameterTierAdvanced},
		{"/p", large, []func(*ssm.PutParameterInput){overwrite}, types.ParameterTierAdvanced},
		{"/q", "small", nil, types.ParameterTierStandard},
		{"/q", strings.Repeat("v", 8192), []func(*ssm.PutParameterInput){overwrite, tier(types.ParameterTierAdvanced)}, types.ParameterTierAdvanced},
		{"/s", "small", []func(*ssm.PutParameterInput){secure}, types.ParameterTierStandard},
		{"/s", large, []func(*ssm.PutParameterInput){overwrite, secure, tier(types.ParameterTierAdvanced)}, types.ParameterTierAdvanced},
	} {
		if out := put(t, c, tt.name, tt.value, tt.change...); out.Tier != tt.want {
			t.Errorf("PutParameter(%s) = %s, want %s", tt.name, out.Tier, tt.want)
		}
		if p, err := get(t, c, tt.name); err != nil || *p.Value != tt.value {
			t.Errorf("GetParameter(%s): %v", tt.name, err)
		}
	}
	// Each version is read by the tier that it was made in.
	if p, err := get(t, c, "/s:1"); err != nil || *p.Value != "small" {
		t.Errorf("GetParameter(/s:1): %v", err)
	}
	_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/q"), Value: aws.String("x"), Overwrite: aws.Bool(true), Tier: types.ParameterTierStandard})
	wantError(t, err, "ValidationException", "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter.")
}

func TestGetParameters(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/b", "1")
	put(t, c, "/b", "2", overwrite)
	put(t, c, "/a", "1")
	out, err := c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/b:1", "/none", "/a", "/b:9", "/b:label"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range out.Parameters {
		got = append(got, *p.Name+aws.ToString(p.Selector)+"="+*p.Value)
	}
	if diff := cmp.Diff([]string{"/a=1", "/b:1=1"}, got); diff != "" {
		t.Errorf("Parameters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/none", "/b:9", "/b:label"}, out.InvalidParameters); diff != "" {
		t.Errorf("InvalidParameters (-want +got):\n%s", diff)
	}
	if out, err = c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/none"}}); err != nil || out.Parameters == nil || len(out.InvalidParameters) != 1 {
		t.Errorf("none: %+v, %v", out, err)
	}
	_, err = c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/a", "b/c"}})
	wantError(t, err, "ValidationException", "Parameter name: can't be prefixed with")
	_, err = c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: strings.Split(strings.Repeat("/a ", 11), " ")})
	wantError(t, err, "ValidationException", "'names' failed to satisfy constraint: Member must have length less than or equal to 10")

	// One that is denied denies all, whether it exists or not.
	app := ssm.NewFromConfig(sys.Role(t, "app", malotetest.Allow(arnPrefix+"a", "ssm:GetParameters")))
	if out, err := app.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/a"}}); err != nil || len(out.Parameters) != 1 {
		t.Errorf("allowed: %+v, %v", out, err)
	}
	for _, other := range []string{"/b", "/none", "b/c"} {
		_, err := app.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/a", other}})
		wantError(t, err, "AccessDeniedException", "is not authorized to perform: ssm:GetParameters on resource: "+arnPrefix+strings.TrimPrefix(other, "/")+" because no identity-based policy allows the ssm:GetParameters action")
	}
}

func TestGetParametersByPath(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	for _, name := range []string{"/app", "/app/a", "/app/b", "/app/b/deep", "/app/b-c", "/app/d/deep/er", "/application/x", "plain"} {
		put(t, c, name, "v")
	}
	list := func(t *testing.T, in *ssm.GetParametersByPathInput) []string {
		t.Helper()
		names := []string{}
		pages := ssm.NewGetParametersByPathPaginator(c, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Parameters {
				names = append(names, *p.Name)
			}
			if in.MaxResults != nil && len(page.Parameters) > int(*in.MaxResults) {
				t.Errorf("%d on a page", len(page.Parameters))
			}
		}
		return names
	}
	for _, tt := range []struct {
		path string
		deep bool
		want string
	}{
		{"/app", false, "/app/a /app/b /app/b-c"},
		{"/app/", false, "/app/a /app/b /app/b-c"},
		{"/app", true, "/app/a /app/b /app/b-c /app/b/deep /app/d/deep/er"},
		{"/app/b", false, "/app/b/deep"},
		{"/app/a", true, ""},
		{"/nothing", true, ""},
		{"/", false, "/app plain"},
		{"/", true, "/app /app/a /app/b /app/b-c /app/b/deep /app/d/deep/er /application/x plain"},
	} {
		for _, size := range []int32{1, 2, 10} {
			got := list(t, &ssm.GetParametersByPathInput{Path: &tt.path, Recursive: &tt.deep, MaxResults: &size})
			if diff := cmp.Diff(append([]string{}, strings.Fields(tt.want)...), got); diff != "" {
				t.Errorf("%s, recursive %v, by %d (-want +got):\n%s", tt.path, tt.deep, size, diff)
			}
		}
	}

	put(t, c, "/app/a", "secure", func(in *ssm.PutParameterInput) { in.Name = aws.String("/app/s"); secure(in) })
	if _, err := c.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: aws.String("/app/b"), Labels: []string{"prod"}}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "/app/b", "newer", overwrite)
	filtered := func(key, option string, values ...string) *ssm.GetParametersByPathInput {
		return &ssm.GetParametersByPathInput{Path: aws.String("/app"), ParameterFilters: []types.ParameterStringFilter{{Key: &key, Option: optional(option), Values: values}}}
	}
	if got := list(t, filtered("Type", "", "SecureString")); !slices.Equal(got, []string{"/app/s"}) {
		t.Errorf("by type: %q", got)
	}
	if got := list(t, filtered("KeyId", "BeginsWith", "alias/aws")); !slices.Equal(got, []string{"/app/s"}) {
		t.Errorf("by key: %q", got)
	}
	out, err := c.GetParametersByPath(t.Context(), filtered("Label", "", "prod"))
	if err != nil || len(out.Parameters) != 1 || *out.Parameters[0].Value != "v" || out.Parameters[0].Version != 1 {
		t.Errorf("by label: %+v, %v", out, err)
	}

	for name, tt := range map[string]struct {
		in         *ssm.GetParametersByPathInput
		code, text string
	}{
		"relative path":  {&ssm.GetParametersByPathInput{Path: aws.String("app")}, "ValidationException", `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).`},
		"filter key":     {filtered("Name", "", "x"), "InvalidFilterKey", ""},
		"filter option":  {filtered("Type", "Contains", "x"), "InvalidFilterOption", "The following filter option is not valid: Contains. Valid options include: [BeginsWith, Equals]."},
		"label option":   {filtered("Label", "BeginsWith", "x"), "InvalidFilterOption", "BeginsWith"},
		"filter values":  {filtered("Type", ""), "InvalidFilterValue", "The following filter values are missing : null for filter key Type."},
		"token":          {&ssm.GetParametersByPathInput{Path: aws.String("/app"), NextToken: aws.String("nonsense")}, "InvalidNextToken", ""},
		"too large page": {&ssm.GetParametersByPathInput{Path: aws.String("/app"), MaxResults: aws.Int32(11)}, "ValidationException", "maxResults"},
	} {
		_, err := c.GetParametersByPath(t.Context(), tt.in)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantError(t, err, tt.code, tt.text)
	}

	// The token of one path does not continue another.
	first, err := c.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/app"), MaxResults: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/"), NextToken: first.NextToken})
	wantError(t, err, "InvalidNextToken", "")

	t.Run("the policy on the path counts", func(t *testing.T) {
		policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"ssm:GetParametersByPath","Resource":"%[1]sapp","Condition":{"Bool":{"ssm:Recursive":"false"}}},
			{"Effect":"Deny","Action":"ssm:*","Resource":"%[1]sapp/a"}]}`, arnPrefix)
		app := ssm.NewFromConfig(sys.User(t, "path", policy))
		out, err := app.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/app")})
		if err != nil || len(out.Parameters) != 4 || *out.Parameters[0].Name != "/app/a" {
			t.Errorf("GetParametersByPath(/app) = %+v, %v", out, err)
		}
		_, err = app.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/app"), Recursive: aws.Bool(true)})
		wantError(t, err, "AccessDeniedException", arnPrefix+"app because")
		_, err = app.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/app/b")})
		wantError(t, err, "AccessDeniedException", arnPrefix+"app/b because")
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func TestHistoryAndLabels(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	name := aws.String("/p")
	put(t, c, *name, "1", func(in *ssm.PutParameterInput) { in.Description = aws.String("first") })
	for i := 2; i <= 3; i++ {
		put(t, c, *name, fmt.Sprint(i), overwrite)
	}
	label := func(version int64, labels ...string) (*ssm.LabelParameterVersionOutput, error) {
		in := &ssm.LabelParameterVersionInput{Name: name, Labels: labels}
		if version > 0 {
			in.ParameterVersion = &version
		}
		return c.LabelParameterVersion(t.Context(), in)
	}
	out, err := label(0, "prod", "1st", "awsome", "SSM-x", "with space", "good.one-two_3")
	if err != nil || out.ParameterVersion != 3 {
		t.Fatalf("LabelParameterVersion = %+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"1st", "awsome", "SSM-x", "with space"}, out.InvalidLabels); diff != "" {
		t.Errorf("InvalidLabels (-want +got):\n%s", diff)
	}
	if _, err := label(1, "prod"); err != nil { // it moves
		t.Fatal(err)
	}
	if p, err := get(t, c, "/p:prod"); err != nil || p.Version != 1 || *p.Value != "1" || *p.Selector != ":prod" {
		t.Errorf("by label: %+v, %v", p, err)
	}
	_, err = label(9, "prod")
	wantError(t, err, "ParameterVersionNotFound", "Systems Manager could not find version 9 of /p.")
	var ten []string
	for i := range 10 {
		ten = append(ten, fmt.Sprintf("l%d", i))
	}
	if _, err := label(2, ten...); err != nil {
		t.Fatal(err)
	}
	_, err = label(2, "eleventh")
	wantError(t, err, "ParameterVersionLabelLimitExceeded", "A parameter version can have maximum 10 labels.Move one or more labels to another version and try again.")
	un, err := c.UnlabelParameterVersion(t.Context(), &ssm.UnlabelParameterVersionInput{Name: name, ParameterVersion: aws.Int64(2), Labels: append(ten[1:], "prod")})
	if err != nil || len(un.RemovedLabels) != 9 || !slices.Equal(un.InvalidLabels, []string{"prod"}) {
		t.Errorf("UnlabelParameterVersion = %+v, %v", un, err)
	}

	var got []string
	pages := ssm.NewGetParameterHistoryPaginator(c, &ssm.GetParameterHistoryInput{Name: name, MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Parameters {
			got = append(got, fmt.Sprintf("%d %s %v %s", v.Version, *v.Value, v.Labels, aws.ToString(v.Description)))
			if aws.ToString(v.LastModifiedUser) == "" || v.LastModifiedDate == nil || v.Tier == "" {
				t.Errorf("version %d: %+v", v.Version, v)
			}
		}
	}
	if diff := cmp.Diff([]string{"1 1 [prod] first", "2 2 [l0] first", "3 3 [good.one-two_3] first"}, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	_, err = c.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: aws.String("/none")})
	wantError(t, err, "ParameterNotFound", "=")

	reader := ssm.NewFromConfig(sys.User(t, "reader", malotetest.Allow(arnPrefix+"p", "ssm:GetParameter")))
	_, err = reader.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: name})
	wantError(t, err, "AccessDeniedException", "ssm:GetParameterHistory")
	_, err = reader.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: name, Labels: []string{"x"}})
	wantError(t, err, "AccessDeniedException", "ssm:LabelParameterVersion")
	_, err = reader.UnlabelParameterVersion(t.Context(), &ssm.UnlabelParameterVersionInput{Name: name, ParameterVersion: aws.Int64(1), Labels: []string{"prod"}})
	wantError(t, err, "AccessDeniedException", "ssm:UnlabelParameterVersion")
	if p, err := get(t, reader, "/p:prod"); err != nil || p.Version != 1 { // selectors are not part of the ARN
		t.Errorf("reading by label: %v", err)
	}
}

func TestHundredVersions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	for i := range 100 {
		put(t, c, "/p", fmt.Sprint(i+1), overwrite)
	}
	if _, err := c.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: aws.String("/p"), ParameterVersion: aws.Int64(2), Labels: []string{"keep"}}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "/p", "101", overwrite)
	_, err := get(t, c, "/p:1")
	wantError(t, err, "ParameterVersionNotFound", "version 1 of /p")
	_, err = c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("102"), Overwrite: aws.Bool(true)})
	wantError(t, err, "ParameterMaxVersionLimitExceeded", "You attempted to create a new version of /p by calling the PutParameter API with the overwrite flag. Version 2, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.")
	if p, err := get(t, c, "/p"); err != nil || p.Version != 101 {
		t.Errorf("after the refusal: %+v, %v", p, err)
	}
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/p")}); err != nil {
		t.Fatal(err)
	}
	if out := put(t, c, "/p", "again"); out.Version != 1 {
		t.Errorf("version after deletion = %d, want 1", out.Version)
	}
	_, err = get(t, c, "/p:50")
	wantError(t, err, "ParameterVersionNotFound", "")
	_, err = get(t, c, "/p:keep")
	wantError(t, err, "ParameterVersionNotFound", "")
}

func TestConcurrentPuts(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	const writers = 6
	versions := make(chan int64, writers)
	for range writers {
		go func() {
			out, err := c.PutParameter(context.Background(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("v"), Type: types.ParameterTypeString, Overwrite: aws.Bool(true)})
			if err != nil {
				t.Error(err)
				versions <- 0
				return
			}
			versions <- out.Version
		}()
	}
	var got []int64
	for range writers {
		got = append(got, <-versions)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5, 6}, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestDescribeParameters(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/app/a", "1", func(in *ssm.PutParameterInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("red")}, {Key: aws.String("env"), Value: aws.String("prod")}}
	})
	put(t, c, "/app/b/c", "1", secure)
	put(t, c, "/app/list", "1,2", func(in *ssm.PutParameterInput) { in.Type = types.ParameterTypeStringList })
	put(t, c, "apple", "1", func(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced })
	type filter = types.ParameterStringFilter
	by := func(key, option string, values ...string) filter {
		return filter{Key: &key, Option: optional(option), Values: values}
	}
	for _, tt := range []struct {
		filters []filter
		want    string
	}{
		{nil, "/app/a /app/b/c /app/list apple"},
		{[]filter{by("Name", "", "/app/a")}, "/app/a"},
		{[]filter{by("Name", "Equals", "apple", "/app/list", "none")}, "/app/list apple"},
		{[]filter{by("Name", "", "/apple")}, "apple"},
		{[]filter{by("Name", "", "app")}, ""},
		{[]filter{by("Name", "BeginsWith", "/app/")}, "/app/a /app/b/c /app/list"},
		{[]filter{by("Name", "BeginsWith", "app")}, "/app/a /app/b/c /app/list apple"},
		{[]filter{by("Name", "Contains", "b/")}, "/app/b/c"},
		{[]filter{by("Path", "", "/app")}, "/app/a /app/list"},
		{[]filter{by("Path", "OneLevel", "/app/", "/app/b")}, "/app/a /app/b/c /app/list"},
		{[]filter{by("Path", "Recursive", "/app")}, "/app/a /app/b/c /app/list"},
		{[]filter{by("Path", "", "/")}, "apple"},
		{[]filter{by("Type", "", "StringList", "SecureString")}, "/app/b/c /app/list"},
		{[]filter{by("KeyId", "", "alias/aws/ssm")}, "/app/b/c"},
		{[]filter{by("Tier", "", "Advanced")}, "apple"},
		{[]filter{by("DataType", "", "text")}, "/app/a /app/b/c /app/list apple"},
		{[]filter{by("tag:team", "")}, "/app/a"},
		{[]filter{by("tag:team", "", "blue", "red"), by("tag:env", "BeginsWith", "pr")}, "/app/a"},
		{[]filter{by("tag:team", "", "blue")}, ""},
		{[]filter{by("Path", "Recursive", "/app"), by("Type", "", "String")}, "/app/a"},
	} {
		for _, size := range []int32{0, 1, 50} {
			in := &ssm.DescribeParametersInput{ParameterFilters: tt.filters}
			if size > 0 {
				in.MaxResults = &size
			}
			got := []string{}
			pages := ssm.NewDescribeParametersPaginator(c, in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range page.Parameters {
					got = append(got, *p.Name)
				}
			}
			if diff := cmp.Diff(append([]string{}, strings.Fields(tt.want)...), got); diff != "" {
				text, _ := json.Marshal(tt.filters)
				t.Errorf("%s by %d (-want +got):\n%s", text, size, diff)
			}
		}
	}
	out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{Filters: []types.ParametersFilter{{Key: types.ParametersFilterKeyName, Values: []string{"/app/b"}}}})
	if err != nil || len(out.Parameters) != 1 || *out.Parameters[0].ARN != arnPrefix+"app/b/c" {
		t.Errorf("older filter: %+v, %v", out, err)
	}

	for name, tt := range map[string]struct {
		in         *ssm.DescribeParametersInput
		code, text string
	}{
		"both":         {&ssm.DescribeParametersInput{Filters: []types.ParametersFilter{{Key: "Name", Values: []string{"x"}}}, ParameterFilters: []filter{by("Name", "", "x")}}, "ValidationException", "You can use either Filters or ParameterFilters in a single request."},
		"key":          {&ssm.DescribeParametersInput{ParameterFilters: []filter{by("Label", "", "x")}}, "InvalidFilterKey", ""},
		"twice":        {&ssm.DescribeParametersInput{ParameterFilters: []filter{by("Name", "", "x"), by("Name", "", "y")}}, "InvalidFilterKey", ""},
		"path option":  {&ssm.DescribeParametersInput{ParameterFilters: []filter{by("Path", "Equals", "/x")}}, "InvalidFilterOption", "The following filter option is not valid: Equals. Valid options include: [Recursive, OneLevel]."},
		"values":       {&ssm.DescribeParametersInput{ParameterFilters: []filter{by("Name", "")}}, "InvalidFilterValue", "The following filter values are missing : null for filter key Name."},
		"relative":     {&ssm.DescribeParametersInput{ParameterFilters: []filter{by("Path", "", "x")}}, "ValidationException", "The parameter doesn't meet the parameter name requirements."},
		"unknown":      {&ssm.DescribeParametersInput{ParameterFilters: []filter{by("Colour", "", "x")}}, "ValidationException", ""},
		"wrong token":  {&ssm.DescribeParametersInput{NextToken: aws.String("AAAA")}, "InvalidNextToken", ""},
		"51 on a page": {&ssm.DescribeParametersInput{MaxResults: aws.Int32(51)}, "ValidationException", "maxResults"},
	} {
		_, err := c.DescribeParameters(t.Context(), tt.in)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantError(t, err, tt.code, tt.text)
	}
	reader := ssm.NewFromConfig(sys.User(t, "reader", malotetest.Allow(arnPrefix+"*", "ssm:*")))
	_, err = reader.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
	wantError(t, err, "AccessDeniedException", "ssm:DescribeParameters on resource: arn:aws:ssm:"+malotetest.Region+":"+malotetest.Account+":* because")
}

func TestDelete(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/a", "1")
	put(t, c, "/b", "1")
	_, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/none")})
	wantError(t, err, "ParameterNotFound", "=")

	app := ssm.NewFromConfig(sys.User(t, "app", malotetest.Allow(arnPrefix+"a", "ssm:Delete*")))
	_, err = app.DeleteParameters(t.Context(), &ssm.DeleteParametersInput{Names: []string{"/a", "/b"}})
	wantError(t, err, "AccessDeniedException", arnPrefix+"b because")
	for _, name := range []string{"/b", "/none"} {
		_, err = app.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: &name})
		wantError(t, err, "AccessDeniedException", "ssm:DeleteParameter")
	}
	if _, err := get(t, c, "/a"); err != nil {
		t.Errorf("a denied DeleteParameters deleted: %v", err)
	}

	out, err := c.DeleteParameters(t.Context(), &ssm.DeleteParametersInput{Names: []string{"/none", "/b", "/a", "x/y"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/b", "/a"}, out.DeletedParameters); diff != "" {
		t.Errorf("DeletedParameters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/none", "x/y"}, out.InvalidParameters); diff != "" {
		t.Errorf("InvalidParameters (-want +got):\n%s", diff)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	const kind = types.ResourceTypeForTaggingParameter
	tags := func(id string) string {
		t.Helper()
		out, err := c.ListTagsForResource(t.Context(), &ssm.ListTagsForResourceInput{ResourceType: kind, ResourceId: &id})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, tag := range out.TagList {
			list = append(list, *tag.Key+"="+*tag.Value)
		}
		return strings.Join(list, " ")
	}
	put(t, c, "x", "1", func(in *ssm.PutParameterInput) { in.Tags = []types.Tag{tag("b", "1"), tag("a", "1")} })
	if got := tags("/x"); got != "a=1 b=1" {
		t.Errorf("tags = %s", got)
	}
	if _, err := c.AddTagsToResource(t.Context(), &ssm.AddTagsToResourceInput{ResourceType: kind, ResourceId: aws.String("/x"), Tags: []types.Tag{tag("b", "2"), tag("team", "red")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RemoveTagsFromResource(t.Context(), &ssm.RemoveTagsFromResourceInput{ResourceType: kind, ResourceId: aws.String("x"), TagKeys: []string{"a", "none"}}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "x", "2", overwrite)
	if got := tags("x"); got != "b=2 team=red" {
		t.Errorf("tags = %s", got)
	}

	for name, tt := range map[string]struct {
		kind       types.ResourceTypeForTagging
		id         string
		tags       []types.Tag
		code, text string
	}{
		"no such parameter": {kind, "/none", []types.Tag{tag("a", "1")}, "InvalidResourceId", ""},
		"by ARN":            {kind, arnPrefix + "x", []types.Tag{tag("a", "1")}, "ValidationException", "The parameter doesn't meet the parameter name requirements."},
		"another type":      {types.ResourceTypeForTaggingDocument, "x", []types.Tag{tag("a", "1")}, "InvalidResourceId", ""},
		"aws:":              {kind, "x", []types.Tag{tag("aws:a", "1")}, "ValidationException", "aws: prefixed"},
		"too many": {kind, "x", func() (tags []types.Tag) {
			for i := range 49 {
				tags = append(tags, tag(fmt.Sprint(i), ""))
			}
			return tags
		}(), "TooManyTagsError", ""},
	} {
		_, err := c.AddTagsToResource(t.Context(), &ssm.AddTagsToResourceInput{ResourceType: tt.kind, ResourceId: &tt.id, Tags: tt.tags})
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantError(t, err, tt.code, tt.text)
	}

	t.Run("decide", func(t *testing.T) {
		put(t, c, "/y", "1", func(in *ssm.PutParameterInput) { in.Tags = []types.Tag{tag("team", "blue")} })
		for i, key := range []string{"aws:ResourceTag", "ssm:resourceTag"} {
			policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:*","Resource":"*","Condition":{"StringEquals":{"` + key + `/team":"red"}}}]}`
			app := ssm.NewFromConfig(sys.User(t, fmt.Sprintf("red%d", i), policy))
			if _, err := get(t, app, "x"); err != nil {
				t.Errorf("%s: %v", key, err)
			}
			_, err := get(t, app, "/y")
			wantError(t, err, "AccessDeniedException", arnPrefix+"y")
			_, err = app.ListTagsForResource(t.Context(), &ssm.ListTagsForResourceInput{ResourceType: kind, ResourceId: aws.String("/y")})
			wantError(t, err, "AccessDeniedException", "ssm:ListTagsForResource")
			_, err = app.RemoveTagsFromResource(t.Context(), &ssm.RemoveTagsFromResourceInput{ResourceType: kind, ResourceId: aws.String("/y"), TagKeys: []string{"a"}})
			wantError(t, err, "AccessDeniedException", "ssm:RemoveTagsFromResource")
		}
	})
	t.Run("need ssm:AddTagsToResource on create", func(t *testing.T) {
		app := ssm.NewFromConfig(sys.User(t, "app", malotetest.Allow("*", "ssm:PutParameter")))
		_, err := app.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/z"), Value: aws.String("1"), Type: types.ParameterTypeString, Tags: []types.Tag{tag("a", "1")}})
		wantError(t, err, "AccessDeniedException", "ssm:AddTagsToResource on resource: "+arnPrefix+"z")
		put(t, app, "/z", "1")
	})
	t.Run("ssm:Overwrite decides", func(t *testing.T) {
		app := ssm.NewFromConfig(sys.User(t, "once", `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"ssm:PutParameter","Resource":"*"},
			{"Effect":"Deny","Action":"ssm:PutParameter","Resource":"*","Condition":{"StringEquals":{"ssm:Overwrite":"true"}}}]}`))
		put(t, app, "/once", "1")
		_, err := app.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/once"), Value: aws.String("2"), Overwrite: aws.Bool(true)})
		wantError(t, err, "AccessDeniedException", "with an explicit deny in an identity-based policy")
	})
}

func TestSecretsManagerReference(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	value := sys.Canary()
	secret, err := secretsmanager.NewFromConfig(sys.Config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("app/db"), SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	const reference = "/aws/reference/secretsmanager/app/db"
	for _, name := range []string{reference, reference + ":AWSCURRENT", reference + ":" + *secret.VersionId} {
		p, err := get(t, c, name)
		if err != nil {
			t.Fatalf("GetParameter(%s): %v", name, err)
		}
		if *p.Name != name || *p.Value != value || p.Type != types.ParameterTypeSecureString || *p.ARN != *secret.ARN {
			t.Errorf("GetParameter(%s): name %s, type %s, ARN %s", name, *p.Name, p.Type, *p.ARN)
		}
		var source map[string]any
		if err := json.Unmarshal([]byte(*p.SourceResult), &source); err != nil || source["ARN"] != *secret.ARN || source["name"] != "app/db" {
			t.Errorf("SourceResult of %s: %v", name, err)
		}
		batch, err := c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{name}, WithDecryption: aws.Bool(true)})
		if err != nil || len(batch.Parameters) != 1 || *batch.Parameters[0].Value != value {
			t.Errorf("GetParameters(%s): %v", name, err)
		}
	}
	_, err = c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(reference)})
	wantError(t, err, "ValidationException", "WithDecryption flag must be True for retrieving a Secret Manager secret.")
	for _, name := range []string{reference + "x", reference + ":NONE"} {
		_, err = get(t, c, name)
		wantError(t, err, "ParameterNotFound", "An error occurred (ParameterNotFound) when referencing Secrets Manager: Secret "+name+" not found.")
		batch, err := c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{name}, WithDecryption: aws.Bool(true)})
		if err != nil || !slices.Equal(batch.InvalidParameters, []string{name}) {
			t.Errorf("GetParameters(%s): %+v, %v", name, batch, err)
		}
	}
	_, err = get(t, c, "app-db")
	wantError(t, err, "ParameterNotFound", "=")

	// Both services must allow it.
	parameters := ssm.NewFromConfig(sys.User(t, "parameters", malotetest.Allow("*", "ssm:GetParameter")))
	_, err = get(t, parameters, reference)
	wantError(t, err, "AccessDeniedException", "secretsmanager:GetSecretValue")
	secrets := ssm.NewFromConfig(sys.User(t, "secrets", malotetest.Allow("*", "secretsmanager:GetSecretValue")))
	_, err = get(t, secrets, reference)
	wantError(t, err, "AccessDeniedException", "ssm:GetParameter on resource: "+arnPrefix+"aws/reference/secretsmanager/app/db")
}

// No door is forgotten: every operation that there is denies nobody's request, before it
// says anything else.
func TestNobody(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	put(t, ssm.NewFromConfig(sys.Config()), "/p", sys.Canary(), secure)
	nobody := reflect.ValueOf(ssm.NewFromConfig(sys.User(t, "nobody", "")))
	inputs := []any{}
	for _, name := range []*string{aws.String("/p"), aws.String("/none")} {
		inputs = append(inputs,
			&ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: name, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}},
			&ssm.DeleteParameterInput{Name: name},
			&ssm.DeleteParametersInput{Names: []string{*name}},
			&ssm.DescribeParametersInput{},
			&ssm.GetParameterHistoryInput{Name: name},
			&ssm.GetParameterInput{Name: name},
			&ssm.GetParametersByPathInput{Path: name},
			&ssm.GetParametersInput{Names: []string{*name}},
			&ssm.LabelParameterVersionInput{Name: name, Labels: []string{"l"}},
			&ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: name},
			&ssm.PutParameterInput{Name: name, Value: aws.String("v")},
			&ssm.RemoveTagsFromResourceInput{ResourceType: "Document", ResourceId: name, TagKeys: []string{"k"}},
			&ssm.UnlabelParameterVersionInput{Name: name, ParameterVersion: aws.Int64(7), Labels: []string{"l"}},
		)
	}
	asked := map[string]bool{}
	for _, in := range inputs {
		operation := strings.TrimSuffix(reflect.TypeOf(in).Elem().Name(), "Input")
		asked[operation] = true
		results := nobody.MethodByName(operation).Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.ValueOf(in)})
		err, _ := results[1].Interface().(error)
		wantError(t, err, "AccessDeniedException", "is not authorized to perform: ssm:"+operation+" on resource: arn:aws:ssm:")
	}
	service := reflect.TypeFor[*malotessm.Service]()
	for i := range service.NumMethod() {
		if name := service.Method(i).Name; !asked[name] {
			t.Errorf("%s was not asked", name)
		}
	}
}

func TestDenials(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	put(t, ssm.NewFromConfig(sys.Config()), "/p", sys.Canary(), secure)
	nobody := ssm.NewFromConfig(sys.User(t, "nobody", ""))
	for _, name := range []string{"/p", "/none", "a/b", arnPrefix + "p", "/aws/service/ami"} {
		_, err := get(t, nobody, name)
		wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::"+malotetest.Account+":user/nobody is not authorized to perform: ssm:GetParameter on resource: "+arnPrefix)
		_, err = nobody.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Overwrite: aws.Bool(true)})
		wantError(t, err, "AccessDeniedException", "ssm:PutParameter")
	}
	// Another account's parameter is out of reach, whatever the caller's policies say.
	_, err := get(t, ssm.NewFromConfig(sys.Config()), "arn:aws:ssm:"+malotetest.Region+":210987654321:parameter/p")
	wantError(t, err, "AccessDeniedException", "ssm:GetParameter")
	_, err = get(t, ssm.NewFromConfig(sys.Config()), "/aws/service/ami")
	wantError(t, err, "ParameterNotFound", "=")
	_, err = get(t, ssm.NewFromConfig(sys.Config()), "arn:aws:ssm:eu-west-1:"+malotetest.Account+":parameter/p")
	wantError(t, err, "ParameterNotFound", "=")
}
