package ssm

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Parameter policies: what time is to do to an advanced parameter.
//
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-policies.html

const (
	expiration             = "Expiration"
	expirationNotification = "ExpirationNotification"
	noChangeNotification   = "NoChangeNotification"

	policyVersion = "1.0"
	pending       = "Pending"
	finished      = "Finished"

	maxPolicies = 10
	maxHours    = 100 * 365 * 24 // of Before and After: more is a slip
)

// inlinePolicy is one element of the Policies of PutParameter.
type inlinePolicy struct {
	Text   string // as it was given, without spaces around its tokens
	Type   string
	Status string // Pending or Finished
	Due    time.Time
	After  time.Duration `json:",omitempty"` // of NoChangeNotification: Due is so long after the version
}

// parsePolicies reads the Policies of a PutParameter at now. "[]" and "[{}]" are none.
func parsePolicies(text string, now time.Time) ([]inlinePolicy, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil || raw == nil {
		return nil, validation("Policies must be a JSON array of policies, each with Type, Version and Attributes.")
	}
	if len(raw) == 1 && strings.Join(strings.Fields(string(raw[0])), "") == "{}" {
		return nil, nil
	}
	if len(raw) > maxPolicies {
		return nil, &types.PoliciesLimitExceededException{Message: aws.String("You specified more than the maximum number of allowed policies for the parameter. The maximum is 10.")}
	}
	var policies []inlinePolicy
	var expires time.Time
	before := map[int]time.Duration{} // of the notifications, by index
	for i, element := range raw {
		p, lead, err := parsePolicy(element, now)
		if err != nil {
			return nil, err
		}
		switch p.Type {
		case expiration:
			if !expires.IsZero() {
				return nil, incompatiblePolicies("There is a conflict in the policies specified for this parameter. You can't, for example, specify two Expiration policies for a parameter. Review your policies, and try again.")
			}
			expires = p.Due
		case expirationNotification:
			before[i] = lead
		}
		policies = append(policies, p)
	}
	for i, lead := range before {
		if expires.IsZero() {
			return nil, incompatiblePolicies("There is a conflict in the policies specified for this parameter. An ExpirationNotification policy needs an Expiration policy. Review your policies, and try again.")
		}
		policies[i].Due = expires.Add(-lead)
	}
	return policies, nil
}

// parsePolicy reads one policy. lead is the Before of an ExpirationNotification.
func parsePolicy(raw json.RawMessage, now time.Time) (p inlinePolicy, lead time.Duration, err error) {
	var given struct {
		Type, Version string
		Attributes    struct {
			Timestamp, Unit string
			Before, After   json.Number
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&given); err != nil {
		return p, 0, invalidAttribute("A policy attribute or its value is invalid. A policy has Type, Version and Attributes, and these are Timestamp, or Before or After with Unit.")
	}
	var text bytes.Buffer
	if err := json.Compact(&text, raw); err != nil {
		return p, 0, err
	}
	p = inlinePolicy{Text: text.String(), Type: given.Type, Status: pending}
	a := given.Attributes
	stray := func(members ...any) bool {
		for _, m := range members {
			if m != "" && m != json.Number("") {
				return true
			}
		}
		return false
	}
	switch given.Type {
	case expiration:
		at, ok := parseTimestamp(a.Timestamp)
		switch {
		case !ok || stray(a.Unit, a.Before, a.After):
			return p, 0, invalidAttribute("A policy attribute or its value is invalid. Expiration has a Timestamp, as 2030-12-02T21:34:33.000Z.")
		case !at.After(now):
			return p, 0, invalidAttribute("A policy attribute or its value is invalid. The Timestamp of Expiration must be in the future.")
		}
		p.Due = at
	case expirationNotification:
		span, ok := parseSpan(a.Before, a.Unit)
		if !ok || stray(a.Timestamp, a.After) {
			return p, 0, invalidAttribute("A policy attribute or its value is invalid. ExpirationNotification has Before, a number, and Unit, Days or Hours.")
		}
		lead = span
	case noChangeNotification:
		span, ok := parseSpan(a.After, a.Unit)
		if !ok || stray(a.Timestamp, a.Before) {
			return p, 0, invalidAttribute("A policy attribute or its value is invalid. NoChangeNotification has After, a number, and Unit, Days or Hours.")
		}
		p.After, p.Due = span, now.Add(span)
	default:
		return p, 0, &types.InvalidPolicyTypeException{Message: aws.String("The policy type isn't supported. Parameter Store supports the following policy types: Expiration, ExpirationNotification, and NoChangeNotification.")}
	}
	if given.Version != policyVersion {
		return p, 0, invalidAttribute("A policy attribute or its value is invalid. The Version of a policy is 1.0.")
	}
	return p, lead, nil
}

// parseTimestamp reads what Java calls ISO_INSTANT and ISO_OFFSET_DATE_TIME, whose
// seconds may be left out.
func parseTimestamp(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}

func parseSpan(number json.Number, unit string) (time.Duration, bool) {
	n, err := number.Int64()
	hours := map[string]int64{"Days": 24, "Hours": 1}[unit]
	if err != nil || hours == 0 || n < 1 || n > maxHours/hours {
		return 0, false
	}
	return time.Duration(n*hours) * time.Hour, true
}

// inherited is the policies of a version that is made at now and leaves them out: what was
// notified of the expiration stays so, and the time without a change begins anew.
func inherited(policies []inlinePolicy, now time.Time) []inlinePolicy {
	var next []inlinePolicy
	for _, p := range policies {
		if p.Type == noChangeNotification {
			p.Status, p.Due = pending, now.Add(p.After)
		}
		next = append(next, p)
	}
	return next
}

func samePolicy(a, b inlinePolicy) bool {
	return a.Text == b.Text && a.Status == b.Status && a.Due.Equal(b.Due)
}

// due is when the first of the pending policies is to be executed, zero for never.
func due(policies []inlinePolicy) time.Time {
	var first time.Time
	for _, p := range policies {
		if p.Status == pending && (first.IsZero() || p.Due.Before(first)) {
			first = p.Due
		}
	}
	return first
}

// inlinePolicies is policies as answers show them, never nil.
func inlinePolicies(policies []inlinePolicy) []types.ParameterInlinePolicy {
	shown := make([]types.ParameterInlinePolicy, 0, len(policies))
	for i := range policies {
		shown = append(shown, types.ParameterInlinePolicy{PolicyText: &policies[i].Text, PolicyType: &policies[i].Type, PolicyStatus: &policies[i].Status})
	}
	return shown
}

func invalidAttribute(message string) error {
	return &types.InvalidPolicyAttributeException{Message: &message}
}

func incompatiblePolicies(message string) error {
	return &types.IncompatiblePolicyException{Message: &message}
}
