package secretsmanager

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// Stored values are read whichever way they were written, and a damaged one is an error.
func TestStoredValueFormats(t *testing.T) {
	t.Parallel()
	want := &value{DataKey: bytes.Repeat([]byte("k"), 200), Sealed: []byte("sealed")}
	binary, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		raw  []byte
		want *value
	}{
		{"binary", append([]byte{2}, binary...), want},
		{"JSON", []byte("\x01{\"DataKey\":\"a2V5\",\"Sealed\":\"dmFsdWU=\"}"), &value{DataKey: []byte("key"), Sealed: []byte("value")}},
		{"cut off", append([]byte{2}, binary[:100]...), nil},
		{"no length", []byte{2}, nil},
		{"another format", []byte{3}, nil},
		{"empty", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, table := memory.New(), store.NewTable[value]("value")
			if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("v", tt.raw) }); err != nil {
				t.Fatal(err)
			}
			var got *value
			err := s.View(t.Context(), func(tx store.Tx) (err error) {
				got, err = table.Get(tx, "v")
				return err
			})
			if (err != nil) != (tt.want == nil) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
