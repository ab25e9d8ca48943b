package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// Parse checks and compiles a document. Its error is a *SyntaxError, which names line,
// column and element.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
func Parse(kind Kind, text []byte) (*Document, error) {
	return parse(parser{kind: kind, text: string(text)})
}

// Check is Parse for a policy that is about to be saved. It also refuses, as IAM does,
// resources that there cannot be: a Deny of a misspelled one would deny nothing. A policy
// that was saved before is not held to it.
func Check(kind Kind, text []byte) (*Document, error) {
	return parse(parser{kind: kind, text: string(text), strict: true})
}

func parse(p parser) (*Document, error) {
	root, wrong := scan(p.text)
	if wrong != nil {
		if wrong.Detail == duplicateKey {
			wrong.Msg = msgSyntax
		}
		return nil, wrong
	}
	p.document(root)
	if p.err != nil {
		return nil, p.err
	}
	return p.doc, nil
}

// parser keeps the first error; what follows one is not looked at.
type parser struct {
	kind      Kind
	text      string
	strict    bool // what there cannot be is refused
	doc       *Document
	variables bool
	err       *SyntaxError
}

func (p *parser) fail(n *node, element, msg, format string, args ...any) {
	if p.err == nil {
		p.err = syntaxError(p.text, n.start, element, msg, fmt.Sprintf(format, args...))
	}
}

func (p *parser) document(root *node) {
	p.doc = &Document{Version: version2008}
	if root.kind != nodeObject {
		p.fail(root, "", msgSyntax, "a policy is a JSON object")
		return
	}
	var statements *node
	for i := range root.keys {
		value := &root.items[i]
		switch key := root.keys[i].text; key {
		case "Version":
			if value.kind != nodeString || value.text != version2008 && value.text != version2012 {
				p.fail(value, key, msgVersion, `Version must be "2012-10-17" or "2008-10-17"`)
			}
			p.doc.Version = value.text
		case "Id":
			if value.kind != nodeString {
				p.fail(value, key, msgSyntax, "must be a string")
			}
			p.doc.ID = value.text
		case "Statement":
			statements = value
		default:
			p.fail(&root.keys[i], key, msgSyntax, "unknown element %q", key)
		}
	}
	p.variables = p.doc.Version == version2012
	if statements == nil {
		p.fail(root, "", msgSyntax, "the policy has no Statement")
		return
	}
	list := statements.list()
	if len(list) == 0 {
		p.fail(statements, "Statement", msgSyntax, "the policy has no statement")
	}
	places := cursor{text: p.text}
	sids := make(map[string]bool)
	p.doc.Statements = make([]Statement, len(list))
	for i, n := range list {
		s := &p.doc.Statements[i]
		s.Index = i
		s.Line, s.Column = places.at(n.start)
		s.EndLine, s.EndColumn = places.at(n.end)
		p.statement(n, s, fmt.Sprintf("Statement[%d]", i))
		if s.Sid != "" && sids[s.Sid] {
			p.fail(n, fmt.Sprintf("Statement[%d].Sid", i), msgSidUnique, "the Sid %q is used twice", s.Sid)
		}
		sids[s.Sid] = true
		if p.err != nil {
			return
		}
	}
	p.doc.leads = leads(p.doc.Statements)
	for _, n := range awsPrincipals(root) {
		p.doc.principals = append(p.doc.principals, n.text)
	}
}

func (p *parser) statement(n *node, s *Statement, element string) {
	if n.kind != nodeObject {
		p.fail(n, element, msgSyntax, "a statement is a JSON object")
		return
	}
	var effect, action, resource, principal bool
	for i := range n.keys {
		key, value := n.keys[i].text, &n.items[i]
		at := element + "." + key
		exclusive := func(seen *bool) {
			if *seen {
				p.fail(&n.keys[i], at, msgSyntax, "%s and %s exclude each other", key, opposite(key))
			}
			*seen = true
		}
		switch key {
		case "Sid":
			s.Sid = p.sid(value, at)
		case "Effect":
			effect = true
			value = value.scalar()
			if value.kind != nodeString || value.text != "Allow" && value.text != "Deny" {
				p.fail(value, at, msgSyntax, `Effect must be "Allow" or "Deny"`)
			}
			s.Allow = value.text == "Allow"
		case "Action", "NotAction":
			exclusive(&action)
			s.notAction = key == "NotAction"
			s.actions = p.actions(value, at)
		case "Resource", "NotResource":
			exclusive(&resource)
			s.notResource = key == "NotResource"
			s.resources = p.resources(value, at)
		case "Principal", "NotPrincipal":
			exclusive(&principal)
			s.notPrincipal = key == "NotPrincipal"
			s.principals = p.principals(value, at)
		case "Condition":
			s.conditions = p.conditions(value, at)
		default:
			p.fail(&n.keys[i], at, msgSyntax, "unknown element %q", key)
		}
	}
	switch {
	case !effect:
		p.fail(n, element, msgSyntax, "the statement has no Effect")
	case !action:
		p.fail(n, element, msgActions, "the statement has neither Action nor NotAction")
	case !resource && p.kind != Trust:
		p.fail(n, element, msgResources, "the statement has neither Resource nor NotResource")
	case !principal && p.kind.ofResource():
		p.fail(n, element, msgNoPrincipal, "the statement has neither Principal nor NotPrincipal")
	case s.notPrincipal && s.Allow:
		p.fail(n, element, msgAllowNotPrincipal, "NotPrincipal with Allow would let in everyone else, strangers too")
	}
}

func opposite(key string) string {
	if rest, found := strings.CutPrefix(key, "Not"); found {
		return rest
	}
	return "Not" + key
}

func (k Kind) ofResource() bool { return k == Resource || k == Key || k == Trust }

func (p *parser) sid(n *node, element string) string {
	n = n.scalar()
	if n.kind != nodeString {
		p.fail(n, element, msgSyntax, "must be a string")
		return ""
	}
	for _, r := range n.text {
		if r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z' {
			if p.kind == Resource || p.kind == Key {
				continue // these allow spaces and more: KMS's own default has them
			}
			p.fail(n, element, msgSyntax, "a Sid has only letters and digits")
			break
		}
	}
	return n.text
}

// strings reads a string or an array of strings, not empty.
func (p *parser) strings(n *node, element, msg string) []*node {
	list := n.list()
	if len(list) == 0 {
		p.fail(n, element, msg, "must not be empty")
	}
	for _, item := range list {
		if item.kind != nodeString {
			p.fail(item, element, msgSyntax, "must be a string or an array of strings")
			return nil
		}
	}
	return list
}

func (p *parser) actions(n *node, element string) []actionPattern {
	var out []actionPattern
	for _, item := range p.strings(n, element, msgActions) {
		vendor, name, found := strings.Cut(item.text, ":")
		switch {
		case item.text == "*" && p.kind != Trust:
			out = append(out, actionPattern{written: item.text})
			continue
		case p.kind == Trust && (!found || !strings.EqualFold(vendor, "sts")):
			p.fail(item, element, msgTrustActions, "%q is not an action of a trust policy", item.text)
		case !found || vendor == "" || name == "":
			p.fail(item, element, msgVendor, "%q is not service:Action", item.text)
		case strings.Contains(name, ":"):
			p.fail(item, element, msgOneColon, "%q has more than one colon", item.text)
		case !isVendor(vendor):
			p.fail(item, element, fmt.Sprintf("Vendor %s is not valid", vendor), "the service of %q is malformed; it cannot have wildcards", item.text)
		}
		a := newActionPattern(vendor, name)
		a.written = item.text
		if p.kind == Trust && !a.ofTrust() {
			p.fail(item, element, msgTrustActions, "%q is not an action of a trust policy", item.text)
		}
		out = append(out, a)
	}
	return out
}

func isVendor(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// ofTrust reports whether the pattern covers something that a trust policy decides.
func (a *actionPattern) ofTrust() bool {
	for _, name := range [...]string{"AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot", "TagSession", "SetSourceIdentity", "SetContext"} {
		if globFold(a.name, name) {
			return true
		}
	}
	return false
}

func (p *parser) resources(n *node, element string) []arnPattern {
	if p.kind == Trust {
		p.fail(n, element, msgTrustResource, "a trust policy is about its own role alone")
		return nil
	}
	var out []arnPattern
	for _, item := range p.strings(n, element, msgResources) {
		pattern, ok, wrong := compileARN(item.text, p.variables)
		switch {
		case wrong != "":
			p.fail(item, element, msgSyntax, "%q: %s", item.text, wrong)
		case !ok:
			p.fail(item, element, fmt.Sprintf(`Resource %s must be in ARN format or "*".`, item.text), "%q is neither an ARN with six parts nor %q", item.text, "*")
		case p.strict:
			if msg, detail := impossible(item.text); msg != "" {
				p.fail(item, element, msg, "%s", detail)
			}
		}
		out = append(out, pattern)
	}
	return out
}

// leads are the common leads of the statements, beside one another in memory: most statements
// of an account's policies are passed over by them alone.
func leads(statements []Statement) []string {
	found, total := make([]string, len(statements)), 0
	for i := range statements {
		if s := &statements[i]; !s.notResource {
			found[i] = commonLead(s.resources)
			total += len(found[i])
		}
	}
	var all strings.Builder
	all.Grow(total)
	for _, lead := range found {
		all.WriteString(lead)
	}
	rest := all.String()
	for i, lead := range found {
		found[i], rest = rest[:len(lead)], rest[len(lead):]
	}
	return found
}

// commonLead is with what the last part of all of the resources begins.
func commonLead(resources []arnPattern) string {
	if len(resources) == 0 || resources[0].all {
		return ""
	}
	lead := resources[0].lead
	for _, r := range resources[1:] {
		n := 0
		for n < len(lead) && n < len(r.lead) && lead[n] == r.lead[n] {
			n++
		}
		lead = lead[:n]
	}
	return lead
}

func (p *parser) principals(n *node, element string) []principal {
	if !p.kind.ofResource() {
		p.fail(n, element, msgIdentityPrincipal, "the principal is whoever the policy is attached to")
		return nil
	}
	if n.kind == nodeString && n.text == "*" {
		return []principal{{kind: everyone}}
	}
	if n.kind != nodeObject || len(n.keys) == 0 {
		p.fail(n, element, p.invalidPrincipal("AWS", n.text), `must be "*" or an object with AWS, Service or Federated`)
		return nil
	}
	var out []principal
	for i := range n.keys {
		sort := n.keys[i].text
		at := element + "." + sort
		for _, item := range p.strings(&n.items[i], at, msgSyntax) {
			var one principal
			ok := false
			switch sort {
			case "AWS":
				one, ok = parsePrincipal(item.text)
			case "Service":
				one = principal{service, item.text}
				ok = strings.Contains(item.text, ".") && isVendor(item.text)
			case "Federated":
				one = principal{federated, item.text}
				ok = isFederated(item.text)
			}
			if !ok {
				p.fail(item, at, p.invalidPrincipal(sort, item.text), "invalid principal %q", item.text)
			}
			out = append(out, one)
		}
	}
	return out
}

var (
	partitions = []string{"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"}
	iamPaths   = []string{"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/", "sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/"}
)

// impossible says, in IAM's words and in ours, why no resource has this ARN, or nothing.
func impossible(text string) (msg, detail string) {
	a, ok := splitARN(text)
	wild := func(s string) bool { return strings.ContainsAny(s, "*?") }
	switch {
	case !ok: // "*"
	case !wild(a[1]) && !slices.Contains(partitions, a[1]):
		return fmt.Sprintf("Partition %q is not valid for resource %q.", a[1], text), fmt.Sprintf("%q has the partition %q; want %q", text, a[1], "aws")
	case a[2] == "" || wild(a[2]):
		return "Resource vendor must be fully qualified and cannot contain regexes.", fmt.Sprintf("the service of %q must be written out", text)
	case a[2] == "iam" && a[3] != "":
		return fmt.Sprintf("IAM resource %s cannot contain region information.", text), fmt.Sprintf("%q has the region %q", text, a[3])
	case a[2] == "iam" && a[5] != "root" && !iamPath(a[5]):
		return fmt.Sprintf("IAM resource path must either be %q, root, or start with %s.", "*", strings.Join(iamPaths, ", ")), fmt.Sprintf("%q does not", text)
	case a[2] == "s3" && a[3] != "" && a[4] == "": // with an account it may be an access point
		return fmt.Sprintf("Resource %s can not contain region information.", text), fmt.Sprintf("%q has the region %q", text, a[3])
	}
	return "", ""
}

// iamPath reports whether something of IAM's may begin so. What a wildcard or a variable
// stands for is not known.
func iamPath(path string) bool {
	begin, _, _ := strings.Cut(path, "/")
	if strings.ContainsAny(begin, "*?$") {
		return true
	}
	return slices.ContainsFunc(iamPaths, func(start string) bool { return strings.HasPrefix(path, start) })
}

func isFederated(s string) bool {
	if a, ok := splitARN(s); ok {
		return a[0] == "arn" && a[2] == "iam" && isAccount(a[4]) && !strings.ContainsAny(s, "*?") &&
			(strings.HasPrefix(a[5], "oidc-provider/") || strings.HasPrefix(a[5], "saml-provider/"))
	}
	return s != "" && strings.Contains(s, ".") && !strings.ContainsAny(s, "*? ")
}

// invalidPrincipal is what the service that keeps this kind of policy says.
func (p *parser) invalidPrincipal(sort, value string) string {
	switch p.kind {
	case Key:
		return "Policy contains a statement with one or more invalid principals."
	case Resource:
		return "This resource policy contains an unsupported principal."
	}
	if sort != "AWS" {
		sort = strings.ToUpper(sort)
	}
	return fmt.Sprintf("Invalid principal in policy: %q:%q", sort, value)
}

func (p *parser) conditions(n *node, element string) []condition {
	if n.kind != nodeObject {
		p.fail(n, element, msgSyntax, "must be an object of operators")
		return nil
	}
	var out []condition
	for i := range n.keys {
		name, keys := n.keys[i].text, &n.items[i]
		at := element + "." + name
		template, ok := compileOperator(name)
		if !ok {
			p.fail(&n.keys[i], at, msgSyntax, "unknown operator %q", name)
		}
		if keys.kind != nodeObject {
			p.fail(keys, at, msgSyntax, "must be an object of condition keys")
			return nil
		}
		for j := range keys.keys {
			c := template
			c.name = keys.keys[j].text
			c.key = strings.ToLower(c.name)
			at := at + "." + keys.keys[j].text
			if vendor, rest, found := strings.Cut(c.key, ":"); !found || vendor == "" || rest == "" {
				p.fail(&keys.keys[j], at, msgVendor, "%q is not service:key", keys.keys[j].text)
			}
			for _, item := range keys.items[j].list() {
				if item.kind != nodeString && item.kind != nodeNumber && item.kind != nodeBool {
					p.fail(item, at, msgSyntax, "must be a string, a number, true, false or an array of these")
					return nil
				}
				value, wrong := compileOperand(c.test, item.text, p.variables)
				if wrong != "" {
					p.fail(item, at, msgSyntax, "%q: %s", item.text, wrong)
				}
				value.written = item.text
				c.values = append(c.values, value)
			}
			if len(c.values) == 0 {
				p.fail(&keys.items[j], at, msgSyntax, "must not be empty")
			}
			out = append(out, c)
		}
	}
	return out
}

// list is an array's items, or the one value.
func (n *node) list() []*node {
	if n.kind != nodeArray {
		return []*node{n}
	}
	list := make([]*node, len(n.items))
	for i := range n.items {
		list[i] = &n.items[i]
	}
	return list
}

// scalar is the one item of an array of one; any other value is itself.
func (n *node) scalar() *node {
	if n.kind == nodeArray && len(n.items) == 1 {
		return &n.items[0]
	}
	return n
}

func quote(s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
