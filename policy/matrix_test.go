package policy_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/malote/malote/policy"
)

const (
	home = "111122223333"
	away = "444455556666"

	secretARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"
	keyARN    = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	targetARN = "arn:aws:iam::111122223333:role/target"
)

// The cast.
var (
	bob     = policy.Principal{Type: "User", Account: home, ARN: "arn:aws:iam::111122223333:user/bob", ID: "AIDAJQABLZS4A3QDU576Q"}
	root    = policy.Principal{Type: "Account", Account: home, ARN: "arn:aws:iam::111122223333:root", ID: home}
	session = policy.Principal{Type: "AssumedRole", Account: home, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1",
		RoleARN: "arn:aws:iam::111122223333:role/team/app", ID: "AROAJQABLZS4A3QDU576Q"}
	stranger        = policy.Principal{Type: "User", Account: away, ARN: "arn:aws:iam::444455556666:user/eve", ID: "AIDAZZZZZZZZZZZZZZZZZ"}
	strangerSession = policy.Principal{Type: "AssumedRole", Account: away, ARN: "arn:aws:sts::444455556666:assumed-role/x/s1",
		RoleARN: "arn:aws:iam::444455556666:role/x", ID: "AROAZZZZZZZZZZZZZZZZZ"}
	ecsTasks  = policy.Principal{Type: "Service", Account: home, Service: "ecs-tasks.amazonaws.com"}
	anonymous = policy.Principal{Type: "Anonymous"}
)

// statement writes `effect action resource [rest]`, as in `Allow s3:* *`; rest is raw JSON members.
func statement(short string) string {
	parts := strings.SplitN(short, " ", 4)
	out := `{"Effect":"` + parts[0] + `",` + element("Action", parts[1])
	if parts[2] != "-" {
		out += "," + element("Resource", parts[2])
	}
	if len(parts) == 4 {
		out += "," + parts[3]
	}
	return out + "}"
}

func element(name, value string) string {
	if rest, found := strings.CutPrefix(value, "!"); found {
		return `"Not` + name + `":"` + rest + `"`
	}
	return `"` + name + `":"` + value + `"`
}

func document(t testing.TB, kind policy.Kind, statements ...string) policy.Source {
	t.Helper()
	version := "2012-10-17"
	if statements[0] == "2008" {
		version, statements = "2008-10-17", statements[1:]
	}
	for i := range statements {
		statements[i] = statement(statements[i])
	}
	return policy.Source{Document: parse(t, kind, `{"Version":"`+version+`","Statement":[`+strings.Join(statements, ",")+`]}`), Name: "p"}
}

const (
	userBob     = `"Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"}`
	rootHome    = `"Principal":{"AWS":"arn:aws:iam::111122223333:root"}`
	rootAway    = `"Principal":{"AWS":"444455556666"}`
	userEve     = `"Principal":{"AWS":"arn:aws:iam::444455556666:user/eve"}`
	roleApp     = `"Principal":{"AWS":"arn:aws:iam::111122223333:role/team/app"}`
	roleAppID   = `"Principal":{"AWS":"AROAJQABLZS4A3QDU576Q"}`
	sessionApp  = `"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/app/s1"}`
	sessionAway = `"Principal":{"AWS":"arn:aws:sts::444455556666:assumed-role/x/s1"}`
	all         = `"Principal":"*"`
	ecsService  = `"Principal":{"Service":"ecs-tasks.amazonaws.com"}`
	get         = "secretsmanager:GetSecretValue"
	assume      = "sts:AssumeRole"
	viaSecrets  = `"Condition":{"StringEquals":{"kms:ViaService":"secretsmanager.eu-west-1.amazonaws.com","kms:CallerAccount":"111122223333"}}`
)

func TestMatrix(t *testing.T) {
	t.Parallel()
	type list = []string
	type context = policy.Context
	cond := func(operator, key, value string) string {
		return `"Condition":{"` + operator + `":{"` + key + `":"` + value + `"}}`
	}
	const (
		allow    = "allow"
		identity = "no identity-based policy"
		resource = "no resource-based policy"
		boundary = "no permissions boundary"
		sessions = "no session policy"
		trust    = "no role trust policy"
		noReason = ""
		denyID   = "deny identity-based policy"
		denyRes  = "deny resource-based policy"
		denyBnd  = "deny permissions boundary"
	)
	// AWS's rules in eighty cases; a name begins with the numbers of those that it is of.
	covered := map[int]bool{}
	for _, tt := range []struct {
		name     string
		who      policy.Principal
		action   string // GetSecretValue when empty
		on       string // secretARN when empty
		owner    string
		identity list // one document
		second   list // another
		boundary list
		session  list
		session2 list
		resource list
		kind     policy.Kind
		grants   []policy.Grant
		context  context
		enc      map[string]string
		want     string
	}{
		{name: "1 no policies", who: bob, want: identity},
		{name: "2 exact ARN", who: bob, identity: list{"Allow " + get + " " + secretARN}, want: allow},
		{name: "3 wildcard", who: bob, identity: list{"Allow " + get + " arn:aws:secretsmanager:*:*:secret:prod/*"}, want: allow},
		{name: "4 question marks count", who: bob, on: "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-admin-AbCdEf",
			identity: list{"Allow " + get + " arn:aws:secretsmanager:*:*:secret:prod/db-??????"}, want: identity},
		{name: "4 question marks fit", who: bob, identity: list{"Allow " + get + " arn:aws:secretsmanager:*:*:secret:prod/db-??????"}, want: allow},
		{name: "5 deny beats allow", who: bob, identity: list{"Allow * *", "Deny " + get + " *"}, want: denyID},
		{name: "6 7 any of several policies", who: bob, identity: list{"Allow s3:* *"}, second: list{"Allow " + get + " *"}, want: allow},
		{name: "8 NotAction", who: bob, identity: list{"Allow !iam:* *"}, want: allow},
		{name: "8 NotAction names it", who: bob, action: "iam:CreateUser", on: "*", identity: list{"Allow !iam:* *"}, want: identity},
		{name: "9 Deny NotAction", who: bob, action: "secretsmanager:PutSecretValue", identity: list{"Allow * *", "Deny !secretsmanager:GetSecretValue *"}, want: denyID},
		{name: "9 Deny NotAction, the one", who: bob, identity: list{"Allow * *", "Deny !secretsmanager:GetSecretValue *"}, want: allow},
		{name: "10 NotResource", who: bob, identity: list{"Allow " + get + " !arn:aws:secretsmanager:*:*:secret:other-??????"}, want: allow},
		{name: "11 case of actions", who: bob, identity: list{"Allow SECRETSMANAGER:getsecretvalue *"}, want: allow},
		{name: "12 case of resources", who: bob, identity: list{"Allow " + get + " arn:aws:secretsmanager:*:*:secret:PROD/*"}, want: identity},
		{name: "13 wildcard in action", who: bob, identity: list{"Allow secretsmanager:Get*Value *"}, want: allow},
		{name: "14 root", who: root, want: allow},
		{name: "15 root under a resource deny", who: root, resource: list{"Deny * * " + all}, want: denyRes},
		{name: "16 resource names the user", who: bob, resource: list{"Allow " + get + " * " + userBob}, want: allow},
		{name: "17 resource names the account", who: bob, resource: list{"Allow " + get + " * " + rootHome}, want: identity},
		{name: "18 resource allows nobody", who: bob, identity: list{"Allow " + get + " *"}, resource: list{"Allow " + get + " * " + userEve}, want: allow},
		{name: "19 resource denies the user", who: bob, identity: list{"Allow " + get + " *"}, resource: list{"Deny " + get + " * " + userBob}, want: denyRes},
		{name: "20 resource names the role", who: session, resource: list{"Allow " + get + " * " + roleApp}, want: allow},
		{name: "20 by unique id", who: session, resource: list{"Allow " + get + " * " + roleAppID}, want: allow},
		{name: "21 role named, boundary lacks", who: session, resource: list{"Allow " + get + " * " + roleApp}, boundary: list{"Allow s3:* *"}, want: boundary},
		{name: "21 by unique id", who: session, resource: list{"Allow " + get + " * " + roleAppID}, boundary: list{"Allow s3:* *"}, want: boundary},
		{name: "22 session named, boundary lacks", who: session, resource: list{"Allow " + get + " * " + sessionApp}, boundary: list{"Allow s3:* *"}, want: allow},
		{name: "23 role named, session lacks", who: session, resource: list{"Allow " + get + " * " + roleApp}, session: list{"Allow s3:* *"}, want: sessions},
		{name: "24 session named, session lacks", who: session, resource: list{"Allow " + get + " * " + sessionApp}, session: list{"Allow s3:* *"}, want: allow},
		{name: "25 user named, boundary lacks", who: bob, resource: list{"Allow " + get + " * " + userBob}, boundary: list{"Allow s3:* *"}, want: allow},
		{name: "26 boundary lacks", who: bob, identity: list{"Allow * *"}, boundary: list{"Allow s3:* *"}, want: boundary},
		{name: "27 boundary denies", who: bob, identity: list{"Allow * *"}, boundary: list{"Deny " + get + " *"}, resource: list{"Allow " + get + " * " + userBob}, want: denyBnd},
		{name: "28 boundary never grants", who: bob, boundary: list{"Allow * *"}, want: identity},
		{name: "29 session narrower", who: session, identity: list{"Allow * *"}, session: list{"Allow s3:* *"}, want: sessions},
		{name: "30 session wider", who: session, identity: list{"Allow " + get + " *"}, session: list{"Allow * *"}, want: allow},
		{name: "31 session never grants", who: session, session: list{"Allow * *"}, want: identity},
		{name: "32 session policies unite", who: session, identity: list{"Allow * *"}, session: list{"Allow s3:* *"}, session2: list{"Allow " + get + " *"}, want: allow},
		{name: "33 everyone", who: bob, resource: list{"Allow " + get + " * " + all}, want: allow},
		{name: "34 everyone with PrincipalArn", who: session, boundary: list{"Allow s3:* *"},
			resource: list{"Allow " + get + " * " + all + "," + cond("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::111122223333:role/team/app")},
			context:  context{"aws:principalarn": {"arn:aws:iam::111122223333:role/team/app"}}, want: allow},
		{name: "35 NotPrincipal without the session", who: session, identity: list{"Allow * *"},
			resource: list{`Deny * * "NotPrincipal":{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::111122223333:role/team/app"]}`}, want: denyRes},
		{name: "36 NotPrincipal with all three", who: session, identity: list{"Allow * *"},
			resource: list{`Deny * * "NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:role/team/app","arn:aws:sts::111122223333:assumed-role/app/s1"]}`}, want: allow},
		{name: "36 NotPrincipal, user and account", who: bob, identity: list{"Allow * *"},
			resource: list{`Deny * * "NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:user/bob"]}`}, want: allow},
		{name: "36 NotPrincipal, user alone", who: bob, identity: list{"Allow * *"},
			resource: list{`Deny * * "NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/bob"}`}, want: denyRes},
		{name: "37 cross-account, both", who: stranger, owner: home, identity: list{"Allow " + get + " " + secretARN}, resource: list{"Allow " + get + " * " + rootAway}, want: allow},
		{name: "38 cross-account, identity alone", who: stranger, owner: home, identity: list{"Allow * *"}, want: resource},
		{name: "39 cross-account, resource alone", who: stranger, owner: home, resource: list{"Allow " + get + " * " + userEve}, want: identity},
		{name: "40 cross-account session, both", who: strangerSession, owner: home, identity: list{"Allow " + get + " *"}, resource: list{"Allow " + get + " * " + sessionAway}, want: allow},
		{name: "41 cross-account session, resource alone", who: strangerSession, owner: home, resource: list{"Allow " + get + " * " + sessionAway}, want: identity},
		{name: "42 cross-account, boundary lacks", who: stranger, owner: home, identity: list{"Allow * *"}, boundary: list{"Allow s3:* *"}, resource: list{"Allow " + get + " * " + userEve}, want: boundary},
		{name: "43 cross-account parameter", who: stranger, owner: home, action: "ssm:GetParameter", on: "arn:aws:ssm:eu-west-1:111122223333:parameter/x", identity: list{"Allow * *"}, want: resource},
		{name: "cross-account, everyone", who: stranger, owner: home, identity: list{"Allow * *"}, resource: list{"Allow " + get + " * " + all}, want: allow},
		{name: "cross-account root, named", who: policy.Principal{Type: "Account", Account: away, ARN: "arn:aws:iam::444455556666:root"}, owner: home, resource: list{"Allow " + get + " * " + rootAway}, want: allow},
		{name: "cross-account root, not named", who: policy.Principal{Type: "Account", Account: away, ARN: "arn:aws:iam::444455556666:root"}, owner: home, want: resource},

		{name: "44 StringEquals, absent", who: bob, identity: list{"Allow * * " + cond("StringEquals", "aws:PrincipalTag/team", "a")}, want: identity},
		{name: "45 StringNotEquals, absent", who: bob, identity: list{"Allow * * " + cond("StringNotEquals", "aws:PrincipalTag/team", "a")}, want: allow},
		{name: "46 IfExists, absent", who: bob, identity: list{"Allow * * " + cond("StringEqualsIfExists", "aws:PrincipalTag/team", "a")}, want: allow},
		{name: "46 IfExists, other", who: bob, identity: list{"Allow * * " + cond("StringEqualsIfExists", "aws:PrincipalTag/team", "a")}, context: context{"aws:principaltag/team": {"b"}}, want: identity},
		{name: "47 ForAllValues, absent", who: bob, identity: list{"Allow * * " + cond("ForAllValues:StringEquals", "aws:TagKeys", "a")}, want: allow},
		{name: "48 and Null", who: bob, identity: list{`Allow * * "Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]},"Null":{"aws:TagKeys":"false"}}`}, want: identity},
		{name: "49 ForAnyValue, other", who: bob, identity: list{"Allow * * " + cond("ForAnyValue:StringEquals", "aws:TagKeys", "a")}, context: context{"aws:tagkeys": {"b"}}, want: identity},
		{name: "50 Bool, absent", who: bob, identity: list{"Allow * *", "Deny * * " + cond("Bool", "aws:MultiFactorAuthPresent", "false")}, want: allow},
		{name: "51 BoolIfExists, absent", who: bob, identity: list{"Allow * *", "Deny * * " + cond("BoolIfExists", "aws:MultiFactorAuthPresent", "false")}, want: denyID},
		{name: "52 IpAddress", who: bob, identity: list{"Allow * * " + cond("IpAddress", "aws:SourceIp", "10.0.0.0/8"), "Deny * * " + cond("NotIpAddress", "aws:SourceIp", "10.0.0.0/8")},
			context: context{"aws:sourceip": {"10.1.1.1"}}, want: allow},
		{name: "52 NotIpAddress", who: bob, identity: list{"Allow * *", "Deny * * " + cond("NotIpAddress", "aws:SourceIp", "10.0.0.0/8")}, context: context{"aws:sourceip": {"11.1.1.1"}}, want: denyID},
		{name: "53 no TokenIssueTime", who: bob, identity: list{"Allow * * " + cond("DateGreaterThan", "aws:TokenIssueTime", "2020-01-01T00:00:00Z")}, want: identity},
		{name: "54 older sessions revoked", who: session, identity: list{"Allow * *", "Deny * * " + cond("DateLessThan", "aws:TokenIssueTime", "2026-01-02T00:00:00Z")},
			context: context{"aws:tokenissuetime": {"2026-01-01T23:59:59Z"}}, want: denyID},
		{name: "54 newer session", who: session, identity: list{"Allow * *", "Deny * * " + cond("DateLessThan", "aws:TokenIssueTime", "2026-01-02T00:00:00Z")},
			context: context{"aws:tokenissuetime": {"2026-01-02T00:00:01Z"}}, want: allow},
		{name: "55 variable, own", who: bob, on: "arn:aws:s3:::b/bob/x", identity: list{"Allow * arn:aws:s3:::b/${aws:username}/*"}, context: context{"aws:username": {"bob"}}, want: allow},
		{name: "55 variable, other", who: bob, on: "arn:aws:s3:::b/eve/x", identity: list{"Allow * arn:aws:s3:::b/${aws:username}/*"}, context: context{"aws:username": {"bob"}}, want: identity},
		{name: "56 variable without value", who: session, on: "arn:aws:s3:::b//x", identity: list{"Allow * arn:aws:s3:::b/${aws:username}/*"}, want: identity},
		{name: "57 substituted star", who: bob, on: "arn:aws:s3:::b/x", identity: list{"Allow * arn:aws:s3:::b/${aws:PrincipalTag/p}"}, context: context{"aws:principaltag/p": {"*"}}, want: identity},
		{name: "57 substituted star, literal", who: bob, on: "arn:aws:s3:::b/*", identity: list{"Allow * arn:aws:s3:::b/${aws:PrincipalTag/p}"}, context: context{"aws:principaltag/p": {"*"}}, want: allow},
		{name: "58 old version", who: bob, on: "arn:aws:s3:::b/bob/x", identity: list{"2008", "Allow * arn:aws:s3:::b/${aws:username}/*"}, context: context{"aws:username": {"bob"}}, want: identity},
		{name: "58 old version, literal", who: bob, on: "arn:aws:s3:::b/${aws:username}/x", identity: list{"2008", "Allow * arn:aws:s3:::b/${aws:username}/*"}, context: context{"aws:username": {"bob"}}, want: allow},
		{name: "59 VersionStage", who: bob, identity: list{"Allow * * " + cond("StringEquals", "secretsmanager:VersionStage", "AWSCURRENT")}, context: context{"secretsmanager:versionstage": {"AWSPREVIOUS"}}, want: identity},
		{name: "60 ResourceTag of an untagged secret", who: bob, identity: list{"Allow * * " + cond("StringEquals", "aws:ResourceTag/env", "prod")}, want: identity},
		{name: "60 ResourceTag, key in another case", who: bob, identity: list{"Allow * * " + cond("StringEquals", "aws:ResourceTag/Env", "prod")}, context: context{"aws:resourcetag/env": {"prod"}}, want: allow},
		{name: "61 RequestTag missing", who: bob, action: "secretsmanager:CreateSecret", identity: list{"Allow * * " + cond("StringLike", "aws:RequestTag/team", "?*")}, want: identity},
		{name: "62 missing secret, no permission", who: bob, on: "nothing", identity: list{"Allow " + get + " " + secretARN}, want: identity},
		{name: "62 missing secret, everything", who: bob, on: "nothing", identity: list{"Allow " + get + " *"}, want: allow},

		{name: "63 default key policy", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + rootHome}, identity: list{"Allow kms:Decrypt *"}, want: allow},
		{name: "63 default key policy, no identity", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + rootHome}, want: identity},
		{name: "64 key policy without the account", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + roleApp}, identity: list{"Allow kms:* *"}, want: resource},
		{name: "64 delegation of another action", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:DescribeKey * " + rootHome}, identity: list{"Allow kms:* *"}, want: resource},
		{name: "65 key policy names the user", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:Decrypt * " + userBob}, want: allow},
		{name: "65 key policy names the role, boundary lacks", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:Decrypt * " + roleApp}, boundary: list{"Allow s3:* *"}, want: boundary},
		{name: "66 root, key policy without root", who: root, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + userBob}, want: resource},
		{name: "66 root, default key policy", who: root, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + rootHome}, want: allow},
		{name: "67 grant", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + userBob},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.RoleARN, Operations: list{"Encrypt", "Decrypt"}}}, want: allow},
		{name: "67 grant of another operation", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + userBob},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.RoleARN, Operations: list{"Encrypt"}}}, want: resource},
		{name: "67 grant to another", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + userBob},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: bob.ARN, Operations: list{"Decrypt"}}}, want: resource},
		{name: "67 grant, boundary lacks", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + userBob}, boundary: list{"Allow s3:* *"},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.RoleARN, Operations: list{"Decrypt"}}}, want: boundary},
		{name: "68 grant under a deny", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, identity: list{"Deny kms:Decrypt *"},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.RoleARN, Operations: list{"Decrypt"}}}, want: denyID},
		{name: "69 grant with the context", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, enc: map[string]string{"a": "b"},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.ID, Operations: list{"Decrypt"}, EncryptionContextEquals: map[string]string{"a": "b"}}}, want: allow},
		{name: "69 grant with another context", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, enc: map[string]string{"a": "b", "c": "d"},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.RoleARN, Operations: list{"Decrypt"}, EncryptionContextEquals: map[string]string{"a": "b"}}}, want: resource},
		{name: "69 grant with a subset", who: session, action: "kms:Decrypt", on: keyARN, kind: policy.Key, enc: map[string]string{"a": "b", "c": "d"},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: session.RoleARN, Operations: list{"Decrypt"}, EncryptionContextSubset: map[string]string{"a": "b"}}}, want: allow},
		{name: "70 managed key through its service", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{`Allow kms:Decrypt * "Principal":{"AWS":"*"},` + viaSecrets},
			context: context{"kms:viaservice": {"secretsmanager.eu-west-1.amazonaws.com"}, "kms:calleraccount": {home}}, want: allow},
		{name: "70 managed key directly", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{`Allow kms:Decrypt * "Principal":{"AWS":"*"},` + viaSecrets},
			context: context{"kms:calleraccount": {home}}, identity: list{"Allow * *"}, want: resource},
		{name: "71 customer key without kms:Decrypt", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + rootHome}, identity: list{"Allow " + get + " *"},
			context: context{"kms:viaservice": {"secretsmanager.eu-west-1.amazonaws.com"}}, want: identity},
		{name: "72 ViaService in the identity policy, direct", who: bob, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:* * " + rootHome},
			identity: list{"Allow kms:Decrypt * " + cond("StringEquals", "kms:ViaService", "secretsmanager.eu-west-1.amazonaws.com")}, want: identity},
		{name: "73 cross-account key", who: stranger, owner: home, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:Decrypt * " + rootAway}, identity: list{"Allow kms:Decrypt " + keyARN}, want: allow},
		{name: "73 cross-account alias", who: stranger, owner: home, action: "kms:Decrypt", on: keyARN, kind: policy.Key, resource: list{"Allow kms:Decrypt * " + rootAway},
			identity: list{"Allow kms:Decrypt arn:aws:kms:eu-west-1:111122223333:alias/x"}, want: identity},
		{name: "73 cross-account grant alone", who: stranger, owner: home, action: "kms:Decrypt", on: keyARN, kind: policy.Key,
			grants: []policy.Grant{{ID: "g", GranteePrincipal: stranger.ARN, Operations: list{"Decrypt"}}}, want: identity},
		{name: "73 cross-account grant and identity", who: stranger, owner: home, action: "kms:Decrypt", on: keyARN, kind: policy.Key, identity: list{"Allow kms:* *"},
			grants: []policy.Grant{{ID: "g", GranteePrincipal: stranger.ARN, Operations: list{"Decrypt"}}}, want: allow},

		{name: "74 trust names the user", who: bob, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + userBob}, want: allow},
		{name: "75 trust names the account", who: bob, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + rootHome}, want: identity},
		{name: "75 and identity", who: bob, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + rootHome}, identity: list{"Allow " + assume + " " + targetARN}, want: allow},
		{name: "75 identity alone", who: bob, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + userEve}, identity: list{"Allow * *"}, want: trust},
		{name: "75 no such role", who: bob, action: assume, on: targetARN, kind: policy.Trust, identity: list{"Allow * *"}, want: trust},
		{name: "76 cross-account trust alone", who: stranger, owner: home, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + userEve}, want: identity},
		{name: "76 cross-account both", who: stranger, owner: home, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + rootAway}, identity: list{"Allow " + assume + " *"}, want: allow},
		{name: "76 cross-account identity alone", who: stranger, owner: home, action: assume, on: targetARN, kind: policy.Trust, identity: list{"Allow * *"}, want: noReason},
		{name: "77 ExternalId wrong", who: bob, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + userBob + "," + cond("StringEquals", "sts:ExternalId", "x")},
			context: context{"sts:externalid": {"y"}}, want: trust},
		{name: "77 TagSession not trusted", who: bob, action: "sts:TagSession", on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + userBob}, want: trust},
		{name: "78 deleted and made again", who: policy.Principal{Type: "AssumedRole", Account: home, ARN: session.ARN, RoleARN: session.RoleARN, ID: "AROANEWNEWNEWNEWNEWNE"},
			action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + roleAppID}, identity: list{"Allow * *"}, want: trust},
		{name: "78 the one meant", who: session, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + roleAppID}, want: allow},
		{name: "79 no PassRole", who: bob, action: "iam:PassRole", on: targetARN, identity: list{"Allow ecs:RunTask *"}, want: identity},
		{name: "79 PassRole to another service", who: bob, action: "iam:PassRole", on: targetARN, identity: list{"Allow iam:PassRole * " + cond("StringEquals", "iam:PassedToService", "ec2.amazonaws.com")},
			context: context{"iam:passedtoservice": {"ecs-tasks.amazonaws.com"}}, want: identity},
		{name: "80 trust lacks the service", who: ecsTasks, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + rootHome}, want: trust},
		{name: "80 trust has the service", who: ecsTasks, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + ecsService}, want: allow},
		{name: "80 trust has everyone, who are AWS principals", who: ecsTasks, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + all}, want: trust},
		{name: "service under a deny", who: ecsTasks, action: assume, on: targetARN, kind: policy.Trust, resource: list{"Allow " + assume + " - " + ecsService, "Deny " + assume + " - " + all}, want: "deny role trust policy"},

		{name: "anonymous and everyone", who: anonymous, owner: home, resource: list{"Allow " + get + " * " + all}, want: allow},
		{name: "anonymous", who: anonymous, owner: home, resource: list{"Allow " + get + " * " + rootHome}, want: resource},
		{name: "deny by the account reaches its users", who: bob, identity: list{"Allow * *"}, resource: list{"Deny * * " + rootHome}, want: denyRes},
		{name: "federated user without session policy", who: policy.Principal{Type: "FederatedUser", Account: home, ARN: "arn:aws:sts::111122223333:federated-user/f", ID: home + ":f"}, identity: list{"Allow * *"}, want: identity},
	} {
		for word := range strings.FieldsSeq(tt.name) {
			number, err := strconv.Atoi(word)
			if err != nil {
				break
			}
			covered[number] = true
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &policy.Request{Principal: tt.who, Action: tt.action, Resource: tt.on, ResourceAccount: tt.owner, Context: tt.context, EncryptionContext: tt.enc}
			if r.Action == "" {
				r.Action = get
			}
			if r.Resource == "" {
				r.Resource = secretARN
			}
			s := &policy.Set{Kind: tt.kind, Grants: tt.grants}
			for _, d := range []list{tt.identity, tt.second} {
				if d != nil {
					s.Identity = append(s.Identity, document(t, policy.Identity, d...))
				}
			}
			if tt.boundary != nil {
				d := document(t, policy.Boundary, tt.boundary...)
				s.Boundary = &d
			}
			for _, d := range []list{tt.session, tt.session2} {
				if d != nil {
					s.Session, s.HasSession = append(s.Session, document(t, policy.Session, d...)), true
				}
			}
			if tt.resource != nil {
				kind := tt.kind
				if kind == policy.Identity {
					kind = policy.Resource
				}
				d := document(t, kind, tt.resource...)
				s.Resource = &d
			}

			d := policy.Evaluate(r, s)
			if got, want := naive(r, s), d.Allowed; got != want {
				t.Errorf("a second opinion: allowed = %v, want %v", got, want)
			}
			if tt.want == allow {
				if !d.Allowed {
					t.Fatalf("refused %s", d.Because())
				}
				return
			}
			if d.Allowed {
				t.Fatal(d.Because())
			}
			want := ""
			if layer, found := strings.CutPrefix(tt.want, "deny "); found {
				article := "a "
				switch layer {
				case "identity-based policy":
					article = "an "
				case "role trust policy":
					article = "the "
				}
				want = "with an explicit deny in " + article + layer
				if !d.Explicit || d.Statement == nil || d.Source == nil {
					t.Errorf("decision = %+v, want the statement that denied", d)
				}
			} else if tt.want != noReason {
				want = "because " + tt.want + " allows the " + r.Action + " action"
			}
			if got := d.Because(); got != want {
				t.Errorf("because = %q, want %q", got, want)
			}
		})
	}
	for number := 1; number <= 80; number++ {
		if !covered[number] {
			t.Errorf("case %d is missing", number)
		}
	}
}
