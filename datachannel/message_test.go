package datachannel

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The layout, byte for byte, so that both ends being wrong the same way shows.
func TestLayout(t *testing.T) {
	t.Parallel()
	m := New(Input, 7, Bytes, []byte("ls\n"))
	m.Created, m.Flags = time.UnixMilli(1700000000123), 1
	b := m.Append(nil)
	if len(b) != 123 || binary.BigEndian.Uint32(b) != 116 || string(b[4:36]) != "input_stream_data"+strings.Repeat(" ", 15) ||
		binary.BigEndian.Uint32(b[36:]) != 1 || binary.BigEndian.Uint64(b[40:]) != 1700000000123 || binary.BigEndian.Uint64(b[48:]) != 7 ||
		binary.BigEndian.Uint64(b[56:]) != 1 || !bytes.Equal(b[64:72], m.ID[8:]) || !bytes.Equal(b[72:80], m.ID[:8]) ||
		binary.BigEndian.Uint32(b[112:]) != 1 || binary.BigEndian.Uint32(b[116:]) != 3 || string(b[120:]) != "ls\n" {
		t.Errorf("layout: %x", b)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
}

func TestAcknowledgement(t *testing.T) {
	t.Parallel()
	m := New(Output, 3, Bytes, nil)
	a := Acknowledgement(m)
	var got acknowledgement
	if err := json.Unmarshal(a.Payload, &got); err != nil {
		t.Fatal(err)
	}
	if got != (acknowledgement{Output, UUID(m.ID), 3, true}) || a.Type != Acknowledge || len(UUID(m.ID)) != 36 {
		t.Errorf("acknowledgement: %+v", got)
	}
}

// FuzzDecode: whatever comes is read as it was written, or refused.
func FuzzDecode(f *testing.F) {
	f.Add(New(Input, 0, Bytes, []byte("x")).Append(nil))
	f.Add(New(Output, 1<<40, ExitCode, nil).Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil || len(m.Type) > typeSize {
			return
		}
		again, err := Decode(m.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Error(diff)
		}
		if i := bytes.IndexByte(b, 0xff); i >= payloadAt {
			damaged := bytes.Clone(b)
			damaged[i] = 0
			if _, err := Decode(damaged); err == nil {
				t.Error("a damaged payload is taken")
			}
		}
	})
}
