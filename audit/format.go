package audit

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/malote/malote/caller"
)

// What a client may make a record carry; CloudTrail cuts long fields off too.
const (
	maxUserAgent = 512
	maxText      = 4096
)

const timeFormat = "2006-01-02T15:04:05Z"

// formatter writes records. It remembers what one record has in common with the last ones.
type formatter struct {
	identities map[asker][]byte
	second     int64 // that stamp shows
	stamp      []byte
}

// asker is what userIdentity depends on. Principals do not change.
type asker struct {
	principal *caller.Principal
	invokedBy string
}

// maxIdentities bounds what a formatter remembers: some 500 bytes each.
const maxIdentities = 1024

func (f *formatter) identity(p *caller.Principal, via []string) []byte {
	key := asker{principal: p}
	if len(via) > 0 {
		key.invokedBy = via[len(via)-1]
	}
	text, ok := f.identities[key]
	if !ok {
		text = appendIdentity(nil, p, key.invokedBy)
		if f.identities == nil || len(f.identities) == maxIdentities {
			f.identities = make(map[asker][]byte)
		}
		f.identities[key] = text
	}
	return text
}

func (f *formatter) time(t time.Time) []byte {
	if second := t.Unix(); second != f.second || f.stamp == nil {
		f.second, f.stamp = second, t.UTC().AppendFormat(f.stamp[:0], timeFormat)
	}
	return f.stamp
}

// append writes r as one line without its end.
//
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
func (f *formatter) append(b []byte, r *Record, sequence uint64, previous *[32]byte) []byte {
	b = append(b, `{"eventVersion":"1.11","userIdentity":`...)
	b = append(b, f.identity(r.Principal, r.Via)...)
	b = append(b, `,"eventTime":"`...)
	b = append(b, f.time(r.Time)...)
	b = append(b, `","eventSource":`...)
	b = appendString(b, r.Service, maxText)
	b = append(b[:len(b)-1], `.amazonaws.com"`...)
	b = appendMember(b, "eventName", r.Name, maxText)
	b = appendMember(b, "awsRegion", r.Region, maxText)
	switch {
	case len(r.Via) > 0:
		b = appendMember(b, "sourceIPAddress", r.Via[len(r.Via)-1], maxText)
	case r.Principal != nil && r.Principal.Type == caller.Service:
		b = appendMember(b, "sourceIPAddress", r.Principal.Service, maxText)
	case r.SourceIP.IsValid():
		b = append(b, `,"sourceIPAddress":"`...)
		b = r.SourceIP.Unmap().WithZone("").AppendTo(b)
		b = append(b, '"')
	}
	b = appendMember(b, "userAgent", r.UserAgent, maxUserAgent)
	if r.ErrorCode != "" {
		b = appendMember(b, "errorCode", r.ErrorCode, maxText)
		b = appendMember(b, "errorMessage", r.ErrorMessage, maxText)
	}
	if r.Event {
		b = append(b, `,"requestParameters":null,"responseElements":null`...)
		if r.Details != nil {
			b = append(b, `,"serviceEventDetails":`...)
			b = append(b, r.Details...)
		}
	} else {
		b = append(b, `,"requestParameters":null,"responseElements":null,"additionalEventData":{`...)
		b = appendDecision(b, r)
		b = append(b, `}`...)
	}
	b = appendMember(b, "requestID", r.RequestID, maxText)
	b = append(b, `,"eventID":"`...)
	b = appendUUID(b)
	b = append(b, `","readOnly":`...)
	b = strconv.AppendBool(b, readOnly(r.Service, r.Name))
	if r.Resource != "" && r.Resource != "*" {
		b = append(b, `,"resources":[{"accountId":`...)
		b = appendString(b, r.Account, maxText)
		if kind := resourceType(r.Resource); kind != "" {
			b = appendMember(b, "type", kind, maxText)
		}
		b = appendMember(b, "ARN", r.Resource, maxText)
		b = append(b, `}]`...)
	}
	if r.Event {
		b = append(b, `,"eventType":"AwsServiceEvent","managementEvent":true`...)
	} else {
		b = append(b, `,"eventType":"AwsApiCall","managementEvent":true`...)
	}
	b = appendMember(b, "recipientAccountId", r.Account, maxText)
	b = append(b, `,"eventCategory":"Management","sequence":`...)
	b = strconv.AppendUint(b, sequence, 10)
	b = append(b, `,"previousHash":"`...)
	b = hex.AppendEncode(b, previous[:])
	return append(b, `"}`...)
}

// appendIdentity writes the userIdentity element.
//
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
func appendIdentity(b []byte, p *caller.Principal, invokedBy string) []byte {
	if p == nil {
		return append(b, `null`...)
	}
	switch p.Type {
	case caller.Service:
		b = append(b, `{"type":"AWSService"`...)
		b = appendMember(b, "invokedBy", p.Service, maxText)
		return append(b, '}')
	case caller.Anonymous:
		return append(b, `{"type":"Unknown","principalId":"ANONYMOUS_PRINCIPAL"}`...)
	case caller.Account:
		b = append(b, `{"type":"Root"`...)
	case caller.User:
		b = append(b, `{"type":"IAMUser"`...)
	default:
		b = append(b, `{"type":`...)
		b = appendString(b, string(p.Type), maxText)
	}
	b = appendMember(b, "principalId", p.ID, maxText)
	b = appendMember(b, "arn", p.ARN, maxText)
	b = appendMember(b, "accountId", p.Account, maxText)
	b = appendMember(b, "accessKeyId", p.AccessKeyID, maxText)
	if p.UserName != "" {
		b = appendMember(b, "userName", p.UserName, maxText)
	}
	if !p.IssuedAt.IsZero() || p.Type == caller.AssumedRole {
		b = append(b, `,"sessionContext":{`...)
		if p.Type == caller.AssumedRole {
			b = append(b, `"sessionIssuer":{"type":"Role"`...)
			b = appendMember(b, "principalId", p.RoleID, maxText)
			b = appendMember(b, "arn", p.RoleARN, maxText)
			b = appendMember(b, "accountId", p.Account, maxText)
			b = appendMember(b, "userName", p.RoleARN[strings.LastIndexByte(p.RoleARN, '/')+1:], maxText)
			b = append(b, `},`...)
		}
		b = append(b, `"attributes":{"mfaAuthenticated":"false"`...)
		if !p.IssuedAt.IsZero() {
			b = append(b, `,"creationDate":"`...)
			b = p.IssuedAt.UTC().AppendFormat(b, timeFormat)
			b = append(b, '"')
		}
		b = append(b, '}')
		if p.SourceIdentity != "" {
			b = appendMember(b, "sourceIdentity", p.SourceIdentity, maxText)
		}
		b = append(b, '}')
	}
	if invokedBy != "" {
		b = appendMember(b, "invokedBy", invokedBy, maxText)
	}
	return append(b, '}')
}

// appendDecision says which statement of which policy decided.
func appendDecision(b []byte, r *Record) []byte {
	d := &r.Decision
	if d.Allowed {
		b = append(b, `"decision":"allowed","decidedBy":`...)
	} else {
		b = append(b, `"decision":"denied","decidedBy":`...)
	}
	switch {
	case d.Layer != 0:
		b = appendString(b, d.Layer.String(), maxText)
	case d.Allowed:
		b = append(b, `"root user"`...)
	default:
		b = append(b, `"default"`...)
	}
	if d.Source != nil {
		if d.Source.ARN != "" {
			b = appendMember(b, "policy", d.Source.ARN, maxText)
		} else {
			b = appendMember(b, "policy", d.Source.Name, maxText)
		}
	}
	if d.Statement != nil {
		b = append(b, `,"statement":`...)
		b = strconv.AppendInt(b, int64(d.Statement.Index+1), 10)
		if d.Statement.Sid != "" {
			b = appendMember(b, "sid", d.Statement.Sid, maxText)
		}
	}
	if d.Grant != nil {
		b = appendMember(b, "grant", d.Grant.ID, maxText)
	}
	if r.Operation != "" && r.Operation != r.Name {
		b = appendMember(b, "operation", r.Operation, maxText)
	}
	return b
}

func appendMember(b []byte, name, value string, limit int) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value, limit)
}

// appendString writes s as JSON, cut to limit bytes. Line ends and everything else that
// could forge a record are escaped.
func appendString(b []byte, s string, limit int) []byte {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < utf8.RuneSelf:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				b = append(b, `\ufffd`...)
			case r == 0x85 || r == 0x2028 || r == 0x2029: // line ends to some
				b = append(b, `\u`...)
				b = append(b, hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			default:
				b = append(b, s[i:i+n]...)
			}
			i += n
		}
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

// appendUUID writes a random UUID. It names the record and protects nothing.
func appendUUID(b []byte) []byte {
	var u [16]byte
	binary.LittleEndian.PutUint64(u[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(u[8:], rand.Uint64())
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	for i, part := range [...][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// readOnly is CloudTrail's: whether the operation could have changed something.
func readOnly(service, name string) bool {
	for _, prefix := range [...]string{"Get", "List", "Describe", "BatchGet", "Simulate", "Validate", "Lookup", "Discover"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	if service == "kms" {
		for _, prefix := range [...]string{"Decrypt", "Encrypt", "Generate", "ReEncrypt", "Sign", "Verify", "DeriveSharedSecret"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return service == "sts"
}

// resourceType is CloudFormation's name for what an ARN points to, where it has one.
func resourceType(arn string) string {
	var service string
	rest := arn
	for i := range 5 {
		part, after, found := strings.Cut(rest, ":")
		if !found {
			return ""
		}
		if rest = after; i == 2 {
			service = part
		}
	}
	kind := rest
	if i := strings.IndexAny(kind, "/:"); i >= 0 {
		kind = kind[:i]
	}
	switch service + ":" + kind {
	case "secretsmanager:secret":
		return "AWS::SecretsManager::Secret"
	case "ssm:parameter":
		return "AWS::SSM::Parameter"
	case "kms:key":
		return "AWS::KMS::Key"
	case "kms:alias":
		return "AWS::KMS::Alias"
	case "iam:role":
		return "AWS::IAM::Role"
	case "iam:user":
		return "AWS::IAM::User"
	case "iam:group":
		return "AWS::IAM::Group"
	case "iam:policy":
		return "AWS::IAM::ManagedPolicy"
	case "ecs:cluster":
		return "AWS::ECS::Cluster"
	case "ecs:service":
		return "AWS::ECS::Service"
	case "ecs:task-definition":
		return "AWS::ECS::TaskDefinition"
	}
	return ""
}
