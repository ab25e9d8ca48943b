package ssm_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/malotetest"
)

// What stand-ins for Parameter Store have got wrong, so that programs which passed against
// them failed on AWS, or left secrets in clear.
func TestKnownDifferences(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T, sys *malotetest.System, c *ssm.Client){
		"a malformed name is not merely absent": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			for _, name := range []string{"a/b", "/a//b", "/a b", "/a!", "/ssm/x", "ssmx", "/a/", "x:"} {
				_, err := get(t, c, name)
				wantError(t, err, "ValidationException", `Parameter name: can't be prefixed with "ssm" (case-insensitive).`)
				_, err = c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/ok", name}})
				wantError(t, err, "ValidationException", `Parameter name: can't be prefixed with "ssm" (case-insensitive).`)
			}
		},
		"ParameterNotFound says nothing more": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			_, err := get(t, c, "/none")
			wantError(t, err, "ParameterNotFound", "=")
			_, err = c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/none")})
			wantError(t, err, "ParameterNotFound", "=")
		},
		"overwriting without Type keeps a secret encrypted": func(t *testing.T, sys *malotetest.System, c *ssm.Client) {
			put(t, c, "/p", sys.Canary(), secure)
			second := sys.Canary()
			put(t, c, "/p", second, overwrite, func(in *ssm.PutParameterInput) { in.Type = "" })
			out, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/p")})
			if err != nil || out.Parameter.Type != types.ParameterTypeSecureString || *out.Parameter.Value == second {
				t.Errorf("GetParameter = %v, %v", out.Parameter.Type, err)
			}
		},
		"a type does not change": func(t *testing.T, sys *malotetest.System, c *ssm.Client) {
			all := []types.ParameterType{types.ParameterTypeString, types.ParameterTypeStringList, types.ParameterTypeSecureString}
			for _, from := range all {
				for _, name := range []string{"one" + string(from), "/a/" + string(from)} {
					put(t, c, name, sys.Canary(), func(in *ssm.PutParameterInput) { in.Type = from })
					for _, to := range all {
						_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Type: to, Overwrite: aws.Bool(true)})
						if from != to {
							wantError(t, err, "HierarchyTypeMismatchException", "You must create a new, unique parameter.")
						} else if err != nil {
							t.Error(err)
						}
					}
				}
			}
		},
		"AllowedPattern holds": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			put(t, c, "/p", "12", func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String(`\d+`) })
			_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("12a"), Overwrite: aws.Bool(true)})
			wantError(t, err, "ParameterPatternMismatchException", `Parameter value, cannot be validated against allowedPattern: \d+`)
			put(t, c, "/p", "12a", overwrite, func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String("") })
		},
		"tags of the creation stay, and come with it alone": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			tagged := func(in *ssm.PutParameterInput) {
				in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
			}
			put(t, c, "/p", "x", tagged)
			put(t, c, "/p", "y", overwrite)
			out, err := c.ListTagsForResource(t.Context(), &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/p")})
			if err != nil || len(out.TagList) != 1 || *out.TagList[0].Key != "k" || *out.TagList[0].Value != "v" {
				t.Errorf("ListTagsForResource = %+v, %v", out, err)
			}
			in := &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("z"), Overwrite: aws.Bool(true)}
			tagged(in)
			_, err = c.PutParameter(t.Context(), in)
			wantError(t, err, "ValidationException", "Invalid request: tags and overwrite can't be used together.")
		},
		"what was refused is not there": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("x"), Type: types.ParameterTypeSecureString, KeyId: aws.String("alias/none")})
			wantError(t, err, "InvalidKeyId", "alias/none")
			out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
			if err != nil || len(out.Parameters) != 0 {
				t.Errorf("DescribeParameters = %+v, %v", out, err)
			}
		},
		"every filter filters": func(t *testing.T, sys *malotetest.System, c *ssm.Client) {
			put(t, c, "/a/p", sys.Canary(), secure, advanced, func(in *ssm.PutParameterInput) {
				in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
			})
			put(t, c, "/b/q", "x")
			for _, f := range []struct{ key, option, value string }{
				{"Name", "", "/a/p"}, {"Name", "BeginsWith", "/a"}, {"Name", "Contains", "/p"}, {"Type", "", "SecureString"}, {"KeyId", "", "alias/aws/ssm"},
				{"Tier", "", "Advanced"}, {"Path", "", "/a"}, {"Path", "Recursive", "/a"}, {"tag:k", "", "v"}, {"tag:k", "BeginsWith", "v"},
			} {
				filter := types.ParameterStringFilter{Key: &f.key, Option: optional(f.option), Values: []string{f.value}}
				out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{filter}})
				if err != nil || len(out.Parameters) != 1 || *out.Parameters[0].Name != "/a/p" {
					t.Errorf("DescribeParameters(%v) = %+v, %v", f, out, err)
				}
			}
			_, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Label"), Values: []string{"x"}}}})
			wantError(t, err, "InvalidFilterKey", "")
		},
		"selectors have their colon, and batches are in order": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			put(t, c, "/z", "1")
			put(t, c, "/a", "1")
			out, err := c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/z:1", "/a"}})
			if err != nil || len(out.Parameters) != 2 || *out.Parameters[0].Name != "/a" || out.Parameters[0].Selector != nil || *out.Parameters[1].Selector != ":1" {
				t.Errorf("GetParameters = %+v, %v", out, err)
			}
		},
		"what KMS refuses is the caller's error": func(t *testing.T, sys *malotetest.System, c *ssm.Client) {
			keys := kms.NewFromConfig(sys.Config())
			made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
			if err != nil {
				t.Fatal(err)
			}
			put(t, c, "/p", sys.Canary(), secure, func(in *ssm.PutParameterInput) { in.KeyId = made.KeyMetadata.KeyId })
			if _, err := keys.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: made.KeyMetadata.KeyId}); err != nil {
				t.Fatal(err)
			}
			_, err = get(t, c, "/p")
			wantError(t, err, "InvalidKeyId", "is pending deletion.")
		},
		"labels select, in a name and below a path, beyond a page": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			for i := range 12 {
				name := fmt.Sprintf("/app/p%02d", i)
				put(t, c, name, "labelled")
				if _, err := c.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: &name, Labels: []string{"prod"}}); err != nil {
					t.Fatal(err)
				}
				put(t, c, name, "latest", overwrite)
			}
			put(t, c, "/app/unlabelled", "x")
			if p, err := get(t, c, "/app/p00:prod"); err != nil || *p.Value != "labelled" || *p.Selector != ":prod" {
				t.Errorf("GetParameter = %+v, %v", p, err)
			}
			var sizes []int
			pages := ssm.NewGetParametersByPathPaginator(c, &ssm.GetParametersByPathInput{
				Path: aws.String("/app"), ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Label"), Values: []string{"prod"}}},
			})
			for pages.HasMorePages() {
				out, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				sizes = append(sizes, len(out.Parameters))
				for _, p := range out.Parameters {
					if *p.Value != "labelled" || p.Version != 1 {
						t.Errorf("%s: version %d", *p.Name, p.Version)
					}
				}
			}
			if !slices.Equal(sizes, []int{10, 2}) {
				t.Errorf("pages of %v, want 10 and 2", sizes)
			}
		},
		"references to secrets with slashes and stages": func(t *testing.T, sys *malotetest.System, c *ssm.Client) {
			value := sys.Canary()
			if _, err := secretsmanager.NewFromConfig(sys.Config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("a/b/c"), SecretString: &value}); err != nil {
				t.Fatal(err)
			}
			for _, selector := range []string{"", ":AWSCURRENT"} {
				name := "/aws/reference/secretsmanager/a/b/c" + selector
				p, err := get(t, c, name)
				if err != nil || *p.Value != value || *p.Name != name || p.Type != types.ParameterTypeSecureString {
					t.Errorf("GetParameter(%s): %v", name, err)
				}
			}
		},
		"KMS decrypts what is returned encrypted": func(t *testing.T, sys *malotetest.System, c *ssm.Client) {
			value := sys.Canary()
			keys := kms.NewFromConfig(sys.Config())
			key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
			if err != nil {
				t.Fatal(err)
			}
			put(t, c, "/a/p", value, secure, func(in *ssm.PutParameterInput) { in.KeyId = key.KeyMetadata.KeyId })
			out, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/a/p")})
			if err != nil {
				t.Fatal(err)
			}
			blob, err := base64.StdEncoding.DecodeString(*out.Parameter.Value)
			if err != nil || strings.Contains(string(blob), value) {
				t.Fatalf("no ciphertext: %v", err)
			}
			made, err := keys.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"PARAMETER_ARN": arnPrefix + "a/p"}})
			if err != nil || string(made.Plaintext) != value {
				t.Errorf("Decrypt: %v", err)
			}
		},
		"a version that is not there is not a parameter that is not there": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			put(t, c, "/p", "x")
			_, err := get(t, c, "/p:2")
			wantError(t, err, "ParameterVersionNotFound", "Systems Manager could not find version 2 of /p. Verify the version and try again.")
		},
		"x and /x are one": func(t *testing.T, _ *malotetest.System, c *ssm.Client) {
			put(t, c, "x", "1")
			_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/x"), Value: aws.String("2"), Type: types.ParameterTypeString})
			wantError(t, err, "ParameterAlreadyExists", "")
			if p, err := get(t, c, "/x"); err != nil || *p.Name != "/x" || *p.ARN != arnPrefix+"x" {
				t.Errorf("GetParameter = %+v, %v", p, err)
			}
			if out, err := c.DeleteParameters(t.Context(), &ssm.DeleteParametersInput{Names: []string{"/x", "x"}}); err != nil || !slices.Equal(out.DeletedParameters, []string{"/x"}) || !slices.Equal(out.InvalidParameters, []string{"x"}) {
				t.Errorf("DeleteParameters = %+v, %v", out, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sys := malotetest.New(t)
			test(t, sys, ssm.NewFromConfig(sys.Config()))
		})
	}
}
