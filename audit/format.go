package audit

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/quoted"
	"github.com/malote/malote/policy"
)

// What a client may make a record carry; CloudTrail cuts long fields off too.
const (
	maxUserAgent = 512
	maxText      = 4096
)

const timeFormat = "2006-01-02T15:04:05Z"

// formatter writes records. It remembers what one record has in common with the last ones.
type formatter struct {
	identities map[asker]identity
	second     int64 // that stamp shows
	stamp      []byte
}

// asker is what userIdentity depends on. Principals do not change.
type asker struct {
	principal *caller.Principal
	invokedBy string
}

// identity is what a record says of who asked.
type identity struct {
	user []byte // userIdentity
	task []byte // a member of additionalEventData; nil for none
}

// maxIdentities bounds what a formatter remembers: some 800 bytes each.
const maxIdentities = 1024

func (f *formatter) identity(p *caller.Principal, via []string) identity {
	key := asker{principal: p}
	if len(via) > 0 {
		key.invokedBy = via[len(via)-1]
	}
	known, ok := f.identities[key]
	if !ok {
		known.user = appendIdentity(nil, p, key.invokedBy)
		if p != nil && p.Task != nil {
			known.task = appendTask(nil, p.Task)
		}
		if f.identities == nil || len(f.identities) == maxIdentities {
			f.identities = make(map[asker]identity)
		}
		f.identities[key] = known
	}
	return known
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
	who := f.identity(r.Principal, r.Via)
	b = append(b, `{"eventVersion":"1.11","userIdentity":`...)
	b = append(b, who.user...)
	b = append(b, `,"eventTime":"`...)
	b = append(b, f.time(r.Time)...)
	b = append(b, `","eventSource":`...)
	b = quoted.Append(b, r.Service, maxText)
	if r.Service != ownSource {
		b = append(b[:len(b)-1], `.amazonaws.com"`...)
	}
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
	if len(r.Via) > 0 {
		b = appendMember(b, "userAgent", r.Via[len(r.Via)-1], maxText)
	} else {
		b = appendMember(b, "userAgent", r.UserAgent, maxUserAgent)
	}
	if r.ErrorCode != "" {
		b = appendMember(b, "errorCode", r.ErrorCode, maxText)
		b = appendMember(b, "errorMessage", r.ErrorMessage, maxText)
	}
	switch {
	case r.Parameters != nil:
		b = append(b, `,"requestParameters":`...)
		b = append(b, r.Parameters...)
	case r.EncryptionContext != nil:
		b = append(b, `,"requestParameters":{"encryptionContext":`...)
		b = appendMap(b, r.EncryptionContext)
		b = append(b, '}')
	default:
		b = append(b, `,"requestParameters":null`...)
	}
	b = append(b, `,"responseElements":`...)
	if r.Response != nil {
		b = append(b, r.Response...)
	} else {
		b = append(b, `null`...)
	}
	switch {
	case !r.Event:
		b = append(b, `,"additionalEventData":{`...)
		b = appendDecision(b, r)
		if who.task != nil {
			b = append(b, ',')
			b = append(b, who.task...)
		}
		b = append(b, '}')
	case r.Details != nil:
		b = append(b, `,"serviceEventDetails":`...)
		b = append(b, r.Details...)
	}
	if r.RequestID != "" {
		b = appendMember(b, "requestID", r.RequestID, maxText)
	}
	b = append(b, `,"eventID":"`...)
	b = appendUUID(b)
	b = append(b, `","readOnly":`...)
	b = strconv.AppendBool(b, readOnly(r.Service, r.Name))
	b = appendResources(b, r)
	if r.Event {
		b = append(b, `,"eventType":"AwsServiceEvent"`...)
	} else {
		b = append(b, `,"eventType":"AwsApiCall"`...)
	}
	data := dataEvent(r.Service, r.Name)
	b = append(b, `,"managementEvent":`...)
	b = strconv.AppendBool(b, !data)
	if r.Account != "" {
		b = appendMember(b, "recipientAccountId", r.Account, maxText)
	}
	if data {
		b = append(b, `,"eventCategory":"Data"`...)
	} else {
		b = append(b, `,"eventCategory":"Management"`...)
	}
	return appendLink(b, sequence, previous)
}

// appendLink ends a line with its place in the chain.
func appendLink(b []byte, sequence uint64, previous *[32]byte) []byte {
	b = append(b, `,"sequence":`...)
	b = strconv.AppendUint(b, sequence, 10)
	b = append(b, `,"previousHash":"`...)
	b = hex.AppendEncode(b, previous[:])
	return append(b, `"}`...)
}

// appendResources writes what was asked about, each once.
func appendResources(b []byte, r *Record) []byte {
	if len(r.Decisions) == 0 {
		if r.Resource == "" || r.Resource == "*" {
			return b
		}
		b = append(b, `,"resources":[`...)
		return append(appendResource(b, r.Resource, r.Account), ']')
	}
	seen := make(map[string]bool, len(r.Decisions))
	for i := range r.Decisions {
		d := &r.Decisions[i]
		if d.Resource == "" || d.Resource == "*" || seen[d.Resource] {
			continue
		}
		if len(seen) == 0 {
			b = append(b, `,"resources":[`...)
		} else {
			b = append(b, ',')
		}
		seen[d.Resource] = true
		b = appendResource(b, d.Resource, d.Account)
	}
	if len(seen) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendResource(b []byte, arn, account string) []byte {
	b = append(b, `{"accountId":`...)
	b = quoted.Append(b, account, maxText)
	if kind := resourceType(arn); kind != "" {
		b = appendMember(b, "type", kind, maxText)
	}
	b = appendMember(b, "ARN", arn, maxText)
	return append(b, '}')
}

// appendTask writes which task asked.
func appendTask(b []byte, t *caller.Task) []byte {
	b = append(b, `"task":{"taskArn":`...)
	b = quoted.Append(b, t.ARN, maxText)
	for _, member := range [...][2]string{{"taskDefinitionArn", t.Definition}, {"service", t.Service}, {"deployment", t.Deployment}, {"role", t.Role}} {
		if member[1] != "" {
			b = appendMember(b, member[0], member[1], maxText)
		}
	}
	for i, name := range t.Containers {
		if i == 0 {
			b = append(b, `,"containers":[`...)
		} else {
			b = append(b, ',')
		}
		b = quoted.Append(b, name, maxText)
	}
	if len(t.Containers) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendMap(b []byte, m map[string]string) []byte {
	var few [8]string // which is what there is
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = quoted.Append(b, name, maxText)
		b = append(b, ':')
		b = quoted.Append(b, m[name], maxText)
	}
	return append(b, '}')
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
	case caller.WebIdentityUser:
		b = append(b, `{"type":"WebIdentityUser"`...)
		b = appendMember(b, "principalId", p.ID, maxText)
		b = appendMember(b, "userName", p.UserName, maxText)
		b = appendMember(b, "identityProvider", p.Provider, maxText)
		return append(b, '}')
	case caller.Anonymous:
		return append(b, `{"type":"AWSAccount","principalId":"","accountId":"ANONYMOUS_PRINCIPAL"}`...)
	case caller.Account:
		b = append(b, `{"type":"Root"`...)
	case caller.User:
		b = append(b, `{"type":"IAMUser"`...)
	default:
		b = append(b, `{"type":`...)
		b = quoted.Append(b, string(p.Type), maxText)
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
			if p.Provider != "" {
				b = append(b, `"webIdFederationData":{"federatedProvider":`...)
				b = quoted.Append(b, p.Provider, maxText)
				b = append(b, `,"attributes":{}},`...)
			}
		}
		if p.Type == caller.FederatedUser {
			issuer := "IAMUser"
			if p.FederatedByID == p.Account {
				issuer = "Root"
			}
			b = append(b, `"sessionIssuer":{"type":`...)
			b = quoted.Append(b, issuer, maxText)
			b = appendMember(b, "principalId", p.FederatedByID, maxText)
			b = appendMember(b, "arn", p.FederatedByARN, maxText)
			b = appendMember(b, "accountId", p.Account, maxText)
			if issuer == "IAMUser" {
				b = appendMember(b, "userName", p.FederatedByARN[strings.LastIndexByte(p.FederatedByARN, '/')+1:], maxText)
			}
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

// appendDecision says which statement of which policy decided, and all that was decided
// where there was more than one thing.
func appendDecision(b []byte, r *Record) []byte {
	if r.Undecided {
		return append(b, `"decision":"none"`...)
	}
	b = appendReason(b, &r.Decision, r.Service, r.Name)
	if r.Operation != "" && r.Operation != r.Name {
		b = appendMember(b, "operation", r.Operation, maxText)
	}
	// What differs in the resource alone is told once.
	for i := 0; i < len(r.Decisions); {
		if i == 0 {
			b = append(b, `,"decisions":[{`...)
		} else {
			b = append(b, `,{`...)
		}
		d := &r.Decisions[i]
		b = appendReason(b, &d.Decision, "", "")
		b = append(b, `,"resources":[`...)
		b = quoted.Append(b, d.Resource, maxText)
		for i++; i < len(r.Decisions) && r.Decisions[i].Decision == d.Decision; i++ {
			b = append(b, ',')
			b = quoted.Append(b, r.Decisions[i].Resource, maxText)
		}
		b = append(b, `]}`...)
	}
	if len(r.Decisions) > 0 {
		b = append(b, ']')
	}
	return b
}

// appendReason writes one decision, with its action where that is not service:name.
func appendReason(b []byte, d *policy.Decision, service, name string) []byte {
	if d.Allowed {
		b = append(b, `"decision":"allowed","decidedBy":`...)
	} else {
		b = append(b, `"decision":"denied","decidedBy":`...)
	}
	switch {
	case d.Layer != 0:
		b = quoted.Append(b, d.Layer.String(), maxText)
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
	if before, after, found := strings.Cut(d.Action, ":"); found && (before != service || after != name) {
		b = appendMember(b, "action", d.Action, maxText)
	}
	return b
}

func appendMember(b []byte, name, value string, limit int) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return quoted.Append(b, value, limit)
}

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
	for _, prefix := range [...]string{"Get", "List", "Describe", "Head", "Filter", "BatchGet", "Simulate", "Validate", "Lookup", "Discover"} {
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

// dataEvent is CloudTrail's: whether the operation is about what is in a resource, which
// LookupEvents leaves out.
//
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
func dataEvent(service, name string) bool {
	if service == "logs" {
		return name == "PutLogEvents" || name == "GetLogEvents" || name == "FilterLogEvents"
	}
	return service == "s3" && (strings.Contains(name, "Object") && !strings.Contains(name, "ObjectLockConfiguration") ||
		strings.Contains(name, "MultipartUpload") || strings.HasPrefix(name, "UploadPart") || name == "ListParts")
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
	if service == "s3" {
		if strings.Contains(rest, "/") {
			return "AWS::S3::Object"
		}
		return "AWS::S3::Bucket"
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
	case "logs:log-group":
		return "AWS::Logs::LogGroup"
	case "ecs:cluster":
		return "AWS::ECS::Cluster"
	case "ecs:service":
		return "AWS::ECS::Service"
	case "ecs:task-definition":
		return "AWS::ECS::TaskDefinition"
	}
	return ""
}
