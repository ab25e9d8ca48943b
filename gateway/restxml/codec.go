package restxml

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape"
)

// Codec reads and writes one operation.
type Codec struct {
	operation string
	namespace string
	status    int
	in, out   *side
}

// side is an input or an output.
type side struct {
	bound   []member // in headers, path and query
	payload *member  // that is the body
	root    string   // of a body that is made of members; "" when there is none
	element *element // it
}

// member is one member, where Go and where the wire have it.
type member struct {
	field    shape.Field
	binding  model.Binding
	required bool
	element  *element
	name     string // of the member
}

// element is how a value is written in XML.
type element struct {
	typ      *shape.Type
	name     string // of the structure
	fields   []member
	byWire   map[string]int // of fields, by the name on the wire
	elem     *element       // of a list
	elemName string
	flat     bool
	time     string
}

// NewCodec pairs an operation's description with the SDK's types. The output's type may be
// one that the description does not know a structure for.
func NewCodec(m *model.Service, operation string, in, out reflect.Type) (*Codec, error) {
	op, ok := m.Operation(operation)
	if !ok {
		return nil, fmt.Errorf("%s has no operation %s", m.Name, operation)
	}
	c := &Codec{operation: operation, status: op.HTTP.Status, namespace: "http://" + m.Name + ".amazonaws.com/doc/" + m.Version + "/"}
	if c.status == 0 {
		c.status = http.StatusOK
	}
	var err error
	if c.in, err = newSide(op.Input, in); err != nil {
		return nil, err
	}
	if c.out, err = newSide(op.Output, out); err != nil {
		return nil, err
	}
	if c.out != nil && c.out.payload == nil && len(c.out.element.fields) > 0 {
		if c.out.root = roots[operation]; c.out.root == "" {
			return nil, fmt.Errorf("nobody has said how the answer of %s is called", operation)
		}
	}
	return c, nil
}

// roots are the names of answers. The description does not have them.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
var roots = map[string]string{
	"CompleteMultipartUpload":            "CompleteMultipartUploadResult",
	"CreateMultipartUpload":              "InitiateMultipartUploadResult",
	"DeleteObjects":                      "DeleteResult",
	"GetBucketAccelerateConfiguration":   "AccelerateConfiguration",
	"GetBucketAcl":                       "AccessControlPolicy",
	"GetBucketCors":                      "CORSConfiguration",
	"GetBucketLifecycleConfiguration":    "LifecycleConfiguration",
	"GetBucketLocation":                  "LocationConstraint",
	"GetBucketLogging":                   "BucketLoggingStatus",
	"GetBucketNotificationConfiguration": "NotificationConfiguration",
	"GetBucketRequestPayment":            "RequestPaymentConfiguration",
	"GetBucketTagging":                   "Tagging",
	"GetBucketVersioning":                "VersioningConfiguration",
	"GetBucketWebsite":                   "WebsiteConfiguration",
	"GetObjectAcl":                       "AccessControlPolicy",
	"GetObjectAttributes":                "GetObjectAttributesResponse",
	"GetObjectTagging":                   "Tagging",
	"ListBuckets":                        "ListAllMyBucketsResult",
	"ListMultipartUploads":               "ListMultipartUploadsResult",
	"ListObjectVersions":                 "ListVersionsResult",
	"ListObjects":                        "ListBucketResult",
	"ListObjectsV2":                      "ListBucketResult",
	"ListParts":                          "ListPartsResult",
}

func newSide(s *model.Shape, goType reflect.Type) (*side, error) {
	if s == nil {
		return nil, nil
	}
	whole, err := newElement(s, goType, model.Binding{})
	if err != nil {
		return nil, err
	}
	found := &side{element: &element{typ: whole.typ, byWire: map[string]int{}}}
	for _, m := range whole.fields {
		switch {
		case m.name == s.Payload:
			payload := m
			found.payload = &payload
		case m.binding.Location != "":
			found.bound = append(found.bound, m)
		default:
			found.element.byWire[m.wire()] = len(found.element.fields)
			found.element.fields = append(found.element.fields, m)
		}
	}
	return found, nil
}

func (m *member) wire() string {
	if m.binding.Name != "" {
		return m.binding.Name
	}
	return m.name
}

func newElement(s *model.Shape, goType reflect.Type, b model.Binding) (*element, error) {
	t, err := shape.Of(goType)
	if err != nil {
		return nil, err
	}
	return pair(s, t, b)
}

func pair(s *model.Shape, t *shape.Type, b model.Binding) (*element, error) {
	e := &element{typ: t, name: s.Name, flat: s.Flattened, time: b.TimestampFormat}
	switch t.Kind {
	case shape.Struct:
		e.byWire = map[string]int{}
		for _, name := range slices.Sorted(maps.Keys(s.Members)) {
			described := s.Members[name]
			i, ok := t.Field([]byte(name))
			if !ok {
				return nil, fmt.Errorf("%s has no member %s", t.Go, name)
			}
			inner, err := pair(described, t.Fields[i].Type, described.Binding)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m := member{field: t.Fields[i], binding: described.Binding, element: inner, name: name, required: slices.Contains(s.Required, name)}
			e.byWire[m.wire()] = len(e.fields)
			e.fields = append(e.fields, m)
		}
		// Attributes come first: they are part of the start tag.
		slices.SortStableFunc(e.fields, func(x, y member) int {
			switch {
			case x.binding.XMLAttribute == y.binding.XMLAttribute:
				return 0
			case x.binding.XMLAttribute:
				return -1
			}
			return 1
		})
		for i := range e.fields {
			e.byWire[e.fields[i].wire()] = i
		}
	case shape.List:
		if s.Elem == nil {
			return nil, errors.New("a list for Go alone")
		}
		inner, err := pair(s.Elem, t.Elem, s.Elem.Binding)
		if err != nil {
			return nil, err
		}
		e.elem = inner
		if e.elemName = s.Elem.Binding.Name; e.elemName == "" {
			e.elemName = s.Elem.Name
		}
		if e.elemName == "" {
			e.elemName = "member"
		}
	}
	return e, nil
}

// How times look. S3 writes milliseconds in bodies.
const (
	inBody     = "2006-01-02T15:04:05.000Z"
	timeISO    = "iso8601"
	timeRFC822 = "rfc822"
)

func parseTime(text, format string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if format != timeISO {
		if t, err := http.ParseTime(text); err == nil {
			return t.UTC(), true
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
