package logs

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Router is the log router of a task: FireLens. It gets what Docker's own fluentd driver
// would send it, but masked, with long lines in one piece, and after a while if it is away.
type Router struct {
	Socket string // it makes and listens at
	Acks   bool   // it acknowledges what it has got; then nothing is lost when it restarts
	Lines  int    // that may wait for it; zero: as many as the spool has room for
}

func newRouter(o *options, s *Stream, spec Spec) (*fluentd, error) {
	s.retry.last, s.retry.lines = routerRetry, spec.Router.Lines
	path := spec.Router.Socket
	return &fluentd{
		precise: true, acks: spec.Router.Acks, lazy: true,
		dial: func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, path) },
	}, o.finish()
}

// dialSocket connects to a socket in a directory in which a container may do what it likes:
// a link there, in the place of a socket, would lead this process to any socket of the host.
// Nor does the length of the path matter this way.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("the socket of the log router: %w", err)
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("the socket of the log router: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("what is in the place of the log router's socket is none")
	}
	return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
}
