package policy

import "strings"

// Evaluate decides r under s: the evaluation logic of the IAM User Guide.
//
// With D any matching Deny, anywhere: D refuses. Then, within one account,
//
//	allowed = direct ∪ ((identity ∪ role named) ∩ boundary ∩ session)
//
// where direct and role named are the ways in which the resource's policy lets the
// principal in (see reach) and a missing boundary or session policy is everything. Across
// accounts both sides must allow:
//
//	allowed = (identity ∩ boundary ∩ session) ∩ resource
//
// Key and trust policies are the root of trust of what they guard: identity policies count
// only when the policy names the principal's account.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func Evaluate(r *Request, s *Set) Decision {
	q := newQuestion(r)
	d := Decision{Action: r.Action}
	who := &r.Principal
	// A service or a stranger has no policies of its own, and root neither policies nor limits.
	var identity, boundary, session finding
	bounded, inSession := false, false
	if who.Type != typeService && who.Type != typeAnonymous && who.Type != typeAccount && who.Federated == "" {
		identity = q.findAll(s.Identity)
		if bounded = s.Boundary != nil; bounded {
			boundary = q.find(s.Boundary)
		}
		if inSession = s.HasSession || len(s.Session) > 0; inSession {
			session = q.findAll(s.Session)
		}
	}
	resource := q.findResource(s.Resource, s.Kind)
	resourceLayer := LayerResource
	if s.Kind == Trust {
		resourceLayer = LayerTrust
	}
	owner := r.ResourceAccount
	if owner == "" {
		owner = who.Account
	}
	d.CrossAccount = owner != who.Account && who.Type != typeService

	for _, layer := range [...]struct {
		found *finding
		layer Layer
	}{{&identity, LayerIdentity}, {&resource.finding, resourceLayer}, {&boundary, LayerBoundary}, {&session, LayerSession}} {
		if layer.found.deny != nil {
			d.Explicit, d.Layer = true, layer.layer
			d.Source, d.Statement = layer.found.denySource, layer.found.deny
			return d
		}
	}

	allow := func(layer Layer, f *finding) Decision {
		d.Allowed, d.Layer = true, layer
		d.Source, d.Statement = f.allowSource, f.allow
		return d
	}
	refuse := func(layer Layer) Decision {
		d.Layer = layer
		return d
	}

	if who.Type == typeService || who.Type == typeAnonymous || who.Federated != "" {
		switch {
		case resource.reach > delegated:
			return allow(resourceLayer, &resource.finding)
		case s.Kind == Key:
			if g := q.grant(s.Grants); g != nil {
				d.Grant = g
				return allow(LayerGrant, &finding{})
			}
		}
		return refuse(resourceLayer)
	}

	rooted := s.Kind == Key || s.Kind == Trust
	if d.CrossAccount {
		granted := q.grant(s.Grants)
		switch {
		case bounded && boundary.allow == nil:
			return refuse(LayerBoundary)
		case inSession && session.allow == nil:
			return refuse(LayerSession)
		case identity.allow == nil && who.Type != typeAccount:
			return refuse(LayerIdentity)
		case resource.reach != unnamed:
			return allow(resourceLayer, &resource.finding)
		case granted != nil:
			d.Grant = granted
			return allow(LayerGrant, &finding{})
		}
		return refuse(resourceLayer)
	}

	if who.Type == typeAccount {
		if !rooted || resource.reach != unnamed {
			return allow(LayerNone, &finding{})
		}
		if g := q.grant(s.Grants); g != nil {
			d.Grant = g
			return allow(LayerGrant, &finding{})
		}
		return refuse(resourceLayer)
	}
	if resource.reach == direct {
		return allow(resourceLayer, &resource.finding)
	}

	// What GetFederationToken makes has no rights of its user's without a session policy.
	identityAllows := identity.allow != nil && (who.Type != typeFederatedUser || inSession)
	byIdentity := identityAllows && (!rooted || resource.reach >= delegated)
	byRole := resource.reach == roleNamed
	granted := q.grant(s.Grants)
	switch {
	case bounded && boundary.allow == nil:
		return refuse(LayerBoundary)
	case inSession && session.allow == nil:
		return refuse(LayerSession)
	case byIdentity:
		return allow(LayerIdentity, &identity)
	case byRole:
		return allow(resourceLayer, &resource.finding)
	case granted != nil:
		d.Grant = granted
		return allow(LayerGrant, &finding{})
	case rooted && resource.reach == unnamed:
		return refuse(resourceLayer)
	}
	return refuse(LayerIdentity)
}

// question is a Request taken apart once for all the statements it meets.
type question struct {
	r       *Request
	service string // of the action, in lower case
	name    string
	arn     arn
	isARN   bool
}

func newQuestion(r *Request) question {
	q := question{r: r}
	q.service, q.name, _ = strings.Cut(r.Action, ":")
	q.service = strings.ToLower(q.service) // no copy: services write it so
	q.arn, q.isARN = splitARN(r.Resource)
	return q
}

// values returns the values of a condition key, none when it is absent.
func (q *question) values(key string) []string {
	if values, ok := q.r.Context[key]; ok {
		return values
	}
	if q.r.Keys != nil {
		return q.r.Keys.Values(key)
	}
	return nil
}

// finding is what one layer says: its first Deny and its first Allow.
type finding struct {
	allow, deny             *Statement
	allowSource, denySource *Source
}

func (q *question) find(source *Source) finding {
	var f finding
	q.search(source, &f)
	return f
}

func (q *question) findAll(sources []Source) finding {
	var f finding
	for i := range sources {
		if q.search(&sources[i], &f); f.deny != nil {
			break
		}
	}
	return f
}

func (q *question) search(source *Source, f *finding) {
	if source.Document == nil {
		return
	}
	leads := source.Document.leads
	for i := range source.Document.Statements {
		if i < len(leads) && leads[i] != "" && !(q.isARN && strings.HasPrefix(q.arn[5], leads[i])) {
			continue
		}
		s := &source.Document.Statements[i]
		if s.Allow && f.allow != nil || !s.applies(q) {
			continue
		}
		if !s.Allow {
			f.deny, f.denySource = s, source
			return
		}
		f.allow, f.allowSource = s, source
	}
}

// resourceFinding is what the resource's policy says, and how directly it names who.
type resourceFinding struct {
	finding
	reach reach
}

func (q *question) findResource(source *Source, kind Kind) resourceFinding {
	var f resourceFinding
	if source == nil || source.Document == nil {
		return f
	}
	for i := range source.Document.Statements {
		s := &source.Document.Statements[i]
		reach := s.reach(&q.r.Principal, kind)
		if reach == unnamed || s.Allow && reach <= f.reach || !s.applies(q) {
			continue
		}
		if !s.Allow {
			f.deny, f.denySource = s, source
			return f
		}
		f.reach, f.allow, f.allowSource = reach, s, source
	}
	return f
}

// applies reports whether the statement speaks of this action, resource and context.
func (s *Statement) applies(q *question) bool {
	return s.coversAction(q) && s.coversResource(q) && s.conditionsHold(q)
}

func (s *Statement) coversAction(q *question) bool {
	for i := range s.actions {
		if s.actions[i].match(q) {
			return !s.notAction
		}
	}
	return s.notAction
}

func (s *Statement) coversResource(q *question) bool {
	if s.resources == nil { // a trust policy's
		return true
	}
	for i := range s.resources {
		if s.resources[i].match(q) {
			return !s.notResource
		}
	}
	return s.notResource
}

func (s *Statement) conditionsHold(q *question) bool {
	for i := range s.conditions {
		if !s.conditions[i].holds(q) {
			return false
		}
	}
	return true
}

// grant returns the first grant that allows the request.
func (q *question) grant(grants []Grant) *Grant {
	for i := range grants {
		if g := &grants[i]; g.names(&q.r.Principal) && g.covers(q) {
			return g
		}
	}
	return nil
}

func (g *Grant) names(who *Principal) bool {
	p, ok := parsePrincipal(g.GranteePrincipal)
	if !ok {
		return who.Type == typeService && who.Service == g.GranteePrincipal
	}
	// A grant to everyone does not exist; one to an account is its root user's.
	return p.kind != everyone && (p.reach(who) > delegated || p.kind == account && p.reach(who) == delegated && who.Type == typeAccount)
}

func (g *Grant) covers(q *question) bool {
	if q.service != "kms" {
		return false
	}
	for _, operation := range g.Operations {
		if strings.EqualFold(operation, q.name) {
			// These two have no encryption context to constrain.
			if operation == "DescribeKey" || operation == "RetireGrant" {
				return true
			}
			return g.contextFits(q.r.EncryptionContext)
		}
	}
	return false
}

func (g *Grant) contextFits(context map[string]string) bool {
	if g.EncryptionContextEquals != nil && len(context) != len(g.EncryptionContextEquals) {
		return false
	}
	for _, want := range [...]map[string]string{g.EncryptionContextEquals, g.EncryptionContextSubset} {
		for key, value := range want {
			if got, ok := context[key]; !ok || got != value {
				return false
			}
		}
	}
	return true
}
