package awsjson

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape"
	"github.com/malote/malote/gateway/shape/shapetest"
)

// recorder keeps the schema of the structure that is serialized into it.
type recorder struct {
	smithy.ShapeSerializer // nil: the rest is for members, and a zero structure has few
	schema                 *smithy.Schema
}

func (r *recorder) WriteStruct(s *smithy.Schema) {
	if r.schema == nil {
		r.schema = s
	}
}
func (r *recorder) CloseStruct()                         {}
func (r *recorder) WriteBool(*smithy.Schema, bool)       {}
func (r *recorder) WriteInt32(*smithy.Schema, int32)     {}
func (r *recorder) WriteInt64(*smithy.Schema, int64)     {}
func (r *recorder) WriteFloat32(*smithy.Schema, float32) {}
func (r *recorder) WriteFloat64(*smithy.Schema, float64) {}
func (r *recorder) WriteString(*smithy.Schema, string)   {}

// What our codec makes of a Go type is what Amazon's own schema says, for every
// structure of every operation of the JSON services.
func TestAgainstSmithySchemas(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, op := range shapetest.Operations(model.JSON) {
		c := comparison{t: t, lower: op.Service == "ecs" || op.Service == "logs", seen: map[*shape.Type]bool{}}
		if op.Name == "StartLiveTail" {
			continue // its output is a stream of events, which is another protocol
		}
		if op.Service == "cloudtrail" {
			continue // Amazon's client has no schemas: TestAmazonsCodecs stands in for them
		}
		for _, goType := range []reflect.Type{op.In, op.Out} {
			s, ok := reflect.New(goType).Interface().(smithy.Serializable)
			if !ok {
				t.Errorf("%s has no schema", goType)
				continue
			}
			var r recorder
			s.Serialize(&r)
			described, err := shape.Of(goType)
			if err != nil {
				t.Fatal(err)
			}
			if r.schema == nil && len(described.Fields) == 0 {
				continue // the SDK's invention for an operation without output
			}
			c.compare(goType.String(), described, r.schema)
		}
		compared += c.members
	}
	if compared < 3000 {
		t.Errorf("%d members were compared, want thousands", compared)
	}
	t.Logf("%d members", compared)
}

type comparison struct {
	t       *testing.T
	lower   bool
	seen    map[*shape.Type]bool
	members int
}

var kinds = map[shape.Kind][]smithy.ShapeType{
	shape.String:   {smithy.ShapeTypeString, smithy.ShapeTypeEnum},
	shape.Int:      {smithy.ShapeTypeByte, smithy.ShapeTypeShort, smithy.ShapeTypeInteger, smithy.ShapeTypeLong},
	shape.Float:    {smithy.ShapeTypeFloat, smithy.ShapeTypeDouble},
	shape.Bool:     {smithy.ShapeTypeBoolean},
	shape.Time:     {smithy.ShapeTypeTimestamp},
	shape.Blob:     {smithy.ShapeTypeBlob},
	shape.List:     {smithy.ShapeTypeList, smithy.ShapeTypeSet},
	shape.Map:      {smithy.ShapeTypeMap},
	shape.Struct:   {smithy.ShapeTypeStructure},
	shape.Union:    {smithy.ShapeTypeUnion},
	shape.Document: {smithy.ShapeTypeDocument},
}

func (c *comparison) compare(path string, t *shape.Type, s *smithy.Schema) {
	c.members++
	if !slices.Contains(kinds[t.Kind], s.Type()) {
		c.t.Errorf("%s: kind %d, and %d in the schema", path, t.Kind, s.Type())
		return
	}
	if _, ok := smithy.SchemaTrait[*traits.JSONName](s); ok {
		c.t.Errorf("%s has another name in JSON", path)
	}
	if _, ok := smithy.SchemaTrait[*traits.TimestampFormat](s); ok {
		c.t.Errorf("%s has a format of its own", path)
	}
	switch t.Kind {
	case shape.List:
		c.compare(path+"[]", t.Elem, s.ListMember())
	case shape.Map:
		c.compare(path+"{}", t.Elem, s.MapValue())
	case shape.Struct, shape.Union:
		if c.seen[t] {
			return
		}
		c.seen[t] = true
		if len(t.Fields) != len(s.Members()) {
			c.t.Errorf("%s has %d members, and %d in the schema", path, len(t.Fields), len(s.Members()))
		}
		for _, f := range t.Fields {
			name := f.Name
			if c.lower {
				name = f.Lower
			}
			member := s.Member(name)
			if member == nil {
				c.t.Errorf("%s has no member %s in the schema", path, name)
				continue
			}
			c.compare(path+"."+name, f.Type, member)
		}
	}
}

// Whatever is written is read back the same, in both dialects, for every structure of
// every operation.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, op := range shapetest.Operations(model.JSON) {
		for _, goType := range []reflect.Type{op.In, op.Out} {
			for seed := range uint64(3) {
				roundTrip(t, goType, seed)
			}
		}
	}
}

func roundTrip(t *testing.T, goType reflect.Type, seed uint64) {
	t.Helper()
	want := reflect.New(goType)
	shapetest.Fill(rand.New(rand.NewPCG(seed, 1)), want.Elem())
	for _, codec := range []Codec{{}, {Lower: true}} {
		text, err := codec.Append(nil, want.Interface())
		if err != nil {
			t.Fatalf("%s: %v", goType, err)
		}
		got := reflect.New(goType)
		if err := codec.Decode(text, got.Interface()); err != nil {
			t.Fatalf("%s: %v\n%s", goType, err, text)
		}
		if !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Fatalf("%s, seed %d: %s", goType, seed, cmp.Diff(want.Interface(), got.Interface(), cmp.Exporter(func(reflect.Type) bool { return true })))
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	operations := shapetest.Operations(model.JSON)
	f.Add(uint64(1), uint(0))
	f.Fuzz(func(t *testing.T, seed uint64, n uint) {
		op := operations[n%uint(len(operations))]
		roundTrip(t, op.In, seed)
		roundTrip(t, op.Out, seed)
	})
}
