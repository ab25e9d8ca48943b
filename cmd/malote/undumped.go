package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keepFromDumps sees to it that no core dump of this process is made and that other
// processes of its user cannot read its memory: keys and secrets are there in clear. It is
// to be called before the first is. That the process is not dumpable is what counts where core_pattern is a
// program, which a limit of zero does not stop; a limit of zero is what children inherit.
func keepFromDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: RLIMIT_CORE: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core dumps: PR_SET_DUMPABLE: %w", err)
	}
	return nil
}
