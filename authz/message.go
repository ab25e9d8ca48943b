package authz

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// What a message has room for.
const (
	maxMessageValue      = 256 // bytes of a value
	maxMessageConditions = 100
)

// The shapes are those of sts:DecodeAuthorizationMessage, in which every list is an object
// with items.
type (
	items[T any] struct {
		Items []T `json:"items"`
	}
	value struct {
		Value string `json:"value"`
	}
	keyValues struct {
		Key      string       `json:"key"`
		Operator string       `json:"operator,omitempty"` // of a statement's
		Values   items[value] `json:"values"`
	}
	messagePrincipal struct {
		ID   string `json:"id"`
		Name string `json:"name,omitempty"`
		ARN  string `json:"arn"`
	}
	messageStatement struct {
		StatementID     string           `json:"statementId"`
		Policy          string           `json:"policy,omitempty"`
		Effect          string           `json:"effect"`
		Principals      items[value]     `json:"principals"`
		PrincipalGroups items[value]     `json:"principalGroups"`
		Actions         *items[value]    `json:"actions,omitempty"`
		NotActions      *items[value]    `json:"notActions,omitempty"`
		Resources       *items[value]    `json:"resources,omitempty"`
		NotResources    *items[value]    `json:"notResources,omitempty"`
		Conditions      items[keyValues] `json:"conditions"`
	}
	message struct {
		Allowed           bool                    `json:"allowed"`
		ExplicitDeny      bool                    `json:"explicitDeny"`
		MatchedStatements items[messageStatement] `json:"matchedStatements"`
		Failures          items[value]            `json:"failures"`
		Context           struct {
			Principal  messagePrincipal `json:"principal"`
			Action     string           `json:"action"`
			Resource   string           `json:"resource"`
			Conditions items[keyValues] `json:"conditions"`
		} `json:"context"`
	}
)

func valuesOf(texts []string) items[value] {
	list := items[value]{Items: []value{}}
	for _, text := range texts {
		if len(text) > maxMessageValue {
			text = strings.ToValidUTF8(text[:maxMessageValue], "")
		}
		list.Items = append(list.Items, value{text})
	}
	return list
}

// Message is what there is to know of the denial, as JSON: AWS's document of
// sts:DecodeAuthorizationMessage. It is for who may decode such messages in the caller's
// account, and so says nothing of what another account's policies, tags and resources are
// like. brief leaves out the condition keys, which are most of it.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
func (d *Denied) Message(brief bool) []byte {
	var m message
	theirs := d.Decision.CrossAccount && (d.Decision.Layer == policy.LayerResource || d.Decision.Layer == policy.LayerTrust)
	m.ExplicitDeny = d.Decision.Explicit && !theirs
	m.MatchedStatements.Items, m.Failures.Items = []messageStatement{}, []value{}
	p := d.Principal
	if s := d.Decision.Statement; s != nil && !theirs {
		m.MatchedStatements.Items = append(m.MatchedStatements.Items, statement(s, d.Decision.Source, p))
	}
	m.Context.Principal = messagePrincipal{ID: p.ID, ARN: p.ARN}
	switch p.Type {
	case caller.User, caller.WebIdentityUser:
		m.Context.Principal.Name = p.UserName
	case caller.Service:
		m.Context.Principal = messagePrincipal{ID: p.Service, ARN: p.Service}
	}
	m.Context.Action, m.Context.Resource = d.Access.Action, d.Access.Resource
	if d.Decision.CrossAccount && d.Access.Named != "" {
		m.Context.Resource = d.Access.Named // as it was asked for
	}
	if m.Context.Resource == "" {
		m.Context.Resource = "*"
	}
	m.Context.Conditions.Items = []keyValues{}
	if !brief && d.keys != nil {
		for _, name := range d.keys.names(!d.Decision.CrossAccount) {
			if values := d.keys.Values(strings.ToLower(name)); len(values) > 0 && len(m.Context.Conditions.Items) < maxMessageConditions {
				m.Context.Conditions.Items = append(m.Context.Conditions.Items, keyValues{Key: name, Values: valuesOf(values)})
			}
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil // strings and lists always encode
	}
	return text
}

func statement(s *policy.Statement, source *policy.Source, p *caller.Principal) messageStatement {
	out := messageStatement{StatementID: s.Sid, Effect: "DENY", Principals: valuesOf([]string{p.Policy().ID}), PrincipalGroups: valuesOf(nil), Conditions: items[keyValues]{Items: []keyValues{}}}
	if source != nil {
		if out.Policy = source.ARN; out.Policy == "" {
			out.Policy = source.Name
		}
	}
	list := func(texts []string, not bool, yes, no **items[value]) {
		values := valuesOf(texts)
		if not {
			yes = no
		}
		*yes = &values
	}
	actions, not := s.Actions()
	list(actions, not, &out.Actions, &out.NotActions)
	resources, not := s.Resources()
	list(resources, not, &out.Resources, &out.NotResources)
	for _, c := range s.Conditions() {
		out.Conditions.Items = append(out.Conditions.Items, keyValues{Key: c.Key, Operator: c.Operator, Values: valuesOf(c.Values)})
	}
	return out
}

// globalNames are the aws: keys that a request may have, without those of tags.
var globalNames = []string{
	"aws:CalledVia", "aws:CurrentTime", "aws:EpochTime", "aws:FederatedProvider", "aws:MultiFactorAuthPresent", "aws:PrincipalAccount", "aws:PrincipalArn",
	"aws:PrincipalIsAWSService", "aws:PrincipalServiceName", "aws:PrincipalType", "aws:RequestedRegion", "aws:SecureTransport",
	"aws:SourceAccount", "aws:SourceArn", "aws:SourceIdentity", "aws:SourceIp", "aws:TagKeys", "aws:TokenIssueTime", "aws:UserAgent", "aws:userid",
	"aws:username", "aws:ViaAWSService", "kms:CallerAccount", "kms:EncryptionContextKeys", "kms:ViaService",
}

// names are the keys that the request may have values for, in order; with what the resource
// says of itself, or without.
func (k *keys) names(resource bool) []string {
	names := slices.Clone(globalNames)
	for _, tags := range []struct {
		prefix string
		tags   map[string]string
		shown  bool
	}{
		{"aws:PrincipalTag/", k.principal.Tags, true}, {"aws:RequestTag/", k.access.RequestTags, true}, {"aws:ResourceTag/", k.access.Tags, resource},
		{"kms:EncryptionContext:", k.access.EncryptionContext, strings.HasPrefix(k.access.Action, "kms:")},
	} {
		for key := range tags.tags {
			if tags.shown {
				names = append(names, tags.prefix+key)
			}
		}
	}
	if resource {
		names = slices.AppendSeq(names, maps.Keys(k.access.Conditions))
		names = append(slices.AppendSeq(names, maps.Keys(k.access.ResourceConditions)), "aws:ResourceAccount")
	}
	names = slices.AppendSeq(names, maps.Keys(k.principal.Claims))
	slices.Sort(names)
	return slices.Compact(names)
}
