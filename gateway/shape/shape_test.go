package shape_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape"
	"github.com/malote/malote/gateway/shape/shapetest"
)

// Every structure of every operation can be described: no union and no document is
// missing from the lists.
func TestOfEveryOperation(t *testing.T) {
	t.Parallel()
	for _, protocol := range []model.Protocol{model.JSON, model.Query} {
		for _, op := range shapetest.Operations(protocol) {
			for _, goType := range []reflect.Type{op.In, op.Out} {
				described, err := shape.Of(goType)
				if err != nil {
					t.Errorf("%s.%s: %v", op.Service, op.Name, err)
					continue
				}
				if again, _ := shape.Of(goType); again != described {
					t.Errorf("%s is described twice", goType)
				}
			}
		}
	}
}

func TestOfNothingOfTheSDK(t *testing.T) {
	t.Parallel()
	for _, goType := range []reflect.Type{
		reflect.TypeFor[chan int](), reflect.TypeFor[context.Context](), reflect.TypeFor[uint8](),
		reflect.TypeFor[map[int]string](), reflect.TypeFor[struct{ F func() }](),
	} {
		if got, err := shape.Of(goType); err == nil {
			t.Errorf("Of(%s) = %+v, want an error", goType, got)
		}
	}
}
