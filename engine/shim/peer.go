package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

type peer struct {
	pid int
	uid uint32
}

// checkPeer finds who connected, and whether that process lives in a container.
//
// A pid alone could by now be somebody else's. The kernel keeps a pidfd of
// who connected (Linux 6.5); before that one is opened here. Either way the process
// behind it is seen to hold its pid after its cgroup was read, so what was read was
// about it.
func checkPeer(conn *net.UnixConn, container string) (peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	pidfd := -1
	control := raw.Control(func(fd uintptr) {
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		if fd, absent := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); absent == nil {
			pidfd = fd
		}
	})
	if err = errors.Join(err, control); err != nil {
		return peer{}, fmt.Errorf("asking who connected: %w", err)
	}
	who := peer{int(cred.Pid), cred.Uid}
	if pidfd >= 0 {
		defer func() { unix.Close(pidfd) }()
	}
	if who.pid <= 0 {
		return who, errors.New("the process is in a pid namespace that the engine does not see; run the engine in the host's")
	}
	if pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(who.pid, 0); err != nil {
			return who, fmt.Errorf("process %d is gone: %w", who.pid, err)
		}
		defer unix.Close(pidfd)
	}
	theirs, err := os.ReadFile("/proc/" + strconv.Itoa(who.pid) + "/cgroup")
	if err != nil {
		return who, fmt.Errorf("process %d is gone: %w", who.pid, err)
	}
	ours, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return who, err
	}
	if alive, err := pidOf(pidfd); err != nil || alive != who.pid {
		return who, fmt.Errorf("process %d is gone", who.pid)
	}
	got, ok := containerOf(string(theirs), string(ours))
	switch {
	case !ok:
		return who, errors.New("the process is in no container")
	case got != container:
		return who, fmt.Errorf("the process is in container %s", got)
	}
	return who, nil
}

// pidOf returns the pid of the process that a pidfd stands for, -1 once it is gone.
func pidOf(pidfd int) (int, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(info)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, errors.New("no pid in fdinfo")
}

// containerOf finds the container that a process is in from its
// /proc/PID/cgroup, version 1 or 2, with either of Docker's drivers. That is the
// outermost container of the path that we ourselves are not in: a
// cgroup that a container makes within its own, however it is named, is
// still that container's. All hierarchies that name a container must agree.
func containerOf(theirs, ours string) (id string, ok bool) {
	mine := map[string]bool{}
	for _, path := range cgroupPaths(ours) {
		for part := range strings.SplitSeq(path, "/") {
			mine[part] = true
		}
	}
	for _, path := range cgroupPaths(theirs) {
		for part := range strings.SplitSeq(path, "/") {
			candidate := part
			if rest, scoped := strings.CutSuffix(part, ".scope"); scoped {
				candidate = rest[strings.LastIndexByte(rest, '-')+1:]
			}
			if !isContainerID(candidate) || mine[part] {
				continue
			}
			if id != "" && id != candidate {
				return "", false
			}
			id = candidate
			break
		}
	}
	return id, id != ""
}

// cgroupPaths takes the third field of lines like "4:memory:/docker/ID".
func cgroupPaths(file string) []string {
	var paths []string
	for line := range strings.Lines(file) {
		if fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(fields) == 3 {
			paths = append(paths, fields[2])
		}
	}
	return paths
}

func isContainerID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// InContainer reports whether a process of the host is in a container.
func InContainer(pid int, container string) bool {
	theirs, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	ours, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	got, ok := containerOf(string(theirs), string(ours))
	return ok && got == container
}
