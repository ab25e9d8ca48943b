package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Signal tells a process that files have changed. Of another container's, that works in a task
// whose pidMode is task.
type Signal struct {
	Signal  unix.Signal
	PIDFile string
	Process string // the name of the program
}

// ParseSignal reads HUP, SIGHUP or 1.
func ParseSignal(name string) (unix.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && unix.SignalName(unix.Signal(n)) != "" {
		return unix.Signal(n), nil
	}
	name = strings.ToUpper(name)
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG")); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is no signal such as HUP", name)
}

// Send signals, and says when there is nobody.
func (s Signal) Send() error {
	var pids []int
	if s.PIDFile != "" {
		text, err := os.ReadFile(s.PIDFile)
		if err != nil {
			return fmt.Errorf("the pid file: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || pid < 1 {
			return fmt.Errorf("the pid file %s has no process id", s.PIDFile)
		}
		if pid == os.Getpid() { // each is the first of its own container
			return fmt.Errorf("the pid file %s has the id of this process: is the task's pidMode \"task\"?", s.PIDFile)
		}
		pids = append(pids, pid)
	}
	if s.Process != "" {
		found := processes(s.Process)
		if len(found) == 0 {
			return fmt.Errorf("there is no process %s: is the task's pidMode \"task\"?", s.Process)
		}
		pids = append(pids, found...)
	}
	var failed []error
	for _, pid := range pids {
		if err := unix.Kill(pid, s.Signal); err != nil {
			failed = append(failed, fmt.Errorf("signal to process %d: %w", pid, err))
		}
	}
	return errors.Join(failed...)
}

// processes are those of a program, but for this one, and for the children of another of them: a
// server's workers, which would end by a signal that the server takes for a wish to read its files.
func processes(name string) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parents := map[int]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil {
			continue
		}
		program, _, _ := strings.Cut(string(line), "\x00")
		// Servers put what they do behind their names: "nginx: master process".
		program, _, _ = strings.Cut(program, ":")
		if filepath.Base(program) == name {
			parents[pid] = parent(pid)
		}
	}
	for pid, parent := range parents {
		if _, worker := parents[parent]; !worker {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent is 0 of a process that has ended.
func parent(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// PID (NAME) STATE PARENT …, and the name may have anything in it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	id, _ := strconv.Atoi(fields[1])
	return id
}
