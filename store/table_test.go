package store

import (
	"errors"
	"iter"
	"testing"
)

// rows is a transaction over a map, as far as a Table needs one here.
type rows map[string][]byte

func (r rows) Get(key string) ([]byte, error) {
	if value, ok := r[key]; ok {
		return value, nil
	}
	return nil, ErrNotFound
}
func (r rows) Put(key string, value []byte) error          { r[key] = value; return nil }
func (r rows) Delete(key string) error                     { delete(r, key); return nil }
func (r rows) Scan(string, string) iter.Seq2[Entry, error] { return nil }

// What is deleted does not stay in memory decoded.
func TestTableForgetsDeleted(t *testing.T) {
	t.Parallel()
	table, tx := NewTable[struct{ Secret string }]("test"), rows{}
	if err := table.Put(tx, "a", &struct{ Secret string }{"value"}); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get(tx, "a"); err != nil || got.Secret != "value" {
		t.Fatalf("Get = %v, %v", got, err)
	}
	if err := table.Delete(tx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, there := table.decoded.Get("a"); there {
		t.Error("it is still remembered")
	}
	if _, err := table.Get(tx, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
}
