package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/malote/malote/audit"
)

// smallDisk is a directory with room for little, and what fills it until it is removed.
func smallDisk(t testing.TB) (dir, filler string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "audit-test", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir, filepath.Join(dir, "filler")
}

// errorSeen is what a log is written to, and remembers that the audit could not be.
type errorSeen struct{ atomic.Bool }

func (s *errorSeen) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("audit log cannot be written")) {
		s.Store(true)
	}
	return len(line), nil
}

// What is refused while the disk is full, what is kept for when it is not, and what the
// log says of it then.
func TestWhenFull(t *testing.T) {
	t.Parallel()
	const queue = 50
	for _, tt := range []struct {
		when         audit.WhenFull
		reads, acts  bool // whether they begin on a full disk
		flooded      bool // whether what reveals nothing begins when memory is full as well
		lost, refuse bool // whether the log says so
	}{
		{"", false, true, false, false, true},
		{audit.RefuseReads, false, true, false, false, true},
		{audit.RefuseAll, false, false, false, false, true},
		{audit.Continue, true, true, true, true, false},
	} {
		t.Run(string("when "+tt.when), func(t *testing.T) {
			t.Parallel()
			dir, filler := smallDisk(t)
			path := filepath.Join(dir, "audit.log")
			failed := new(errorSeen)
			log := open(t, path, audit.Options{Delay: time.Microsecond, Queue: queue, WhenFull: tt.when, Log: slog.New(slog.NewTextHandler(failed, nil))})
			key, keys := newKey(t)
			log.Sign(key)
			requests := audit.NewRequests(log, nil)
			ask := func(reveals bool) (begun, ended bool) {
				ctx, err := requests.Begin(request(t), reveals)
				if err != nil {
					return false, false
				}
				decide(t, ctx, log, "secretsmanager", "CreateSecret", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf", true)
				return true, requests.End(ctx, "", "", nil, nil) == nil
			}
			// One that has begun before the disk is full.
			early, err := requests.Begin(request(t), true)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filler, make([]byte, 200<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			for !failed.Load() { // the writer notices
				if time.Now().After(deadline) {
					t.Fatal("the disk does not fill")
				}
				ask(false)
				time.Sleep(time.Millisecond)
			}
			if begun, ended := ask(true); begun != tt.reads || ended != tt.reads {
				t.Errorf("a read of a secret: begun %v, ended %v, want %v", begun, ended, tt.reads)
			}
			if err := log.Refusal(); (err == nil) != tt.reads {
				t.Errorf("Refusal = %v, want one: %v", err, !tt.reads)
			}
			if begun, ended := ask(false); begun != tt.acts || ended != tt.acts {
				t.Errorf("another request: begun %v, ended %v, want %v", begun, ended, tt.acts)
			}
			if err := requests.End(early, "", "", nil, nil); (err == nil) != tt.reads {
				t.Errorf("a read that had begun: %v, want an answer: %v", err, tt.reads)
			}
			kept := 0
			for range 2 * queue {
				if begun, _ := ask(false); begun {
					kept++
				}
			}
			if begun, _ := ask(false); begun != tt.flooded {
				t.Errorf("with memory full too: begun %v, want %v", begun, tt.flooded)
			}
			if tt.when != audit.Continue && kept > queue {
				t.Errorf("%d records are kept in memory, want %d at most", kept, queue)
			}

			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			for begun := false; !begun; begun, _ = ask(true) {
				if time.Now().After(deadline) {
					t.Fatal("refused with room again")
				}
				time.Sleep(time.Millisecond)
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := audit.VerifyWith(path, audit.Expectation{Keys: keys}); err != nil {
				t.Error(err)
			}
			withheld := 0
			for _, err := range audit.Query(path, audit.Filter{Error: "InternalFailure"}) {
				if err != nil {
					t.Fatal(err)
				}
				withheld++
			}
			if want := map[bool]int{false: 1}[tt.reads]; withheld != want {
				t.Errorf("%d answers were withheld, want %d", withheld, want)
			}
			gaps := 0
			for e, err := range audit.Query(path, audit.Filter{Name: "AuditGap"}) {
				if err != nil {
					t.Fatal(err)
				}
				gaps++
				var gap struct {
					ServiceEventDetails struct {
						From, Until                  time.Time
						RefusedRequests, LostRecords int
					}
				}
				if err := json.Unmarshal(e.Line, &gap); err != nil {
					t.Fatal(err)
				}
				if d := gap.ServiceEventDetails; (d.LostRecords > 0) != tt.lost || (d.RefusedRequests > 0) != tt.refuse || d.From.IsZero() || d.Until.Before(d.From) || e.ErrorText == "" {
					t.Errorf("gap = %s", e.Line)
				}
			}
			if gaps != 1 {
				t.Errorf("%d gaps are told of, want 1", gaps)
			}
		})
	}
}

// Whoever asks first learns of a full disk that nothing was written to yet.
func TestReady(t *testing.T) {
	t.Parallel()
	for when, refused := range map[audit.WhenFull]bool{audit.RefuseReads: true, audit.RefuseAll: true, audit.Continue: false} {
		dir, filler := smallDisk(t)
		log := open(t, filepath.Join(dir, "audit.log"), audit.Options{Delay: time.Microsecond, WhenFull: when})
		if err := log.Ready(t.Context()); err != nil {
			t.Errorf("%s, with room: %v", when, err)
		}
		if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := log.Record(t.Context(), sample()); err != nil {
			t.Fatal(err)
		}
		if err := log.Ready(t.Context()); errors.Is(err, syscall.ENOSPC) != refused || !refused && err != nil {
			t.Errorf("%s, on a full disk: %v", when, err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// Records that the disk does not keep are as bad as records that cannot be written.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.OpenSyncing(path, audit.Options{Delay: time.Microsecond, Sync: time.Millisecond}, func(file *os.File) error {
		if broken.Load() {
			return syscall.EIO
		}
		return file.Sync()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	key, keys := newKey(t)
	log.Sign(key)
	requests := audit.NewRequests(log, nil)
	ask := func(reveals bool) error {
		ctx, err := requests.Begin(request(t), reveals)
		if err != nil {
			return err
		}
		decide(t, ctx, log, "secretsmanager", "CreateSecret", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf", true)
		return requests.End(ctx, "", "", nil, nil)
	}
	if err := ask(true); err != nil {
		t.Fatal(err)
	}
	if err := log.Failure(); err != nil {
		t.Errorf("Failure = %v on a disk that is well", err)
	}
	broken.Store(true)
	deadline := time.Now().Add(10 * time.Second)
	for ask(true) == nil {
		if time.Now().After(deadline) {
			t.Fatal("secrets are read while the disk keeps no record of it")
		}
		time.Sleep(time.Millisecond)
	}
	for range 50 { // each is written, which does not make it well
		if err := ask(false); err != nil {
			t.Fatalf("another request: %v", err)
		}
		time.Sleep(time.Millisecond)
		if err := ask(true); !errors.Is(err, syscall.EIO) {
			t.Fatalf("a read of a secret: %v, want %v", err, syscall.EIO)
		}
		if err := log.Failure(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Failure = %v, want %v", err, syscall.EIO)
		}
		if err := log.Refusal(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Refusal = %v, want %v", err, syscall.EIO)
		}
	}
	broken.Store(false)
	for ask(true) != nil { // though nothing else comes
		if time.Now().After(deadline) {
			t.Fatal("refused on a disk that is well again")
		}
		time.Sleep(time.Millisecond)
	}
	if err := log.Failure(); err != nil {
		t.Errorf("Failure = %v on a disk that is well again", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.Failure(); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Failure of a closed log = %v", err)
	}
	if _, err := audit.VerifyWith(path, audit.Expectation{Keys: keys}); err != nil {
		t.Error(err)
	}
	gaps := 0
	for e, err := range audit.Query(path, audit.Filter{Name: "AuditGap"}) {
		if err != nil {
			t.Fatal(err)
		}
		if gaps++; !strings.Contains(e.ErrorText, "syncing the audit log") {
			t.Errorf("gap = %s", e.Line)
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps are told of, want 1", gaps)
	}
}
