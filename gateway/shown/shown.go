// Package shown decides what of an operation's input and output the audit may show, and
// writes it as CloudTrail's requestParameters and responseElements.
//
// It promises: what AWS's description calls sensitive is never shown, nor is text, unless
// its member is known here to name something or to be a setting: a member that nobody
// thought of is hidden. What was sent and is hidden is seen to have been sent.
//
// It shows tags and policies, as CloudTrail does: they decide who may, and AWS's manuals
// ask to keep secrets out of both.
package shown

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape"
	"github.com/malote/malote/internal/quoted"
)

// Hidden stands where something was sent that is not shown. CloudTrail has the same words.
const Hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

const (
	maxBytes = 48 << 10 // of a whole structure: what is longer is not shown
	maxText  = 2 << 10  // of most strings: they are cut
	maxItems = 100      // of a list or map: what is longer is not shown
)

// Plan says how structures of one type are shown. It is safe for concurrent use.
type Plan struct{ root *node }

// node is what to do with a value.
type node struct {
	does    action
	typ     *shape.Type
	limit   int      // of a string
	enum    []string // what a string of a closed set may be
	elem    *node    // of a list or map
	members []member
}

type member struct {
	name  string // quoted, with the colon
	index int    // in typ.Fields
	node  *node
}

type action uint8

const (
	omit action = iota // nothing tells that it was sent
	hide
	show
)

// New pairs the description of a structure with the SDK's type for it.
func New(s *model.Shape, goType reflect.Type) (*Plan, error) {
	t, err := shape.Of(goType)
	if err != nil {
		return nil, err
	}
	root, err := plan("", s, t, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", goType, err)
	}
	return &Plan{root}, nil
}

// plan decides about the member name. Within tags, every key and value is shown.
func plan(name string, s *model.Shape, t *shape.Type, tags bool) (*node, error) {
	n := &node{typ: t}
	if s.Sensitive || hidden[name] {
		n.does = hide
		return n, nil
	}
	if passing(name) {
		return n, nil
	}
	var err error
	switch t.Kind {
	case shape.Int, shape.Float, shape.Bool, shape.Time:
		n.does = show
	case shape.String:
		n.enum, n.limit = s.Enum, maxText
		switch {
		case documents[name]:
			n.does, n.limit = show, maxBytes
		case len(s.Enum) > 0, tags, names(name):
			n.does = show
		default:
			n.does = hide
		}
	case shape.List, shape.Map:
		if s.Elem == nil {
			return nil, fmt.Errorf("%s is a list or map for Go alone", t.Go)
		}
		if n.elem, err = plan(name, s.Elem, t.Elem, tags || tagged[name]); err != nil {
			return nil, err
		}
		// A map's keys are as much the client's as its values.
		if n.does = n.elem.does; t.Kind == shape.Map && !tagged[name] && !names(name) {
			n.does = hide
		}
	case shape.Struct, shape.Union:
		for i := range t.Fields {
			f := &t.Fields[i]
			described := s.Members[f.Name]
			if described == nil {
				if described = s.Members[f.Lower]; described == nil {
					continue // the description does not know it: nor do we
				}
			}
			within, err := plan(f.Name, described, f.Type, tags)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
			if within.does != omit {
				n.members = append(n.members, member{`"` + f.Lower + `":`, i, within})
			}
		}
		// Where nothing is shown, one word says so.
		switch {
		case slices.ContainsFunc(n.members, func(m member) bool { return m.node.does == show }), name == "":
			n.does = show
		case len(n.members) > 0:
			n.does = hide
		}
	}
	return n, nil
}

// Append appends what is shown of v, a structure of the plan's type: a JSON object, or
// null when it has nothing.
func (p *Plan) Append(b []byte, v reflect.Value) []byte {
	start := len(b)
	b = p.root.append(b, v, start+maxBytes)
	switch n := len(b) - start; {
	case n > maxBytes:
		// CloudTrail's words for what is too long.
		return append(b[:start], `{"omitted":true,"reason":"value too large"}`...)
	case n == len(`{}`):
		return append(b[:start], `null`...)
	}
	return b
}

// append stops to look for more when b is longer than limit.
func (n *node) append(b []byte, v reflect.Value, limit int) []byte {
	if n.does == hide {
		return append(b, `"`+Hidden+`"`...)
	}
	if n.typ.Ptr && v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return append(b, `null`...)
		}
		v = v.Elem()
	}
	switch n.typ.Kind {
	case shape.Bool:
		return strconv.AppendBool(b, v.Bool())
	case shape.Int:
		return strconv.AppendInt(b, v.Int(), 10)
	case shape.Float:
		if f := v.Float(); f == f && f-f == 0 { // no NaN, no infinity: JSON has none
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
		return append(b, `null`...)
	case shape.Time:
		b = append(b, '"')
		b = v.Interface().(time.Time).UTC().AppendFormat(b, time.RFC3339)
		return append(b, '"')
	case shape.String:
		if s := v.String(); n.enum == nil || slices.Contains(n.enum, s) {
			return quoted.Append(b, s, n.limit)
		}
		return append(b, `"`+Hidden+`"`...)
	case shape.List:
		if v.Len() > maxItems {
			return append(b, `"`+Hidden+`"`...)
		}
		b = append(b, '[')
		for i := 0; i < v.Len() && len(b) <= limit; i++ {
			if i > 0 {
				b = append(b, ',')
			}
			b = n.elem.append(b, v.Index(i), limit)
		}
		return append(b, ']')
	case shape.Map:
		return n.appendMap(b, v, limit)
	case shape.Struct:
		return n.appendStruct(b, v, limit)
	case shape.Union:
		f, held, ok := n.typ.Variant(v)
		for i := range n.members {
			if m := &n.members[i]; ok && &n.typ.Fields[m.index] == f {
				b = append(append(b, '{'), m.name...)
				return append(m.node.append(b, held, limit), '}')
			}
		}
	}
	return append(b, `null`...)
}

func (n *node) appendStruct(b []byte, v reflect.Value, limit int) []byte {
	b = append(b, '{')
	first := true
	for i := range n.members {
		m := &n.members[i]
		f := &n.typ.Fields[m.index]
		value := v.Field(f.Index)
		if f.Type.Absent(value) {
			continue
		}
		if len(b) > limit {
			break
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, m.name...)
		b = m.node.append(b, value, limit)
	}
	return append(b, '}')
}

func (n *node) appendMap(b []byte, v reflect.Value, limit int) []byte {
	if v.Len() > maxItems {
		return append(b, `"`+Hidden+`"`...)
	}
	keys := make([]string, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		keys = append(keys, iter.Key().String())
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, key := range keys {
		if len(b) > limit {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = quoted.Append(b, key, maxText)
		b = append(b, ':')
		b = n.elem.append(b, v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key())), limit)
	}
	return append(b, '}')
}

// passing are what clients send for the sake of the protocol alone, and what can be
// computed from a body and tells whoever guesses it that they are right.
func passing(name string) bool {
	switch {
	case name == "ClientRequestToken": // is the id of a version
		return false
	case strings.HasSuffix(name, "Token"), strings.HasSuffix(name, "Marker"), strings.HasPrefix(name, "Checksum"):
		return true
	}
	return name == "ETag" || name == "ContentMD5"
}

// suffixes end the names of members that name something.
var suffixes = []string{
	"Id", "ID", "Ids", "Arn", "ARN", "Arns", "Name", "Names", "Region", "Regions", "Principal", "Owner", "Identifier", "Identifiers", "Prefix", "Prefixes",
}

// names reports whether the text of a member is the name of something, or a setting.
func names(name string) bool {
	if settings[name] {
		return true
	}
	for _, suffix := range suffixes {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// settings are members whose text is shown, in the spelling of the SDK's fields.
var settings = set(`
	AccountAlias AliasArn Arn Account Audience Bucket BucketKey CapacityProvider CapacityProviders ClientIDList ClientRequestToken Cluster Clusters
	Container ContainerInstance ContainerInstances ContainerPath CopySource Cpu CredentialsParameter DataType DestinationEncryptionContext
	Driver Duration EncryptionContext EncryptionContextEquals EncryptionContextSubset Engine Family FilesystemType Group Image KMSMasterKeyID Key KmsKey Labels Location
	Memory NetworkMode Path PermissionsBoundary PlatformVersion Role ScheduleExpression SecretIdList SecurityGroups SerialNumber Service Services
	SourceEncryptionContext SourceIdentity SourceVolume StartedBy Subnets TagKey TagKeys TagValue Task TaskDefinition TaskDefinitions Tasks ThumbprintList
	TransitiveTagKeys Type Url User ValueFrom VersionStage VersionStages`)

// documents are policies: shown whole.
var documents = set(`Policy PolicyDocument AssumeRolePolicyDocument ResourcePolicy`)

// tagged are lists and maps of tags, of which keys and values are shown.
var tagged = set(`Tags AddTags`)

// hidden are members that have the name of something and may be anything, and lists whose
// settings tell nothing without their text.
var hidden = set(`ExternalId LogEvents SSECustomerKeyMD5 WebIdentityToken SAMLAssertion ClientID`)

func set(names string) map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(names) {
		m[name] = true
	}
	return m
}
