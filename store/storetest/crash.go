package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/malote/malote/store"
)

// timeout bounds a wait for something that may rightly never come.
func timeout() <-chan time.Time { return time.After(50 * time.Millisecond) }

const crashDir = "STORETEST_CRASH_DIR"

// Crash kills a process that writes, again and again, and each time expects of the
// reopened store that every acknowledged write is there and every transaction is whole.
// The process is this test binary, so the test that calls Crash must do nothing
// with effects before. open opens what is kept in dir.
func Crash(t *testing.T, dir string, open func(tb testing.TB, dir string) store.Store) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, open(t, dir))
	}
	acknowledged := map[int]int{}
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, target := 0, 40+30*round // die at another moment each time
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			var writer, n int
			if _, err := fmt.Sscanf(scanner.Text(), "acknowledged %d %d", &writer, &n); err != nil {
				t.Logf("child: %s", scanner.Text())
				continue
			}
			acknowledged[writer] = max(acknowledged[writer], n)
			if lines++; lines == target {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if lines < target {
			t.Fatalf("round %d: the child ended by itself after %d writes", round, lines)
		}

		s := open(t, dir)
		for writer := range crashWriters {
			err := s.View(t.Context(), func(tx store.Tx) error {
				a, err := number(tx, fmt.Sprintf("%d/a", writer))
				if err != nil {
					return err
				}
				b, err := number(tx, fmt.Sprintf("%d/b", writer))
				if err != nil {
					return err
				}
				if a != b {
					t.Errorf("round %d: half a transaction of writer %d: a=%d b=%d", round, writer, a, b)
				}
				if a < acknowledged[writer] {
					t.Errorf("round %d: writer %d lost acknowledged writes: has %d, want at least %d", round, writer, a, acknowledged[writer])
				}
				logged, err := collect(tx, fmt.Sprintf("%d/log/", writer), "")
				if len(logged) != a {
					t.Errorf("round %d: writer %d logged %d transactions of %d", round, writer, len(logged), a)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const crashWriters = 4

func writeUntilKilled(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	var mu sync.Mutex // one line at a time
	for writer := range crashWriters {
		wg.Go(func() {
			for {
				var n int
				err := s.Update(context.Background(), func(tx store.Tx) (err error) {
					if n, err = number(tx, fmt.Sprintf("%d/a", writer)); err != nil {
						return err
					}
					n++
					if err := putNumber(tx, fmt.Sprintf("%d/a", writer), n); err != nil {
						return err
					}
					if err := tx.Put(fmt.Sprintf("%d/log/%06d", writer, n), make([]byte, 500)); err != nil {
						return err
					}
					return putNumber(tx, fmt.Sprintf("%d/b", writer), n)
				})
				if err != nil {
					fmt.Println(err)
					return
				}
				mu.Lock()
				os.Stdout.WriteString("acknowledged " + strconv.Itoa(writer) + " " + strconv.Itoa(n) + "\n")
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	os.Exit(3)
}
