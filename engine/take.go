package engine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// take makes sure that no other engine uses the directory: two would sweep away each
// other's sockets and volumes. It is released by leave, or by the end of the process.
func (e *Engine) take() error {
	dir, err := os.Open(e.Dir)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another engine uses %s: each needs a runtime directory of its own", e.Dir)
		}
		return fmt.Errorf("locking %s: %w", e.Dir, err)
	}
	e.taken = dir
	return nil
}

func (e *Engine) leave() {
	if e.taken != nil {
		e.taken.Close()
		e.taken = nil
	}
}
