// Package shape describes the AWS SDK's Go types once, so that the codecs and the
// validation need not look at struct fields again while a request is served.
//
// It promises: one Type for each Go type, however often and from wherever it is asked
// for, complete and immutable once returned.
//
// It knows how the SDK's generator spells things (pointers for optional members, values
// for enumerations, interfaces for unions) and nothing about the wire.
package shape

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go/middleware"
)

// Kind is what a member is to the API, whichever way Go holds it.
type Kind uint8

const (
	String Kind = iota + 1 // enumerations too
	Int
	Float
	Bool
	Time
	Blob
	List
	Map
	Struct
	Union
	Document
	Stream // a body that is read as it comes
)

// Type describes a Go type of the SDK.
type Type struct {
	Kind Kind
	// Ptr says that the Go type is a pointer to what Kind and Go say: nil means absent.
	Ptr bool
	// Go is the type, without the pointer.
	Go reflect.Type
	// Elem is the element of a List and the value of a Map, whose keys are strings.
	Elem *Type
	// Fields are the members of a Struct and the variants of a Union.
	Fields []Field

	byName map[string]int
}

// Field is a member of a structure or a variant of a union.
type Field struct {
	Name  string // as Go spells it; the API's name but for the first letter's case
	Lower string // with the first letter in lower case
	Index int    // of the struct field; in a variant, of its Value
	Type  *Type
	// Variant is, in a Union alone, the struct type that holds this variant. A pointer
	// to it satisfies the union's interface.
	Variant reflect.Type
}

// Field finds a member by name, whatever the case of the first letter, and returns its
// position in Fields.
func (t *Type) Field(name []byte) (int, bool) {
	i, ok := t.byName[string(name)]
	return i, ok
}

// Absent reports whether a member of this type is left out on the wire: nil, and the empty
// enumeration. Other strings that the SDK holds by value are enumerations all. An empty
// list that is not nil is there.
func (t *Type) Absent(v reflect.Value) bool {
	if t.Ptr {
		return v.IsNil()
	}
	switch t.Kind {
	case List, Map, Blob, Union, Document, Stream:
		return v.IsNil()
	case String:
		return v.Len() == 0
	}
	return false
}

// Variant finds the variant of a union that v, not nil, holds, and its value.
func (t *Type) Variant(v reflect.Value) (*Field, reflect.Value, bool) {
	v = v.Elem()
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, reflect.Value{}, false
	}
	v = v.Elem()
	for i := range t.Fields {
		if f := &t.Fields[i]; f.Variant == v.Type() {
			return f, v.Field(f.Index), true
		}
	}
	return nil, reflect.Value{}, false
}

var (
	types    sync.Map   // reflect.Type to *Type, complete ones alone
	building sync.Mutex // held while types are described
)

// Of describes t. A type that is none of the SDK's is an error.
func Of(t reflect.Type) (*Type, error) {
	if found, ok := types.Load(t); ok {
		return found.(*Type), nil
	}
	building.Lock()
	defer building.Unlock()
	b := builder{}
	described, err := b.describe(t)
	if err != nil {
		return nil, err
	}
	for goType, t := range b {
		types.LoadOrStore(goType, t)
	}
	return described, nil
}

// builder holds what is being described, so that a type may contain itself.
type builder map[reflect.Type]*Type

var (
	timeType       = reflect.TypeFor[time.Time]()
	metadataType   = reflect.TypeFor[middleware.Metadata]()
	readerType     = reflect.TypeFor[io.Reader]()
	readCloserType = reflect.TypeFor[io.ReadCloser]()
)

func (b builder) describe(goType reflect.Type) (*Type, error) {
	if found, ok := types.Load(goType); ok {
		return found.(*Type), nil
	}
	if t, ok := b[goType]; ok {
		return t, nil
	}
	t := &Type{Go: goType}
	b[goType] = t
	if goType.Kind() == reflect.Pointer {
		t.Ptr = true
		t.Go = goType.Elem()
	}
	if err := b.fill(t); err != nil {
		return nil, err
	}
	return t, nil
}

func (b builder) fill(t *Type) error {
	var err error
	switch k := t.Go.Kind(); {
	case t.Go == timeType:
		t.Kind = Time
	case k == reflect.String:
		t.Kind = String
	case k == reflect.Int32, k == reflect.Int64:
		t.Kind = Int
	case k == reflect.Float32, k == reflect.Float64:
		t.Kind = Float
	case k == reflect.Bool:
		t.Kind = Bool
	case k == reflect.Slice && t.Go.Elem().Kind() == reflect.Uint8:
		t.Kind = Blob
	case k == reflect.Slice:
		t.Kind = List
		t.Elem, err = b.describe(t.Go.Elem())
	case k == reflect.Map && t.Go.Key().Kind() == reflect.String:
		t.Kind = Map
		t.Elem, err = b.describe(t.Go.Elem())
	case k == reflect.Struct:
		t.Kind = Struct
		err = b.fields(t)
	case t.Go == readerType, t.Go == readCloserType:
		t.Kind = Stream
	case documents[t.Go] != nil:
		t.Kind = Document
	case unions[t.Go] != nil:
		t.Kind = Union
		err = b.variants(t)
	default:
		err = fmt.Errorf("%s is no type of the SDK's API", t.Go)
	}
	return err
}

func (b builder) fields(t *Type) error {
	t.byName = make(map[string]int)
	for i := range t.Go.NumField() {
		f := t.Go.Field(i)
		if !f.IsExported() || f.Anonymous || f.Type == metadataType || f.Name == "ErrorCodeOverride" {
			continue
		}
		ft, err := b.describe(f.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t.Go, f.Name, err)
		}
		t.add(Field{Name: f.Name, Index: i, Type: ft})
	}
	return nil
}

func (b builder) variants(t *Type) error {
	t.byName = make(map[string]int)
	for _, variant := range unions[t.Go] {
		_, name, ok := strings.Cut(variant.Name(), t.Go.Name()+"Member")
		value, held := variant.FieldByName("Value")
		if !ok || !held || !reflect.PointerTo(variant).Implements(t.Go) {
			return fmt.Errorf("%s is no variant of %s", variant, t.Go)
		}
		vt, err := b.describe(value.Type)
		if err != nil {
			return fmt.Errorf("%s: %w", variant, err)
		}
		t.add(Field{Name: name, Index: value.Index[0], Type: vt, Variant: variant})
	}
	return nil
}

func (t *Type) add(f Field) {
	f.Lower = lowerFirst(f.Name)
	t.byName[f.Name] = len(t.Fields)
	t.byName[f.Lower] = len(t.Fields)
	t.Fields = append(t.Fields, f)
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
