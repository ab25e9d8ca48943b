package engine_test

import (
	"strings"
	"testing"

	"github.com/malote/malote/engine"
)

func TestADirectoryIsOneEngines(t *testing.T) {
	w := newWorld(t)
	first := w.start()
	second, err := engine.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), w.config.Dir) {
		t.Errorf("error = %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := engine.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Start(t.Context()); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
	third.Close()
}
