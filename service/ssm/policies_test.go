package ssm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/malotetest"
	malotessm "github.com/malote/malote/service/ssm"
)

func maintain(t testing.TB, sys *malotetest.System) {
	t.Helper()
	for _, s := range sys.Services() {
		if s.Name == "ssm" {
			if err := malotessm.Maintain(t.Context(), s.Impl.(*malotessm.Service)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func expires(at time.Time) string {
	return fmt.Sprintf(`{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":%q}}`, at.Format(time.RFC3339))
}

func span(kind, member, n, unit string) string {
	return fmt.Sprintf(`{"Type":%q,"Version":"1.0","Attributes":{%q:%q,"Unit":%q}}`, kind, member, n, unit)
}

func withPolicies(tier types.ParameterTier, policies ...string) func(*ssm.PutParameterInput) {
	return func(in *ssm.PutParameterInput) {
		in.Tier, in.Policies = tier, aws.String("["+strings.Join(policies, ",")+"]")
	}
}

// statuses is what DescribeParameters says of the policies of a parameter, "-" without one.
func statuses(t testing.TB, c *ssm.Client, name string) string {
	t.Helper()
	out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{
		ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Name"), Values: []string{name}}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Parameters) == 0 {
		return "-"
	}
	var all []string
	for _, p := range out.Parameters[0].Policies {
		if !strings.Contains(*p.PolicyText, *p.PolicyType) {
			t.Errorf("policy %s has the text %s", *p.PolicyType, *p.PolicyText)
		}
		all = append(all, *p.PolicyType+" "+*p.PolicyStatus)
	}
	return strings.Join(all, ", ")
}

// A parameter's life under all three policies: notified, notified again after a change,
// gone.
func TestPolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	all := withPolicies(types.ParameterTierIntelligentTiering, expires(sys.Clock.Now().Add(10*24*time.Hour)),
		span("ExpirationNotification", "Before", "2", "Days"), span("NoChangeNotification", "After", "12", "Hours"))
	if out := put(t, c, "/p", sys.Canary(), all); out.Tier != types.ParameterTierAdvanced {
		t.Errorf("tier = %s", out.Tier)
	}
	step := func(after time.Duration, want string) {
		t.Helper()
		sys.Clock.Advance(after)
		maintain(t, sys)
		if got := statuses(t, c, "/p"); got != want {
			t.Errorf("policies = %q, want %q", got, want)
		}
	}
	step(0, "Expiration Pending, ExpirationNotification Pending, NoChangeNotification Pending")
	step(13*time.Hour, "Expiration Pending, ExpirationNotification Pending, NoChangeNotification Finished")
	put(t, c, "/p", sys.Canary(), overwrite)
	step(0, "Expiration Pending, ExpirationNotification Pending, NoChangeNotification Pending")
	step(8*24*time.Hour, "Expiration Pending, ExpirationNotification Finished, NoChangeNotification Finished")
	put(t, c, "/p", sys.Canary(), overwrite)
	step(0, "Expiration Pending, ExpirationNotification Finished, NoChangeNotification Pending")

	history, err := c.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: aws.String("/p")})
	if err != nil || len(history.Parameters) != 3 || *history.Parameters[0].Policies[2].PolicyStatus != "Finished" {
		t.Errorf("history: %+v, %v", history, err)
	}
	step(2*24*time.Hour, "-")
	_, err = get(t, c, "/p")
	wantError(t, err, "ParameterNotFound", "=")
}

// What a new Policies says counts, "[{}]" takes all away; a parameter made again under the
// name is not touched by the policies of the one before.
func TestPoliciesReplaced(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	soon := withPolicies(types.ParameterTierAdvanced, expires(sys.Clock.Now().Add(time.Hour)))
	for _, name := range []string{"/none", "/later", "/again"} {
		put(t, c, name, "1", soon)
	}
	put(t, c, "/none", "1", overwrite, func(in *ssm.PutParameterInput) { in.Policies = aws.String("[ { } ]") })
	put(t, c, "/later", "1", overwrite, withPolicies("", expires(sys.Clock.Now().Add(3*time.Hour))))
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/again")}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "/again", "2")

	sys.Clock.Advance(2 * time.Hour)
	maintain(t, sys)
	for name, want := range map[string]string{"/none": "", "/later": "Expiration Pending", "/again": ""} {
		if got := statuses(t, c, name); got != want {
			t.Errorf("policies of %s = %q, want %q", name, got, want)
		}
	}
	sys.Clock.Advance(2 * time.Hour)
	maintain(t, sys)
	if got := statuses(t, c, "/later"); got != "-" {
		t.Errorf("/later is still there: %q", got)
	}
}

// A parameter with all the versions it may have expires too: as many writes as a
// transaction takes.
func TestExpirationOfAHundredVersions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	put(t, c, "/p", "0", withPolicies(types.ParameterTierAdvanced, expires(sys.Clock.Now().Add(time.Hour))))
	for range 100 {
		put(t, c, "/p", "1", overwrite)
	}
	sys.Clock.Advance(2 * time.Hour)
	maintain(t, sys)
	if got := statuses(t, c, "/p"); got != "-" {
		t.Errorf("still there: %q", got)
	}
}

func TestPoliciesRefused(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := ssm.NewFromConfig(sys.Config())
	future := expires(time.Now().Add(24 * time.Hour))
	notify := span("NoChangeNotification", "After", "1", "Days")
	for name, tt := range map[string]struct{ policies, code string }{
		"no JSON":                {`nonsense`, "ValidationException"},
		"no array":               {`{}`, "ValidationException"},
		"null":                   {`null`, "ValidationException"},
		"unknown type":           {`[{"Type":"Rotation","Version":"1.0","Attributes":{}}]`, "InvalidPolicyTypeException"},
		"version":                {strings.Replace("["+notify+"]", "1.0", "2.0", 1), "InvalidPolicyAttributeException"},
		"no timestamp":           {`[{"Type":"Expiration","Version":"1.0","Attributes":{}}]`, "InvalidPolicyAttributeException"},
		"past":                   {"[" + expires(time.Now().Add(-time.Hour)) + "]", "InvalidPolicyAttributeException"},
		"no zone":                {`[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2050-12-02T21:34:33"}}]`, "InvalidPolicyAttributeException"},
		"unit":                   {"[" + span("NoChangeNotification", "After", "1", "Weeks") + "]", "InvalidPolicyAttributeException"},
		"zero":                   {"[" + span("NoChangeNotification", "After", "0", "Days") + "]", "InvalidPolicyAttributeException"},
		"overflow":               {"[" + span("NoChangeNotification", "After", "9223372036854775807", "Days") + "]", "InvalidPolicyAttributeException"},
		"other's attribute":      {"[" + span("NoChangeNotification", "Before", "1", "Days") + "]", "InvalidPolicyAttributeException"},
		"stray attribute":        {`[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"1","Unit":"Days","Colour":"red"}}]`, "InvalidPolicyAttributeException"},
		"two expirations":        {"[" + future + "," + future + "]", "IncompatiblePolicyException"},
		"notice without expiry":  {"[" + span("ExpirationNotification", "Before", "1", "Days") + "]", "IncompatiblePolicyException"},
		"eleven":                 {"[" + strings.Repeat(notify+",", 10) + notify + "]", "PoliciesLimitExceededException"},
		"one that is not policy": {"[" + notify + ",1]", "InvalidPolicyAttributeException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.PutParameter(t.Context(), &ssm.PutParameterInput{
				Name: aws.String("/p"), Value: aws.String("v"), Type: types.ParameterTypeString, Tier: types.ParameterTierAdvanced, Policies: &tt.policies})
			wantError(t, err, tt.code, "")
		})
	}
	if got := statuses(t, c, "/p"); got != "-" {
		t.Errorf("a refused parameter is there: %q", got)
	}
	put(t, c, "/p", "v", withPolicies(types.ParameterTierAdvanced,
		`{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2050-12-02T21:34+01:00"}}`,
		`{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":20,"Unit":"Hours"}}`))
}
