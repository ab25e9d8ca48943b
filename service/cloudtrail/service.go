// Package cloudtrail is AWS CloudTrail's view of the audit: LookupEvents. Each exported
// method of Service is an operation of the API.
//
// It promises that a caller sees the events of its own account and the region it asks in,
// and no others, and in them nothing of another account's resources. It keeps nothing: trails, event data stores and their like are not there,
// for the audit is always on (see package audit).
package cloudtrail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
)

// Trail is the audit, read from its end: the lines before a sequence, or all (zero), of about
// some time. *audit.File is one.
type Trail interface {
	Backward(before uint64, t audit.Times) iter.Seq2[[]byte, error]
}

// Config says what a Service stands on.
type Config struct {
	Trail Trail             // required
	Authz *authz.Authorizer // required
	Now   func() time.Time  // nil: time.Now
}

// Service is CloudTrail. Its exported methods are operations.
type Service struct {
	trail Trail
	authz *authz.Authorizer
	now   func() time.Time
}

// New returns CloudTrail over an audit.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{trail: c.Trail, authz: c.Authz, now: c.Now}
}

const (
	defaultResults = 50
	defaultSpan    = 90 * 24 * time.Hour // of a request without StartTime
	// maxLooked is how many records one call looks at. An answer may have few events, or none,
	// and a token to go on with.
	maxLooked = 200_000
	// disorder is how far an older event may come before a younger one.
	disorder = 15 * time.Minute
)

// LookupEvents answers with management events, newest first. Where a request names no
// StartTime, those of 90 days; where it does, as far back as the audit is kept, which AWS
// does not do.
//
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
func (s *Service) LookupEvents(ctx context.Context, in *cloudtrail.LookupEventsInput) (*cloudtrail.LookupEventsOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "cloudtrail:LookupEvents", Resource: "*"}); err != nil {
		return nil, err
	}

	q := question{account: caller.From(ctx).Principal.Account, region: caller.From(ctx).Region, from: s.now().Add(-defaultSpan)}
	if in.StartTime != nil {
		q.from = *in.StartTime
	}
	if in.EndTime != nil {
		q.until = *in.EndTime
	}
	if in.StartTime != nil && in.EndTime != nil && in.StartTime.After(*in.EndTime) {
		return nil, &types.InvalidTimeRangeException{Message: aws.String("The start time must not be after the end time.")}
	}
	if len(in.LookupAttributes) > 1 {
		return nil, &types.InvalidLookupAttributesException{Message: aws.String("You can specify only one lookup attribute in a LookupEvents request.")}
	}
	if len(in.LookupAttributes) == 1 {
		q.attribute = &in.LookupAttributes[0]
	}
	if in.EventCategory == types.EventCategoryInsight {
		return insights(q.attribute)
	}
	before, err := q.open(in.NextToken)
	if err != nil {
		return nil, err
	}
	results := defaultResults
	if in.MaxResults != nil {
		results = int(*in.MaxResults)
	}

	out := &cloudtrail.LookupEventsOutput{Events: []types.Event{}}
	marks, looked := q.marks(), 0
	for line, err := range s.trail.Backward(before, audit.Times{Since: q.from.Truncate(time.Second), Until: q.until}) {
		if err != nil {
			return nil, err
		}
		if looked++; looked%1000 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !may(line, marks) && looked < maxLooked {
			continue
		}
		e, err := audit.Parse(line)
		if err != nil {
			return nil, err
		}
		if e.Time.Before(q.from.Add(-disorder)) {
			return out, nil
		}
		whole := e.Resources
		e.Resources = q.own(whole) // nothing is found by what is not shown
		if q.matches(e) {
			event, err := q.event(e, whole)
			if err != nil {
				return nil, err
			}
			out.Events = append(out.Events, event)
		}
		if (len(out.Events) == results || looked >= maxLooked) && e.Sequence > 1 {
			out.NextToken = aws.String(q.token(e.Sequence))
			return out, nil
		}
	}
	return out, nil
}

// insights are never detected here. What cannot be asked of them is refused all the same.
func insights(attribute *types.LookupAttribute) (*cloudtrail.LookupEventsOutput, error) {
	if attribute != nil {
		switch attribute.AttributeKey {
		case types.LookupAttributeKeyEventId, types.LookupAttributeKeyEventName, types.LookupAttributeKeyEventSource:
		default:
			return nil, &types.InvalidLookupAttributesException{Message: aws.String("Insights events can be looked up by EventId, EventName and EventSource.")}
		}
	}
	return &cloudtrail.LookupEventsOutput{Events: []types.Event{}}, nil
}

// question is what a request asks for.
type question struct {
	account, region string
	from, until     time.Time // both included; until zero for now
	attribute       *types.LookupAttribute
}

// marks are what lines have that may match, as they are written.
func (q *question) marks() [][]byte {
	text := func(s string) string {
		b, _ := json.Marshal(s) // of a string never fails
		return string(b)
	}
	marks := [][]byte{[]byte(`"awsRegion":` + text(q.region)), []byte(text(q.account)), []byte(`"eventCategory":"Management"`)}
	if q.attribute != nil && strings.Trim(*q.attribute.AttributeValue, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:/") == "" {
		marks = append(marks, []byte(*q.attribute.AttributeValue))
	}
	return marks
}

func may(line []byte, marks [][]byte) bool {
	for _, mark := range marks {
		if !bytes.Contains(line, mark) {
			return false
		}
	}
	return true
}

func (q *question) matches(e *audit.Entry) bool {
	switch {
	case e.Category != "Management", e.Region != q.region, e.Account != q.account && e.UserIdentity.AccountID != q.account,
		e.Time.Before(q.from.Truncate(time.Second)), !q.until.IsZero() && e.Time.After(q.until):
		return false
	case q.attribute == nil:
		return true
	}
	value := *q.attribute.AttributeValue
	switch q.attribute.AttributeKey {
	case types.LookupAttributeKeyEventId:
		return e.EventID == value
	case types.LookupAttributeKeyEventName:
		return e.Name == value
	case types.LookupAttributeKeyReadOnly:
		return strconv.FormatBool(e.ReadOnly) == value
	case types.LookupAttributeKeyUsername:
		return username(e) == value
	case types.LookupAttributeKeyEventSource:
		return e.Source == value
	case types.LookupAttributeKeyAccessKeyId:
		return e.UserIdentity.AccessKeyID == value
	}
	for i := range e.Resources {
		switch r := &e.Resources[i]; {
		case q.attribute.AttributeKey == types.LookupAttributeKeyResourceType:
			if r.Type == value {
				return true
			}
		case r.ARN == value, strings.HasSuffix(r.ARN, "/"+value), strings.HasSuffix(r.ARN, ":"+value):
			return true
		}
	}
	return false
}

// username is CloudTrail's: of a role's session, the session's name.
func username(e *audit.Entry) string {
	switch u := &e.UserIdentity; u.Type {
	case "Root":
		return "root"
	case "AssumedRole":
		return u.ARN[strings.LastIndexByte(u.ARN, '/')+1:]
	default:
		return u.UserName
	}
}

// own are the resources of the asking account. Another account's are not shown: a denial
// does not tell a stranger whether they are there, or by which ARN.
func (q *question) own(all []audit.Resource) []audit.Resource {
	var own []audit.Resource
	for _, r := range all {
		if r.AccountID == q.account {
			own = append(own, r)
		}
	}
	return own
}

// event is e, whose resources are the account's own of all that the record names.
func (q *question) event(e *audit.Entry, all []audit.Resource) (types.Event, error) {
	line := string(e.Line)
	if e.Account != q.account || len(e.Resources) < len(all) {
		short, err := q.shorten(e, all)
		if err != nil {
			return types.Event{}, fmt.Errorf("reading record %d: %w", e.Sequence, err)
		}
		line = string(short)
	}
	event := types.Event{
		EventId: aws.String(e.EventID), EventName: aws.String(e.Name), EventSource: aws.String(e.Source), EventTime: aws.Time(e.Time),
		ReadOnly: aws.String(strconv.FormatBool(e.ReadOnly)), CloudTrailEvent: aws.String(line), Resources: []types.Resource{},
	}
	if key := e.UserIdentity.AccessKeyID; key != "" {
		event.AccessKeyId = aws.String(key)
	}
	if name := username(e); name != "" {
		event.Username = aws.String(name)
	}
	for i := range e.Resources {
		r := types.Resource{ResourceName: aws.String(e.Resources[i].ARN)}
		if e.Resources[i].Type != "" {
			r.ResourceType = aws.String(e.Resources[i].Type)
		}
		event.Resources = append(event.Resources, r)
	}
	return event, nil
}

// shorten is the record without what is another account's: its resources, and what decided
// about them.
func (q *question) shorten(e *audit.Entry, all []audit.Resource) ([]byte, error) {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(e.Line, &whole); err != nil {
		return nil, err
	}
	delete(whole, "resources")
	if len(e.Resources) > 0 {
		own, err := json.Marshal(e.Resources)
		if err != nil {
			return nil, err
		}
		whole["resources"] = own
	}
	if e.Account != q.account {
		delete(whole, "additionalEventData") // the policies that decided are the other account's
		return json.Marshal(whole)
	}
	var additional map[string]json.RawMessage
	if err := json.Unmarshal(whole["additionalEventData"], &additional); err != nil {
		return nil, err
	}
	if additional["decisions"] == nil {
		return json.Marshal(whole)
	}
	var decisions, kept []map[string]json.RawMessage
	if err := json.Unmarshal(additional["decisions"], &decisions); err != nil {
		return nil, err
	}
	theirs := make(map[string]bool, len(all))
	for _, r := range all {
		if r.AccountID != q.account {
			theirs[r.ARN] = true
		}
	}
	for _, d := range decisions {
		var about []string
		if err := json.Unmarshal(d["resources"], &about); err != nil {
			return nil, err
		}
		about = slices.DeleteFunc(about, func(arn string) bool { return theirs[arn] })
		if len(about) == 0 {
			continue
		}
		var err error
		if d["resources"], err = json.Marshal(about); err != nil {
			return nil, err
		}
		kept = append(kept, d)
	}
	var err error
	if additional["decisions"], err = json.Marshal(kept); err != nil {
		return nil, err
	}
	if whole["additionalEventData"], err = json.Marshal(additional); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

// A token is the sequence to go on before, and a hash of what was asked with it: it goes
// with the same question alone. It opens nothing, so nothing protects it.
type token struct {
	Before uint64 `json:"b"`
	Asked  string `json:"a"`
}

func (q *question) asked() string {
	attribute := ""
	if q.attribute != nil {
		attribute = string(q.attribute.AttributeKey) + "=" + *q.attribute.AttributeValue
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{q.account, q.region, q.until.UTC().String(), attribute}, "\n")))
	return base64.RawStdEncoding.EncodeToString(sum[:12])
}

func (q *question) token(before uint64) string {
	text, err := json.Marshal(token{before, q.asked()})
	if err != nil {
		panic(err) // a number and a string
	}
	return base64.StdEncoding.EncodeToString(text)
}

func (q *question) open(text *string) (uint64, error) {
	if text == nil {
		return 0, nil
	}
	var t token
	decoded, err := base64.StdEncoding.DecodeString(*text)
	if err == nil {
		err = json.Unmarshal(decoded, &t)
	}
	if err != nil || t.Before == 0 || t.Asked != q.asked() {
		return 0, &types.InvalidNextTokenException{Message: aws.String("The token is not valid, or was given for other parameters.")}
	}
	return t.Before, nil
}
