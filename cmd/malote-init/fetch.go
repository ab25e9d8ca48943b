package main

import (
	"syscall"
	"time"
)

// request is all that a client ever says.
const request = "malote-init 1\n"

// maxAnswer bounds what is read: more than the kernel would let any command have.
const maxAnswer = 16 << 20

type text string

func (t text) Error() string { return string(t) }

// fetch asks for the environment. While nobody listens at the socket it tries again:
// the engine may be starting, and its containers outlive it.
func fetch(socket string, patience time.Duration) ([]string, error) {
	const step = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		answer, err := ask(socket)
		if err == nil {
			return decode(answer)
		}
		if waited >= patience || !away(err) && err != syscall.EAGAIN {
			return nil, err
		}
		time.Sleep(step)
	}
}

// away says whether an error is that nobody listens.
func away(err error) bool { return err == syscall.ENOENT || err == syscall.ECONNREFUSED }

func ask(socket string) ([]byte, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	limit := syscall.NsecToTimeval(int64(patience))
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit); err != nil {
		return nil, err
	}
	if err := restart(func() error { return syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}) }); err != nil {
		return nil, err
	}
	if err := restart(func() error { _, err := syscall.Write(fd, []byte(request)); return err }); err != nil && err != syscall.EPIPE {
		return nil, err
	}
	answer, err := readAll(fd)
	if err == syscall.EAGAIN {
		return nil, text("it did not answer in time")
	}
	return answer, err
}

// restart repeats a system call that a signal interrupted.
func restart(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

// decode reads an answer: a status byte and a count, then that many strings, or that many bytes of an error.
func decode(answer []byte) ([]string, error) {
	broken := text("its answer is incomplete")
	if len(answer) < 5 {
		return nil, broken
	}
	status, count, rest := answer[0], length(answer[1:]), answer[5:]
	switch status {
	case 0:
	case 1:
		if count != len(rest) {
			return nil, broken
		}
		return nil, text(rest)
	default:
		return nil, text("its answer has a status that this malote-init does not know")
	}
	if count > len(rest)/4 {
		return nil, broken
	}
	env := make([]string, 0, count)
	for range count {
		if len(rest) < 4 {
			return nil, broken
		}
		n := length(rest)
		if rest = rest[4:]; n > len(rest) {
			return nil, broken
		}
		env = append(env, string(rest[:n]))
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return nil, broken
	}
	return env, nil
}

func length(b []byte) int {
	return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
}

// readFile is os.ReadFile for less: that would add 80 kB to the program.
func readFile(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	return readAll(fd)
}

// readAll reads to the end.
func readAll(fd int) ([]byte, error) {
	all := make([]byte, 0, 64<<10)
	for {
		if len(all) == cap(all) {
			if len(all) >= maxAnswer {
				return nil, text("there is too much to read")
			}
			all = append(make([]byte, 0, 4*cap(all)), all...)
		}
		n := 0
		if err := restart(func() (err error) { n, err = syscall.Read(fd, all[len(all):cap(all)]); return err }); err != nil {
			return nil, err
		}
		if n == 0 {
			return all, nil
		}
		all = all[:len(all)+n]
	}
}
