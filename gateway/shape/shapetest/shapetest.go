// Package shapetest makes values of the SDK's types for tests of codecs.
package shapetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape"
)

// Operation is an operation of a service and the SDK's structures for it.
type Operation struct {
	Service, Name string
	In, Out       reflect.Type
	Client        func(aws.Config) reflect.Value // the SDK's client, which has a method of that name
}

func client[C, O any](new func(aws.Config, ...func(*O)) *C) func(aws.Config) reflect.Value {
	return func(cfg aws.Config) reflect.Value { return reflect.ValueOf(new(cfg)) }
}

// Operations lists all operations that both package model and the SDK know, of the
// services that speak a protocol.
func Operations(protocol model.Protocol) []Operation {
	var all []Operation
	for name, client := range map[string]func(aws.Config) reflect.Value{
		"cloudtrail": client(cloudtrail.NewFromConfig), "ecs": client(ecs.NewFromConfig), "iam": client(iam.NewFromConfig), "kms": client(kms.NewFromConfig),
		"logs": client(cloudwatchlogs.NewFromConfig), "secretsmanager": client(secretsmanager.NewFromConfig),
		"organizations": client(organizations.NewFromConfig),
		"ssm":           client(ssm.NewFromConfig), "sts": client(sts.NewFromConfig),
	} {
		m, ok := model.For(name)
		if !ok {
			panic(fmt.Sprintf("no model of %s", name))
		}
		if m.Protocol != protocol {
			continue
		}
		for _, op := range m.Operations() {
			method := client(aws.Config{}).MethodByName(op)
			if !method.IsValid() || method.Type().NumIn() < 2 || method.Type().In(0) != reflect.TypeFor[context.Context]() {
				panic(fmt.Sprintf("the SDK's %s has no operation %s", name, op))
			}
			all = append(all, Operation{Service: name, Name: op, In: method.Type().In(1).Elem(), Out: method.Type().Out(0).Elem(), Client: client})
		}
	}
	return all
}

// texts are awkward for one protocol or another.
var texts = []string{"x", "a b", `"quoted"\`, "<&>'", "é€😀", "line\nline\ttab", "per%20cent+plus", "a=b&c=d", "null", "0", "\u2028", "*~-._"}

// Fill makes v, of the SDK's types, hold something, the same for the same random
// numbers. Strings are valid in XML, times have whole seconds, documents are left out;
// what is empty but not nil occurs.
func Fill(random *rand.Rand, v reflect.Value) { filler{random, false}.start(v) }

// FillAll is Fill with every member there, as clients want the required ones.
func FillAll(random *rand.Rand, v reflect.Value) { filler{random, true}.start(v) }

type filler struct {
	random *rand.Rand
	all    bool
}

func (f filler) start(v reflect.Value) {
	t, err := shape.Of(v.Type())
	if err != nil {
		panic(err)
	}
	f.fill(t, v, 0)
}

func (to filler) fill(t *shape.Type, v reflect.Value, depth int) {
	random := to.random
	if t.Ptr {
		p := reflect.New(t.Go)
		v.Set(p)
		v = p.Elem()
	}
	switch t.Kind {
	case shape.String:
		s := texts[random.IntN(len(texts))]
		if random.IntN(8) == 0 {
			s += string(utf8.AppendRune(nil, rune('!'+random.IntN(0xd000))))
		}
		v.SetString(s)
	case shape.Int:
		v.SetInt(int64(random.Uint64()) >> (64 - t.Go.Bits()) >> random.IntN(t.Go.Bits()))
	case shape.Float:
		f := random.NormFloat64() * 1e6
		if t.Go.Bits() == 32 {
			f = float64(float32(f))
		}
		v.SetFloat(f)
	case shape.Bool:
		v.SetBool(random.IntN(2) == 0)
	case shape.Time:
		v.Set(reflect.ValueOf(time.Unix(random.Int64N(4e9), 0).UTC()))
	case shape.Blob:
		b := make([]byte, random.IntN(40))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		v.SetBytes(b)
	case shape.List:
		n := random.IntN(4) / (1 + depth/3)
		v.Set(reflect.MakeSlice(t.Go, n, n))
		for i := range n {
			to.fill(t.Elem, v.Index(i), depth+1)
		}
	case shape.Map:
		v.Set(reflect.MakeMap(t.Go))
		for range random.IntN(3) {
			key := reflect.ValueOf(texts[random.IntN(len(texts))]).Convert(t.Go.Key())
			elem := reflect.New(t.Go.Elem()).Elem()
			to.fill(t.Elem, elem, depth+1)
			v.SetMapIndex(key, elem)
		}
	case shape.Struct:
		filled := false
		for i := range t.Fields {
			f := &t.Fields[i]
			last := i == len(t.Fields)-1 && !filled
			if f.Type.Kind == shape.Document || !to.all && random.IntN(3) == 0 && !last {
				continue
			}
			to.fill(f.Type, v.Field(f.Index), depth+1)
			filled = true
		}
	case shape.Union:
		f := &t.Fields[random.IntN(len(t.Fields))]
		variant := reflect.New(f.Variant)
		to.fill(f.Type, variant.Elem().Field(f.Index), depth+1)
		v.Set(variant)
	}
}
