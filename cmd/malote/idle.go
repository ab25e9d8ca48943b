package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long after its start a server gives back what starting took.
const settle = time.Second

// giveBack returns the heap's free pages to the system, and the pages of the program
// itself: two thirds of them were run through by initialisation alone. The kernel has the
// file in its cache and maps again what is used.
func giveBack() {
	debug.FreeOSMemory()
	self, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// Read-only mappings of the file are as the file is: nothing of them can be lost.
		var from, to uintptr
		var permissions string
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &permissions); err != nil {
			continue
		}
		if (permissions == "r-xp" || permissions == "r--p") && strings.HasSuffix(line, " "+self) {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
