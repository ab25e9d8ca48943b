package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/policy"
)

func TestParseErrors(t *testing.T) {
	t.Parallel()
	const (
		syntax  = "Syntax errors in policy."
		badJSON = "This policy contains invalid Json"
	)
	in := func(statement string) string { return `{"Version":"2012-10-17","Statement":[` + statement + `]}` }
	for _, tt := range []struct {
		name string
		kind policy.Kind
		text string
		msg  string
		at   string // of Explain
	}{
		{"empty", policy.Identity, "", badJSON, "1:1: the document ends too early"},
		{"not JSON", policy.Identity, "{", badJSON, "1:2: an object is not closed"},
		{"trailing comma", policy.Identity, "{\n  \"Version\": \"2012-10-17\",\n}", badJSON, "3:1: expected a quoted name"},
		{"two documents", policy.Identity, "{} {}", badJSON, "1:4: text after"},
		{"bad escape", policy.Identity, `{"Id":"\x"}`, badJSON, "1:8: unknown escape"},
		{"half a surrogate", policy.Identity, `{"Id":"\ud800"}`, badJSON, "malformed \\u escape"},
		{"not UTF-8", policy.Identity, "{\"Id\":\"\xff\"}", badJSON, "not UTF-8"},
		{"line end in string", policy.Identity, "{\"Id\":\"a\nb\"}", badJSON, "control character"},
		{"too deep", policy.Identity, strings.Repeat("[", 100), badJSON, "nested too deeply"},
		{"an array", policy.Identity, "[]", syntax, "JSON object"},
		{"no statement", policy.Identity, `{"Version":"2012-10-17"}`, syntax, "no Statement"},
		{"empty statement", policy.Identity, in(""), syntax, "1:37: Statement: the policy has no statement"},
		{"bad version", policy.Identity, `{"Version":"2012-10-18","Statement":[]}`, "The policy must contain a valid version string", "1:12: Version: "},
		{"duplicate key", policy.Identity, `{"Version":"2012-10-17","Version":"2012-10-17"}`, syntax, "1:25: the same name twice"},
		{"unknown top element", policy.Identity, `{"Statements":[]}`, syntax, `1:2: Statements: unknown element "Statements"`},
		{"unknown element", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resorce":"*"}`), syntax, `Statement[0].Resorce: unknown element "Resorce"`},
		{"case of an element", policy.Identity, in(`{"effect":"Allow","Action":"*","Resource":"*"}`), syntax, `unknown element "effect"`},
		{"case of an effect", policy.Identity, in(`{"Effect":"allow","Action":"*","Resource":"*"}`), syntax, `Effect must be`},
		{"no effect", policy.Identity, in(`{"Action":"*","Resource":"*"}`), syntax, "no Effect"},
		{"no action", policy.Identity, in(`{"Effect":"Allow","Resource":"*"}`), "Policy statement must contain actions.", "neither Action nor NotAction"},
		{"empty actions", policy.Identity, in(`{"Effect":"Allow","Action":[],"Resource":"*"}`), "Policy statement must contain actions.", "must not be empty"},
		{"both actions", policy.Identity, in(`{"Effect":"Allow","Action":"*","NotAction":"s3:*","Resource":"*"}`), syntax, "exclude each other"},
		{"no vendor", policy.Identity, in(`{"Effect":"Allow","Action":"GetObject","Resource":"*"}`), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", `"GetObject" is not service:Action`},
		{"wildcard vendor", policy.Identity, in(`{"Effect":"Allow","Action":"s*:GetObject","Resource":"*"}`), "Vendor s* is not valid", "cannot have wildcards"},
		{"two colons", policy.Identity, in(`{"Effect":"Allow","Action":"s3:Get:Object","Resource":"*"}`), "Actions/Condition can contain only one colon.", ""},
		{"no resource", policy.Identity, in(`{"Effect":"Allow","Action":"*"}`), "Policy statement must contain resources.", ""},
		{"resource no ARN", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"secret/x"}`), `Resource secret/x must be in ARN format or "*".`, "Statement[0].Resource"},
		{"resource of five parts", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:*"}`), `Resource arn:aws:s3:* must be in ARN format or "*".`, ""},
		{"variable in the account", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:iam::${aws:PrincipalAccount}:role/x"}`), "", ""},
		{"variable not closed", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username"}`), syntax, "not closed"},
		{"default not quoted", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username, x}"}`), syntax, "quoted"},
		{"principal of an identity", policy.Identity, in(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`), "Policy document should not specify a principal.", ""},
		{"principal of a session", policy.Session, in(`{"Effect":"Allow","NotPrincipal":"*","Action":"*","Resource":"*"}`), "Policy document should not specify a principal.", ""},
		{"no principal", policy.Resource, in(`{"Effect":"Allow","Action":"*","Resource":"*"}`), "Missing required field Principal", ""},
		{"Sid twice", policy.Identity, in(`{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}`), "Statement IDs (SID) in a single policy must be unique.", ""},
		{"Sid with a space", policy.Identity, in(`{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}`), syntax, "only letters and digits"},
		{"trust with resource", policy.Trust, in(`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}`), "Has prohibited field Resource", ""},
		{"trust with another action", policy.Trust, in(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}`), "AssumeRole policy may only specify STS AssumeRole actions.", ""},
		{"trust with every action", policy.Trust, in(`{"Effect":"Allow","Principal":"*","Action":"*"}`), "AssumeRole policy may only specify STS AssumeRole actions.", ""},
		{"trust in a group", policy.Trust, in(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:group/g"},"Action":"sts:AssumeRole"}`), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:group/g"`, "Statement[0].Principal.AWS"},
		{"trust in a pattern", policy.Trust, in(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/*"},"Action":"sts:AssumeRole"}`), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:role/*"`, ""},
		{"trust in no service", policy.Trust, in(`{"Effect":"Allow","Principal":{"Service":"ecs"},"Action":"sts:AssumeRole"}`), `Invalid principal in policy: "SERVICE":"ecs"`, ""},
		{"key with a bad principal", policy.Key, in(`{"Effect":"Allow","Principal":{"AWS":"bob"},"Action":"kms:*","Resource":"*"}`), "Policy contains a statement with one or more invalid principals.", ""},
		{"resource with a bad principal", policy.Resource, in(`{"Effect":"Allow","Principal":{"CanonicalUser":"bob"},"Action":"s3:*","Resource":"*"}`), "This resource policy contains an unsupported principal.", ""},
		{"Allow with NotPrincipal", policy.Resource, in(`{"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"},"Action":"s3:*","Resource":"*"}`), "Allow with NotPrincipal is not allowed.", ""},
		{"unknown operator", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqual":{"aws:username":"x"}}}`), syntax, `unknown operator "StringEqual"`},
		{"case of an operator", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"stringEquals":{"aws:username":"x"}}}`), syntax, `unknown operator`},
		{"NullIfExists", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NullIfExists":{"aws:username":"true"}}}`), syntax, `unknown operator`},
		{"key without vendor", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"username":"x"}}}`), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", ""},
		{"not an address", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0"}}}`), syntax, "not an IP address"},
		{"not a number", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericEquals":{"s3:max-keys":"ten"}}}`), syntax, "not a number"},
		{"not a date", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}}`), syntax, "not a date"},
		{"not a boolean", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"yes"}}}`), syntax, `"true" or "false"`},
		{"null value", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":null}}}`), syntax, ""},
		{"no values", policy.Identity, in(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":[]}}}`), syntax, "must not be empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Parse(tt.kind, []byte(tt.text))
			wrong := new(policy.SyntaxError)
			if !errors.As(err, &wrong) {
				t.Fatalf("Parse(%s) = %v, want a SyntaxError", tt.text, err)
			}
			if tt.msg == "" {
				tt.msg = syntax
			}
			if err.Error() != tt.msg {
				t.Errorf("error = %q, want %q", err, tt.msg)
			}
			if got := wrong.Explain(); !strings.Contains(got, tt.at) {
				t.Errorf("explained = %q, want %q in it", got, tt.at)
			}
		})
	}
}

// TestParseAccepts holds what authors really write.
func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		kind policy.Kind
		text string
	}{
		{"AdministratorAccess", policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`},
		{"one statement, no version", policy.Identity, `{"Statement":{"Effect":["Allow"],"Action":["s3:*"],"Resource":["*"],"Sid":"X"}}`},
		{"default key policy", policy.Key, `{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}`},
		{"trust in ECS", policy.Trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["ecs-tasks.amazonaws.com"]},"Action":"sts:AssumeRole","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-west-2:111122223333:*"},"StringEquals":{"aws:SourceAccount":"111122223333"}}}]}`},
		{"trust in OIDC", policy.Trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringLike":{"token.actions.githubusercontent.com:sub":"repo:o/r:*"}}}]}`},
		{"trust with tags", policy.Trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["111122223333","AROAJQABLZS4A3QDU576Q"]},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`},
		{"numbers and booleans", policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true},"NumericLessThan":{"s3:max-keys":10,"aws:MultiFactorAuthAge":[3600]},"Null":{"aws:TokenIssueTime":false}}}]}`},
		{"escapes", policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:\u0047et*","Resource":"arn:aws:s3:::b\/\ud83d\ude00"}]}`},
		{"dates", policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":["2026-01-01T00:00:00Z","2026-01-01","1767225600","2026-01-01T00:00:00.123Z"]}}}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			parse(t, tt.kind, tt.text)
		})
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	const text = `{ "Statement" : [ {"Effect":"Allow", "Principal" : {"AWS" : ["arn:aws:iam::111122223333:user/bob", "*"], "Service":"ecs-tasks.amazonaws.com"},
  "Action":"kms:*","Resource":"*", "Condition":{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/bob"}}},
 {"Effect":"Deny","NotPrincipal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"}]}`
	ids := map[string]string{"arn:aws:iam::111122223333:user/bob": "AIDAJQABLZS4A3QDU576Q", "111122223333": "arn:aws:iam::111122223333:root"}
	got, err := policy.Rewrite([]byte(text), func(p string) (string, error) { return ids[p], nil })
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(text, `["arn:aws:iam::111122223333:user/bob"`, `["AIDAJQABLZS4A3QDU576Q"`, 1)
	want = strings.Replace(want, `"111122223333"`, `"arn:aws:iam::111122223333:root"`, 1)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	d := parse(t, policy.Key, string(got))
	if diff := cmp.Diff([]string{"AIDAJQABLZS4A3QDU576Q", "*", "arn:aws:iam::111122223333:root"}, slices.Collect(d.Principals())); diff != "" {
		t.Error(diff)
	}
	unknown := errors.New("unknown")
	if _, err := policy.Rewrite([]byte(text), func(string) (string, error) { return "", unknown }); !errors.Is(err, unknown) {
		t.Errorf("error = %v, want the resolver's", err)
	}
	if _, err := policy.Rewrite([]byte("{"), nil); err == nil {
		t.Error("rewrote what is no JSON")
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		statement string
		want      bool
	}{
		{"Allow s3:* * " + all, true},
		{`Allow s3:* * "Principal":{"AWS":["111122223333","*"]}`, true},
		{"Deny s3:* * " + all, false},
		{"Allow s3:* * " + rootAway, false},
		{"Allow s3:* * " + all + `,"Condition":{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`, false},
		{"Allow s3:* * " + all + `,"Condition":{"StringEqualsIfExists":{"aws:PrincipalAccount":"111122223333"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"StringNotEquals":{"aws:PrincipalAccount":"111122223333"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"ForAllValues:StringEquals":{"aws:PrincipalAccount":"111122223333"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"StringLike":{"aws:PrincipalAccount":"*"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"StringLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}}`, false},
		{"Allow s3:* * " + all + `,"Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/x"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, false},
		{"Allow s3:* * " + all + `,"Condition":{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}`, true},
		{"Allow s3:* * " + all + `,"Condition":{"StringEquals":{"aws:SourceVpce":["vpce-1","vpce-2"]}}`, false},
		{"Allow s3:* * " + all + `,"Condition":{"StringLike":{"aws:userid":"AROAJQABLZS4A3QDU576Q:*"}}`, false},
		{"Allow s3:* * " + all + `,"Condition":{"StringLike":{"aws:userid":"AROA*"}}`, true},
	} {
		if got := document(t, policy.Resource, tt.statement).Document.Public(); got != tt.want {
			t.Errorf("Public(%s) = %v, want %v", tt.statement, got, tt.want)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	d := parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[
		{"Sid":"Read","Effect":"Allow","Action":"secretsmanager:Get*","Resource":"*"},
		{"Effect":"Deny","Action":"secretsmanager:Put*","Resource":"*"}]}`)
	managed := policy.Source{Document: d, ARN: "arn:aws:iam::111122223333:policy/readers"}
	set := &policy.Set{Identity: []policy.Source{managed}}
	ask := func(action string, who policy.Principal, s *policy.Set) string {
		return policy.Evaluate(&policy.Request{Principal: who, Action: action, Resource: secretARN}, s).Because()
	}
	for _, tt := range []struct{ got, want string }{
		{ask(get, bob, set), `allowed by statement "Read" of identity-based policy arn:aws:iam::111122223333:policy/readers`},
		{ask("secretsmanager:PutSecretValue", bob, set), "with an explicit deny in an identity-based policy: arn:aws:iam::111122223333:policy/readers"},
		{ask(get, root, set), "allowed by the root user's rights"},
		{ask(get, bob, &policy.Set{Boundary: &managed}), "because no identity-based policy allows the secretsmanager:GetSecretValue action"},
	} {
		if tt.got != tt.want {
			t.Errorf("because = %q, want %q", tt.got, tt.want)
		}
	}
	decision := policy.Evaluate(&policy.Request{Principal: bob, Action: "secretsmanager:PutSecretValue", Resource: "*"}, set)
	if got, want := decision.Reason(), "statement 2 of identity-based policy arn:aws:iam::111122223333:policy/readers"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
	if s := decision.Statement; s.Line != 3 || s.Column != 3 || s.EndLine != 3 {
		t.Errorf("statement at %d:%d to line %d, want 3:3 to 3", s.Line, s.Column, s.EndLine)
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, resource string
		want              bool
	}{
		{"${aws:username, 'nobody'}/x", "nobody/x", true},
		{"${aws:PrincipalTag/Team, 'none'}", "blue", true},
		{"${ aws:principaltag/team }", "blue", true},
		{"${aws:username}", "", false},
		{"${*}", "*", true},
		{"${*}", "x", false},
		{"${?}${$}", "?$", true},
		{"*${aws:PrincipalTag/Team}?", "a:b/bluex", true},
		{"$", "$", true},
		{"${aws:TagKeys}", "a", false}, // it has two values
		{"?", "é", true},
		{"*??", "€", false},
		{"*??x", "€éx", true},
		{"a*b*c", "abbbcbc", true},
		{"a*b*c", "abbbcb", false},
	} {
		s := &policy.Set{Identity: []policy.Source{document(t, policy.Identity, "Allow s3:GetObject arn:aws:s3:::PATTERN")}}
		text, _ := texts.Load(s.Identity[0].Document)
		s.Identity[0].Document = parse(t, policy.Identity, strings.Replace(text.(string), "PATTERN", tt.pattern, 1))
		r := &policy.Request{Principal: bob, Action: "s3:GetObject", Resource: "arn:aws:s3:::" + tt.resource,
			Context: policy.Context{"aws:principaltag/team": {"blue"}, "aws:tagkeys": {"a", "b"}}}
		if got := policy.Evaluate(r, s).Allowed; got != tt.want {
			t.Errorf("%s matches %s = %v, want %v", tt.pattern, tt.resource, got, tt.want)
		}
	}
}

// TestParseLarge: what somebody sends to keep the server busy takes time in proportion to its size.
func TestParseLarge(t *testing.T) {
	t.Parallel()
	var keys, statements strings.Builder
	for i := range 50_000 {
		if i > 0 {
			keys.WriteByte(',')
			statements.WriteByte(',')
		}
		fmt.Fprintf(&keys, `"k:%d":"x"`, i)
		if i%4 == 0 {
			statements.WriteString(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
		} else {
			statements.WriteString(`{"Effect":"Deny","Action":"*","Resource":"*"}`)
		}
	}
	start := time.Now()
	parse(t, policy.Identity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{`+keys.String()+`}}}}`)
	parse(t, policy.Identity, `{"Statement":[`+statements.String()+`]}`)
	if _, err := policy.Parse(policy.Identity, []byte(`{"Statement":{"Condition":{"StringEquals":{`+keys.String()+`,"k:49999":"x"}}}}`)); err == nil {
		t.Error("accepted a key twice among 50,000")
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}
