package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/malote/malote/audit"
)

func newKey(t testing.TB) (ed25519.PrivateKey, []ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private, []ed25519.PublicKey{public}
}

// signed writes a log of n records with a checkpoint at the end of each run of them.
func signed(t testing.TB, path string, key ed25519.PrivateKey, runs ...int) {
	t.Helper()
	for _, n := range runs {
		f := open(t, path, audit.Options{Delay: time.Microsecond})
		f.Sign(key)
		for range n {
			if err := f.Record(t.Context(), sample()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

var previous = regexp.MustCompile(`"previousHash":"[0-9a-f]{64}"`)

// rechain makes lines a chain again, as whoever knows the format can.
func rechain(lines [][]byte) []byte {
	head := strings.Repeat("0", 64)
	var out []byte
	for i, line := range lines {
		line = previous.ReplaceAll(line, []byte(`"previousHash":"`+head+`"`))
		line = regexp.MustCompile(`"sequence":\d+`).ReplaceAll(line, []byte(`"sequence":`+itoa(i+1)))
		sum := sha256.Sum256(bytes.TrimSuffix(line, []byte("\n")))
		head = hex.EncodeToString(sum[:])
		out = append(out, line...)
	}
	return out
}

func itoa(n int) string {
	digits := ""
	for ; n > 0; n /= 10 {
		digits = string(rune('0'+n%10)) + digits
	}
	return digits
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	key, keys := newKey(t)
	signed(t, path, key, 5, 3)
	chain, err := audit.VerifyWith(path, audit.Expectation{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if chain.Records < 10 || chain.Truncated != 0 || chain.Unsigned() != 0 || chain.SignedTo != chain.Last() || chain.KeyID != audit.KeyID(keys[0]) || time.Since(chain.SignedAt) > time.Minute {
		t.Errorf("chain = %+v", chain)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := os.ReadFile(path + ".checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	if !bytes.Equal(lines[len(lines)-1], anchor) {
		t.Errorf("kept beside the log: %s", anchor)
	}

	// A killed process leaves records without a signature behind.
	f := open(t, path, audit.Options{})
	for range 2 {
		f.Record(t.Context(), sample())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if chain, err := audit.VerifyWith(path, audit.Expectation{Keys: keys}); err != nil || chain.Unsigned() != 2 {
		t.Errorf("unsigned = %d, %v, want 2", chain.Unsigned(), err)
	}

	changed := bytes.Replace(lines[1], []byte("GetSecretValue"), []byte("DescribeSecret"), 1)
	other, otherKeys := newKey(t)
	forged := filepath.Join(t.TempDir(), "audit.log")
	signed(t, forged, other, 5, 3)
	theirs, err := os.ReadFile(forged)
	if err != nil {
		t.Fatal(err)
	}
	var unsigned [][]byte
	for _, line := range lines {
		if !bytes.Contains(line, []byte("AuditCheckpoint")) {
			unsigned = append(unsigned, line)
		}
	}
	altered := append([][]byte(nil), lines...)
	altered[1] = changed
	for _, tt := range []struct {
		name   string
		text   []byte
		anchor []byte // nil: whoever changed the log removed it
		expect audit.Expectation
		want   string
	}{
		{"a record changed and chained anew", rechain(altered), anchor, audit.Expectation{Keys: keys}, "signature does not hold"},
		{"the same, with nobody's key", rechain(altered), anchor, audit.Expectation{}, "there was a checkpoint in its place"},
		{"checkpoints left out", rechain(unsigned), nil, audit.Expectation{Keys: keys}, "nothing in it is signed"},
		{"signed by another", theirs, nil, audit.Expectation{Keys: keys}, "a key that is not expected"},
		{"signed by another who is expected too", theirs, nil, audit.Expectation{Keys: append(otherKeys, keys...)}, ""},
		{"cut off", bytes.Join(lines[:4], nil), anchor, audit.Expectation{}, "records were cut off"},
		{"cut off with the checkpoint beside it", bytes.Join(lines[:6], nil), nil, audit.Expectation{Keys: keys}, ""}, // which only what is kept elsewhere tells
		{"the same, and a checkpoint elsewhere", bytes.Join(lines[:6], nil), nil, audit.Expectation{Keys: keys, Checkpoint: anchor}, "records were cut off"},
		{"the same, and a head elsewhere", bytes.Join(lines[:6], nil), nil, audit.Expectation{Keys: keys, Head: chain.Head}, "expected hash"},
		{"as it was", text, anchor, audit.Expectation{Keys: keys, Checkpoint: anchor, Head: chain.Head}, ""},
		{"no checkpoint beside it", text, []byte("{}\n"), audit.Expectation{}, "it is no checkpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			if err := os.WriteFile(path, tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.anchor != nil {
				if err := os.WriteFile(path+".checkpoint", tt.anchor, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := audit.VerifyWith(path, tt.expect)
			broken := new(audit.BrokenError)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &broken) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("VerifyWith = %v, want %q", err, tt.want)
			}
		})
	}
}

// The checkpoint beside the log is on the disk before it takes the last one's place.
func TestCheckpointIsSynced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	key, _ := newKey(t)
	signed(t, path, key, 2)
	old, err := os.ReadFile(path + ".checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range []error{syscall.EIO, nil} {
		var synced []byte // when it was the last time
		f, err := audit.OpenSyncing(path, audit.Options{Delay: time.Microsecond}, func(file *os.File) error {
			if file.Name() != path+".checkpoint.next" {
				return file.Sync()
			}
			text, err := os.ReadFile(file.Name())
			synced = text
			return errors.Join(failure, err, file.Sync())
		})
		if err != nil {
			t.Fatal(err)
		}
		f.Sign(key)
		if err := f.Record(t.Context(), sample()); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(path + ".checkpoint")
		if err != nil || bytes.Equal(synced, old) || failure != nil && !bytes.Equal(kept, old) || failure == nil && !bytes.Equal(kept, synced) {
			t.Errorf("with %v: before\n%s\nsynced\n%s\nkept\n%s, %v", failure, old, synced, kept, err)
		}
	}
	verify(t, path)
}

// A log that is opened with less than it had says so for ever.
func TestTruncated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	key, keys := newKey(t)
	signed(t, path, key, 5)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Join(bytes.SplitAfter(text, []byte("\n"))[:3], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	signed(t, path, key, 1)
	var found int
	for e, err := range audit.Query(path, audit.Filter{Name: "AuditTruncated"}) {
		if err != nil {
			t.Fatal(err)
		}
		if found++; e.Sequence > 5 || !strings.Contains(e.ErrorText, "ends with record 3 and had a checkpoint at ") {
			t.Errorf("record = %s", e.Line)
		}
	}
	chain, err := audit.VerifyWith(path, audit.Expectation{Keys: keys})
	if err != nil || found != 1 || chain.Truncated != 1 || time.Since(chain.TruncatedAt).Abs() > time.Minute {
		t.Errorf("%d records of it, chain = %+v, %v", found, chain, err)
	}
}

// Without another record there is a checkpoint all the same.
func TestCheckpointInTime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	key, keys := newKey(t)
	f := open(t, path, audit.Options{Delay: time.Microsecond, Checkpoint: time.Millisecond})
	f.Sign(key)
	f.Record(t.Context(), sample())
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		chain, err := audit.VerifyWith(path, audit.Expectation{Keys: keys})
		if err == nil && chain.Records >= 2 && chain.Unsigned() == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("chain = %+v, %v", chain, err)
		}
	}
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	_, first := newKey(t)
	_, second := newKey(t)
	var text []byte
	for _, key := range append(first, second...) {
		block, err := audit.EncodePublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, block...)
	}
	keys, err := audit.DecodePublicKeys(text)
	if err != nil || len(keys) != 2 || !keys[0].Equal(first[0]) || !keys[1].Equal(second[0]) {
		t.Errorf("DecodePublicKeys = %v, %v", keys, err)
	}
	for _, bad := range []string{"", "hello", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"} {
		if keys, err := audit.DecodePublicKeys([]byte(bad)); err == nil {
			t.Errorf("DecodePublicKeys(%q) = %v", bad, keys)
		}
	}
}

func FuzzParse(f *testing.F) {
	path := filepath.Join(f.TempDir(), "audit.log")
	key, _ := newKey(f)
	signed(f, path, key, 1)
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"sequence":1,"eventTime":""}` + "\n" + `{"eventSource":"malote","eventName":"AuditCheckpoint"`))
	f.Add([]byte("\n\n"))
	// Whatever a log has in it, it is read or refused.
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, keys := newKey(t)
		audit.VerifyWith(path, audit.Expectation{Keys: keys})
		times := audit.Times{Since: time.Unix(1_800_000_000, 0), Until: time.Unix(1_900_000_000, 0)}
		var forward, backward [][]byte
		for line, err := range audit.Lines(path, times) {
			if err != nil {
				t.Fatal(err)
			}
			audit.Parse(line)
			forward = append(forward, bytes.Clone(line))
		}
		for line, err := range audit.Backward(path, 0, times) {
			if err != nil {
				t.Fatal(err)
			}
			backward = append(backward, bytes.Clone(line))
		}
		if len(forward) != len(backward) {
			t.Fatalf("%d lines forward, %d backward", len(forward), len(backward))
		}
		for i, line := range forward {
			if !bytes.Equal(line, backward[len(backward)-1-i]) {
				t.Errorf("line %d: %q forward, %q backward", i, line, backward[len(backward)-1-i])
			}
		}
	})
}
