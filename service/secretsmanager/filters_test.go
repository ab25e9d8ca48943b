package secretsmanager

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	description := func(d string) *secret { return &secret{Name: "n", Description: d} }
	name := func(n string) *secret { return &secret{Name: n} }
	tagged := func(k, v string) *secret { return &secret{Name: "n", Tags: []tag{{k, v}}} }
	for _, tt := range []struct {
		key   string
		value string
		x     *secret
		want  bool
	}{
		{"name", "prod/", name("prod/db"), true},
		{"name", "Prod/", name("prod/db"), false},
		{"name", "db", name("prod/db"), false},
		{"name", "!prod", name("prod/db"), false},
		{"name", "!test", name("prod/db"), true},
		{"tag-key", "en", tagged("env", "prod"), true},
		{"tag-key", "EN", tagged("env", "prod"), false},
		{"tag-value", "prod", tagged("env", "prod"), true},
		{"tag-value", "rod", tagged("env", "prod"), false},
		{"description", "one two", description("one two"), true},
		{"description", "one two", description("one and two"), true},
		{"description", "one two", description("one"), false},
		{"description", "t", description("one two"), true},
		{"description", "w", description("one two"), false},
		{"all", "sec", name("SecretOne"), true},
		{"all", "one", name("SecretOne"), true},
		{"all", "ret", name("SecretOne"), false},
		{"all", "two", description("DescTwo"), true},
		{"all", "secret", name("Thirdsecret"), false},
		{"all", "app", name("prod-AppBeta/x"), false},
		{"all", "prod", name("prod-AppBeta/x"), true},
		{"all", "Ythings", name("COMPANYthings"), true},
		{"all", "things", name("COMPANYthings"), false},
		{"all", "company", name("COMPANYthings"), false},
		{"all", "pany", name("COMPANYthings"), false},
		{"all", "N", name("COMPANYthings"), false},
		{"all", "company", name("uat/COMPANY/x"), true},
		{"all", "+", name("a+b"), false},
		{"all", "env", tagged("env", "prod"), true},
		{"all", "prod", tagged("env", "prod"), true},
		{"primary-region", "us-east-1", name("n"), false},
		{"primary-region", "us-east", &secret{Name: "n", Region: "eu-west-1", Primary: "us-east-1"}, true},
		{"primary-region", "US-east", &secret{Name: "n", Region: "eu-west-1", Primary: "us-east-1"}, false},
		{"primary-region", "eu-west-1", &secret{Name: "n", Region: "eu-west-1", Replicas: []replica{{Region: "us-east-1"}}}, true},
		{"owning-service", "rds", name("n"), false},
		{"owning-service", "!rds", name("n"), true},
	} {
		f, err := compileFilters([]types.Filter{{Key: types.FilterNameStringType(tt.key), Values: []string{tt.value}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := f[0].matches(tt.x); got != tt.want {
			t.Errorf("%s=%q of %q %q = %v, want %v", tt.key, tt.value, tt.x.Name, tt.x.Description, got, tt.want)
		}
	}
}
