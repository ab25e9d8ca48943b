package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/malote/malote/policy"
)

// A second evaluator, written from the same rules in the plainest way: JSON decoded anew
// for each question, globs as regular expressions, and the sets of the formula computed
// one by one. It knows yes and no alone. The two must agree.

// texts has the text of each document that parse made.
var texts sync.Map

func naive(r *policy.Request, s *policy.Set) bool {
	who := r.Principal
	own := (who.Type == "User" || who.Type == "AssumedRole" || who.Type == "FederatedUser") && who.Federated == ""
	owner := r.ResourceAccount
	if owner == "" {
		owner = who.Account
	}
	cross := owner != who.Account

	var resource []policy.Source
	if s.Resource != nil {
		resource = []policy.Source{*s.Resource}
	}
	var boundary []policy.Source
	if s.Boundary != nil {
		boundary = []policy.Source{*s.Boundary}
	}
	says := func(sources []policy.Source, effect string, by func(map[string]any) bool) bool {
		for _, source := range sources {
			for _, statement := range naiveStatements(source.Document) {
				if statement["Effect"] == effect && by(statement) && naiveApplies(statement, source.Document.Version == "2012-10-17", r) {
					return true
				}
			}
		}
		return false
	}
	anyone := func(map[string]any) bool { return true }
	named := func(how string) func(map[string]any) bool {
		return func(statement map[string]any) bool { return naiveNames(statement, who, s.Kind, how) }
	}

	if own && (says(s.Identity, "Deny", anyone) || says(boundary, "Deny", anyone) || says(s.Session, "Deny", anyone)) {
		return false
	}
	if says(resource, "Deny", named("any")) {
		return false
	}
	identity := own && says(s.Identity, "Allow", anyone)
	bounded := !own || s.Boundary == nil || says(boundary, "Allow", anyone)
	inSession := !own || !s.HasSession && len(s.Session) == 0 || says(s.Session, "Allow", anyone)
	direct, role, account := says(resource, "Allow", named("direct")), says(resource, "Allow", named("role")), says(resource, "Allow", named("account"))
	granted := slices.ContainsFunc(s.Grants, func(g policy.Grant) bool { return naiveGrant(g, r) })
	rooted := s.Kind == policy.Key || s.Kind == policy.Trust

	switch {
	case outsider(who):
		return direct || s.Kind == policy.Key && granted
	case cross:
		return (identity || who.Type == "Account") && bounded && inSession && (direct || role || account || granted)
	case who.Type == "Account":
		return !rooted || direct || role || account || granted
	}
	if who.Type == "FederatedUser" && !s.HasSession && len(s.Session) == 0 {
		identity = false
	}
	if rooted && !account && !role {
		identity = false
	}
	return direct || (identity || role || granted) && bounded && inSession
}

func naiveStatements(d *policy.Document) []map[string]any {
	text, ok := texts.Load(d)
	if !ok {
		panic("no text")
	}
	var document struct{ Statement any }
	if err := json.Unmarshal([]byte(text.(string)), &document); err != nil {
		panic(err)
	}
	var out []map[string]any
	for _, item := range naiveList(document.Statement) {
		out = append(out, item.(map[string]any))
	}
	return out
}

func naiveList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func naiveStrings(v any) []string {
	var out []string
	for _, item := range naiveList(v) {
		if f, ok := item.(float64); ok {
			out = append(out, strconv.FormatFloat(f, 'f', -1, 64))
		} else {
			out = append(out, fmt.Sprint(item))
		}
	}
	return out
}

func naiveNames(statement map[string]any, who policy.Principal, kind policy.Kind, how string) bool {
	test := func(element any) map[string]bool {
		found := make(map[string]bool)
		if element == "*" {
			element = map[string]any{"AWS": "*"}
		}
		for sort, values := range element.(map[string]any) {
			for _, p := range naiveStrings(values) {
				switch {
				case sort == "Service":
					found["direct"] = found["direct"] || who.Type == "Service" && p == who.Service
				case sort == "Federated":
					found["direct"] = found["direct"] || who.Federated == p
					found["provider"] = found["provider"] || who.Federated == p
				case p == "*":
					if !(outsider(who) && kind == policy.Trust && statement["Effect"] == "Allow") {
						found["direct"], found["everyone"] = true, true
					}
				case outsider(who):
				case p == who.Account || strings.HasSuffix(p, ":iam::"+who.Account+":root"):
					found["account"] = true
				case p == who.RoleARN || who.Type == "AssumedRole" && p == who.ID:
					found["role"] = true
				case p == who.ARN || who.Type != "AssumedRole" && p == who.ID:
					found["direct"] = true
				}
			}
		}
		return found
	}
	if not, ok := statement["NotPrincipal"]; ok {
		listed := test(not)
		exempt := listed["everyone"] || listed["provider"]
		switch who.Type {
		case "Account":
			exempt = exempt || listed["account"]
		case "AssumedRole":
			exempt = exempt || listed["account"] && listed["role"] && listed["direct"]
		case "Service":
			exempt = exempt || listed["direct"]
		default:
			exempt = exempt || listed["account"] && listed["direct"]
		}
		return !exempt
	}
	found := test(statement["Principal"])
	if how == "any" {
		return found["direct"] || found["role"] || found["account"]
	}
	return found[how]
}

// outsider has no policies and no account of its own: a service, a stranger, who is known
// by a web identity alone.
func outsider(who policy.Principal) bool {
	return who.Type == "Service" || who.Type == "Anonymous" || who.Federated != ""
}

func naiveGrant(g policy.Grant, r *policy.Request) bool {
	who := r.Principal
	if g.GranteePrincipal != who.ARN && g.GranteePrincipal != who.RoleARN && g.GranteePrincipal != who.ID && g.GranteePrincipal != who.Service {
		return false
	}
	for _, operation := range g.Operations {
		if "kms:"+operation == r.Action {
			for key, value := range g.EncryptionContextSubset {
				if r.EncryptionContext[key] != value {
					return false
				}
			}
			return g.EncryptionContextEquals == nil || fmt.Sprint(g.EncryptionContextEquals) == fmt.Sprint(r.EncryptionContext)
		}
	}
	return false
}

// naiveGlob builds a regular expression out of a pattern, its variables replaced.
func naiveGlob(text string, variables, wild bool, context policy.Context) (string, bool) {
	var out strings.Builder
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "${"); ok && variables {
			inside, after, _ := strings.Cut(rest, "}")
			text = after
			if inside == "*" || inside == "?" || inside == "$" {
				out.WriteString(regexp.QuoteMeta(inside))
				continue
			}
			key, fallback, hasFallback := strings.Cut(inside, ",")
			values := context[strings.ToLower(strings.TrimSpace(key))]
			switch {
			case len(values) == 1:
				out.WriteString(regexp.QuoteMeta(values[0]))
			case hasFallback:
				out.WriteString(regexp.QuoteMeta(strings.Trim(strings.TrimSpace(fallback), "'")))
			default:
				return "", false
			}
			continue
		}
		r := []rune(text)[0]
		switch {
		case r == '*' && wild:
			out.WriteString(".*")
		case r == '?' && wild:
			out.WriteString(".")
		default:
			out.WriteString(regexp.QuoteMeta(string(r)))
		}
		text = text[len(string(r)):]
	}
	return out.String(), true
}

func naiveMatch(pattern, s string) bool {
	return regexp.MustCompile(`(?s)\A` + pattern + `\z`).MatchString(s)
}

func naiveApplies(statement map[string]any, variables bool, r *policy.Request) bool {
	listed := func(name string, match func(string) bool) bool {
		if values, ok := statement[name]; ok {
			return slices.ContainsFunc(naiveStrings(values), match)
		}
		if values, ok := statement["Not"+name]; ok {
			return !slices.ContainsFunc(naiveStrings(values), match)
		}
		return true
	}
	action := listed("Action", func(p string) bool {
		pattern, _ := naiveGlob(strings.ToLower(p), false, true, nil)
		return naiveMatch(pattern, strings.ToLower(r.Action))
	})
	resource := listed("Resource", func(p string) bool {
		if p == "*" {
			return true
		}
		want, got := strings.SplitN(p, ":", 6), strings.SplitN(r.Resource, ":", 6)
		if len(got) != 6 {
			return false
		}
		for i := range want {
			pattern, ok := naiveGlob(want[i], variables, true, r.Context)
			if !ok || !naiveMatch(pattern, got[i]) {
				return false
			}
		}
		return true
	})
	if !action || !resource {
		return false
	}
	conditions, _ := statement["Condition"].(map[string]any)
	for operator, keys := range conditions {
		for key, values := range keys.(map[string]any) {
			if !naiveCondition(operator, strings.ToLower(key), naiveStrings(values), variables, r.Context) {
				return false
			}
		}
	}
	return true
}

func naiveCondition(operator, key string, wants []string, variables bool, context policy.Context) bool {
	gots := context[key]
	if operator == "Null" {
		return slices.Contains(wants, strconv.FormatBool(len(gots) == 0))
	}
	set, operator, found := strings.Cut(operator, ":")
	if !found {
		set, operator = "", set
	}
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	negated := strings.Contains(operator, "Not")
	operator = strings.Replace(operator, "Not", "", 1)
	// one: does this value of the request equal, or resemble, one of the policy's?
	one := func(got string) bool {
		return slices.ContainsFunc(wants, func(want string) bool { return naiveTest(operator, want, got, variables, context) })
	}
	blank := !slices.ContainsFunc(gots, func(s string) bool { return s != "" })
	switch set {
	case "ForAllValues":
		return blank || !slices.ContainsFunc(gots, func(got string) bool { return one(got) == negated })
	case "ForAnyValue":
		if blank {
			return ifExists && len(gots) == 0
		}
		return slices.ContainsFunc(gots, func(got string) bool { return one(got) != negated })
	}
	if len(gots) == 0 {
		return ifExists || negated
	}
	return slices.ContainsFunc(gots, one) != negated
}

func naiveTest(operator, want, got string, variables bool, context policy.Context) bool {
	compare := func(a, b float64) bool {
		switch {
		case strings.HasSuffix(operator, "LessThan"):
			return a < b
		case strings.HasSuffix(operator, "LessThanEquals"):
			return a <= b
		case strings.HasSuffix(operator, "GreaterThan"):
			return a > b
		case strings.HasSuffix(operator, "GreaterThanEquals"):
			return a >= b
		}
		return a == b
	}
	switch {
	case operator == "StringEquals":
		pattern, ok := naiveGlob(want, variables, false, context)
		return ok && naiveMatch(pattern, got)
	case operator == "StringEqualsIgnoreCase":
		pattern, ok := naiveGlob(want, variables, false, context)
		return ok && naiveMatch("(?i)"+pattern, got)
	case operator == "StringLike":
		pattern, ok := naiveGlob(want, variables, true, context)
		return ok && naiveMatch(pattern, got)
	case strings.HasPrefix(operator, "Arn"):
		if want == "*" {
			return true
		}
		wants, gots := strings.SplitN(want, ":", 6), strings.SplitN(got, ":", 6)
		if len(wants) != 6 || len(gots) != 6 {
			return false
		}
		for i := range wants {
			if pattern, ok := naiveGlob(wants[i], variables, true, context); !ok || !naiveMatch(pattern, gots[i]) {
				return false
			}
		}
		return true
	case operator == "Bool":
		return strings.EqualFold(want, got)
	case operator == "IpAddress":
		prefix, err := netip.ParsePrefix(want)
		if err != nil {
			a := netip.MustParseAddr(want)
			prefix = netip.PrefixFrom(a, a.BitLen())
		}
		a, err := netip.ParseAddr(got)
		return err == nil && prefix.Contains(a)
	case operator == "BinaryEquals":
		a, _ := base64.StdEncoding.DecodeString(want)
		b, err := base64.StdEncoding.DecodeString(got)
		return err == nil && string(a) == string(b)
	case strings.HasPrefix(operator, "Numeric"):
		a, err := strconv.ParseFloat(got, 64)
		b, _ := strconv.ParseFloat(want, 64)
		return err == nil && compare(a, b)
	case strings.HasPrefix(operator, "Date"):
		at := func(s string) (float64, error) {
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				return float64(t.Unix()), nil
			}
			return strconv.ParseFloat(s, 64)
		}
		a, err := at(got)
		b, _ := at(want)
		return err == nil && compare(a, b)
	}
	panic(operator)
}

// TestDifferential puts random questions to both evaluators.
func TestDifferential(t *testing.T) {
	t.Parallel()
	questions := 20000
	if testing.Short() {
		questions = 2000
	}
	allowed := differ(t, 7, questions)
	if allowed < questions/20 || allowed > questions*19/20 {
		t.Errorf("%d of %d questions allowed: they ask too little", allowed, questions)
	}
}

// FuzzDifferential does so for as long as it may.
func FuzzDifferential(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(func(t *testing.T, seed uint64) { differ(t, seed, 50) })
}

// differ fails when the two evaluators do not agree, and counts what they allowed.
func differ(t *testing.T, seed uint64, questions int) (allowed int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	chance := func(percent int) bool { return random.IntN(100) < percent }

	actions := []string{get, "secretsmanager:PutSecretValue", "kms:Decrypt", "sts:AssumeRole", "s3:GetObject"}
	resources := []string{secretARN, keyARN, targetARN, "arn:aws:s3:::b/bob/x:y", "arn:aws:s3:::b/*", "*", "plain"}
	contextValues := map[string][]string{
		"aws:username":            {"bob", "b*b", "Bob", ""},
		"aws:principaltag/p":      {"*", "x", "bob"},
		"aws:tagkeys":             {"a", "b", "", "É"},
		"aws:sourceip":            {"10.1.2.3", "11.0.0.1", "2001:db8::1", "nonsense"},
		"aws:currenttime":         {"2026-01-01T00:00:00Z", "1767225600", "later"},
		"aws:securetransport":     {"true", "false", "TRUE", "maybe"},
		"aws:principalarn":        {bob.ARN, session.RoleARN, "short"},
		"s3:max-keys":             {"10", "10.5", "-1", "many"},
		"service:binary":          {"QUJD", "QUI=", "!"},
		"kms:encryptioncontext:x": {"1", "2"},
	}
	names := make([]string, 0, len(contextValues))
	for name := range contextValues {
		names = append(names, name)
	}
	slices.Sort(names)

	everybody := []policy.Principal{bob, bob, session, session, root, stranger, strangerSession, ecsTasks, anonymous,
		{Type: "FederatedUser", Account: home, ARN: "arn:aws:sts::111122223333:federated-user/f", ID: home + ":f"},
		{Type: "Account", Account: away, ARN: "arn:aws:iam::444455556666:root", ID: away},
		{Type: "User", Account: home, ARN: "arn:aws:iam::111122223333:user/team/bob", ID: "AIDABBBBBBBBBBBBBBBBB"},
		// Bob again, whose name was given to another: stored policies know the first by his id.
		{Type: "User", Account: home, ARN: bob.ARN, ID: "AIDANEWNEWNEWNEWNEWNE"},
		{Federated: "arn:aws:iam::111122223333:oidc-provider/id.example.com"},
	}
	const (
		federatedUser = `"Principal":{"AWS":"arn:aws:sts::111122223333:federated-user/f"}`
		webIdentity   = `"Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/id.example.com"}`
	)
	var built []*policy.Document
	clause := func() (operator, key, value string) {
		switch random.IntN(8) {
		case 0, 1:
			key = pick("aws:UserName", "aws:PrincipalTag/P", "aws:TagKeys", "aws:PrincipalArn", "kms:EncryptionContext:x")
			operator = pick("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike")
			value = pick("bob", "BOB", "b?b", "a", "?", "*", "${aws:username}", "${aws:PrincipalTag/p, 'bob'}", "b${*}b", "${aws:tagkeys}x", "1")
		case 2:
			key, operator, value = pick("aws:SourceIp", "aws:username"), pick("IpAddress", "NotIpAddress"), pick("10.0.0.0/8", "11.0.0.1", "2001:db8::/32", "0.0.0.0/0")
		case 3:
			key, operator, value = "aws:CurrentTime", "Date"+pick("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"), pick("2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "1767225600")
		case 4:
			key, operator, value = "s3:max-keys", "Numeric"+pick("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"), pick("10", "-1", "1e1", "10.50")
		case 5:
			key, operator, value = "aws:SecureTransport", "Bool", pick("true", "false")
		case 6:
			key, operator, value = "aws:PrincipalArn", pick("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"), pick(bob.ARN, "arn:aws:iam::*:user/*", "*", "arn:aws:iam::111122223333:user/${aws:username}", "arn:*:*:*:*:*")
		default:
			key, operator, value = "service:binary", "BinaryEquals", pick("QUJD", "QUI=")
		}
		if chance(25) {
			operator += "IfExists"
		}
		if chance(30) {
			operator = pick("ForAllValues:", "ForAnyValue:") + operator
		}
		if chance(10) {
			operator, value = "Null", pick("true", "false")
		}
		return operator, key, value
	}
	// condition is one to three of them, in one operator or in several; of values there are
	// one or two.
	condition := func() string {
		operators := map[string]map[string][]string{}
		for range 1 + random.IntN(3) {
			operator, key, value := clause()
			if operators[operator] == nil {
				operators[operator] = map[string][]string{}
			}
			if list := operators[operator][key]; len(list) < 2 {
				operators[operator][key] = append(list, value)
			}
		}
		text, err := json.Marshal(operators)
		if err != nil {
			t.Fatal(err)
		}
		return `"Condition":` + string(text)
	}
	build := func(kind policy.Kind) policy.Source {
		var statements []string
		for range 1 + random.IntN(3) {
			short := pick("Allow", "Allow", "Deny")
			rest := []string{}
			if kind == policy.Trust {
				short += " " + pick("sts:*", "sts:AssumeRole", "sts:Assume*") + " -"
			} else {
				short += " " + pick("*", "secretsmanager:*", "secretsmanager:get*", "kms:?ecrypt", "!kms:*", "!secretsmanager:Put*", "s3:*Object")
				short += " " + pick("*", "*", secretARN, "arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/${aws:PrincipalTag/p}", "!arn:aws:kms:*:*:key/*", "arn:*:*:*:1111*:*", "arn:aws:secretsmanager:*:*:secret:prod/db-??????")
			}
			switch kind {
			case policy.Resource, policy.Key, policy.Trust:
				deny := strings.HasPrefix(short, "Deny")
				switch {
				case deny && chance(40):
					rest = append(rest, `"NotPrincipal":{"AWS":["111122223333",`+pick(`"`+bob.ARN+`"`, `"`+session.RoleARN+`","`+session.ARN+`"`, `"`+session.ID+`"`)+`]}`)
				default:
					rest = append(rest, pick(userBob, rootHome, rootAway, userEve, roleApp, roleAppID, sessionApp, sessionAway, all, ecsService, federatedUser))
					if kind == policy.Trust && chance(20) {
						rest[len(rest)-1] = webIdentity
					}
				}
			}
			if chance(50) {
				rest = append(rest, condition())
			}
			if len(rest) > 0 {
				short += " " + strings.Join(rest, ",")
			}
			statements = append(statements, short)
		}
		if chance(15) {
			statements = append([]string{"2008"}, statements...)
		}
		source := document(t, kind, statements...)
		built = append(built, source.Document)
		return source
	}

	for range questions {
		r := &policy.Request{
			Principal: everybody[random.IntN(len(everybody))],
			Action:    pick(actions...), Resource: pick(resources...), ResourceAccount: pick("", home, home, away), Context: policy.Context{},
			EncryptionContext: map[string]string{"x": pick("1", "2")},
		}
		for _, name := range names {
			if chance(60) {
				r.Context[name] = append(r.Context[name], pick(contextValues[name]...))
				if chance(15) {
					r.Context[name] = append(r.Context[name], pick(contextValues[name]...))
				}
			}
		}
		s := &policy.Set{}
		for range random.IntN(3) {
			s.Identity = append(s.Identity, build(policy.Identity))
		}
		if chance(25) {
			d := build(policy.Boundary)
			s.Boundary = &d
		}
		for range random.IntN(6) - 3 {
			s.Session, s.HasSession = append(s.Session, build(policy.Session)), true
		}
		if chance(60) {
			s.Kind = []policy.Kind{policy.Resource, policy.Key, policy.Trust}[random.IntN(3)]
			d := build(s.Kind)
			s.Resource = &d
			if chance(30) {
				s.Grants = []policy.Grant{{GranteePrincipal: pick(bob.ARN, session.RoleARN, session.ID, stranger.ARN), Operations: []string{"Decrypt"}, EncryptionContextSubset: map[string]string{"x": "1"}}}
			}
		}
		d := policy.Evaluate(r, s)
		if again := policy.Evaluate(r, s); again != d {
			t.Fatalf("the same question twice: %+v and %+v", d, again)
		}
		if want := naive(r, s); d.Allowed != want {
			t.Fatalf("allowed = %v (%s), naive = %v\nrequest %+v\n%s", d.Allowed, d.Because(), want, r, describe(s))
		}
		if d.Allowed {
			allowed++
		}
		for _, d := range built {
			texts.Delete(d)
		}
		built = built[:0]
	}
	return allowed
}

func describe(s *policy.Set) string {
	var b strings.Builder
	add := func(what string, source policy.Source) {
		text, _ := texts.Load(source.Document)
		fmt.Fprintf(&b, "%s: %s\n", what, text)
	}
	for _, source := range s.Identity {
		add("identity", source)
	}
	if s.Boundary != nil {
		add("boundary", *s.Boundary)
	}
	for _, source := range s.Session {
		add("session", source)
	}
	if s.Resource != nil {
		add(fmt.Sprintf("resource (kind %d)", s.Kind), *s.Resource)
	}
	fmt.Fprintf(&b, "grants: %+v\n", s.Grants)
	return b.String()
}
