package store

import (
	"encoding/json"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"
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

type dated struct {
	Name  string
	At    time.Time
	Never time.Time `json:",omitzero"`
	Bytes []byte    `json:",omitempty"`
	Parts []string  `json:",omitempty"`
}

// What an older malote wrote, as JSON, opens for ever; what is written now reads the same.
func TestTableFormats(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 16, 40, 1, 123456789, time.UTC)
	want := dated{Name: "a\x00é", At: at, Bytes: []byte{0xff, 0}, Parts: []string{"x"}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	table, tx := NewTable[dated]("test"), rows{"old": append([]byte{formatJSON}, text...)}
	if err := table.Put(tx, "new", &want); err != nil {
		t.Fatal(err)
	}
	if tx["new"][0] != formatCBOR || len(tx["new"]) >= len(tx["old"]) {
		t.Errorf("format %d, %d bytes where JSON took %d", tx["new"][0], len(tx["new"]), len(tx["old"]))
	}
	for key := range tx {
		got, err := table.Get(tx, key)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s = %+v, want %+v", key, *got, want)
		}
	}
}

// A damaged record is an error that does not quote it.
func TestTableDamaged(t *testing.T) {
	t.Parallel()
	table := NewTable[dated]("test")
	for name, raw := range map[string][]byte{
		"empty": {}, "unknown format": {9, 'c', 'a', 'n', 'a', 'r', 'y'}, "cut": {formatCBOR, 0xa1, 0x64, 'N'}, "trailing": {formatCBOR, 0xa0, 0x66, 'c', 'a', 'n', 'a', 'r', 'y'},
		"another type": append([]byte{formatCBOR, 0xa1, 0x62, 'A', 't', 0x66}, "canary"...),
	} {
		if _, err := table.Get(rows{"a": raw}, "a"); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}
