package memory_test

import (
	"testing"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
	"github.com/malote/malote/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, func(testing.TB) store.Store { return memory.New() })
}
