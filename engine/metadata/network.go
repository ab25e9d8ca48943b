package metadata

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// use says that this process listens on a network, so that no other engine of the host
// takes it away. It is a lock shared by all who do, which ends with the process.
type use struct{ file *os.File }

// lockPath is the same for every engine of a host, wherever its own directories are.
func lockPath(network string) string { return "/run/malote-network-" + network + ".lock" }

func takeUse(network string) (*use, error) {
	path := lockPath(network)
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(file, unix.LOCK_SH); err != nil {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		held, err1 := file.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(held, there) {
			return &use{file}, nil
		}
		file.Close() // the last user has just removed it
		if err := errors.Join(err1, err2); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// end gives the network up. It calls last if nobody else has it, and nobody gets it
// before that returns.
func (u *use) end(last func()) error {
	defer u.file.Close()
	if last == nil {
		return nil
	}
	err := flock(u.file, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	last()
	return os.Remove(u.file.Name())
}

func flock(file *os.File, how int) error {
	for {
		if err := unix.Flock(int(file.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// leave takes the network away if no task that was opened goes on and no other engine
// listens there. Docker keeps one that a container is on.
func (s *Server) leave() error {
	if s.use == nil {
		return nil
	}
	s.mu.Lock()
	last := s.removeNetwork
	if len(s.tasks) > 0 {
		last = nil
	}
	s.mu.Unlock()
	err := s.use.end(last)
	s.use = nil
	return err
}

func (s *Server) removeNetwork() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Docker.RemoveNetwork(ctx, s.Network.Name); err != nil {
		s.log.Info("the network of the metadata endpoint stays", "network", s.Network.Name, "why", err)
	}
}

// Attach puts a container on the network. It looks for the network first, and makes it again
// if somebody took it away, as docker network prune does: Docker lets a container that does not
// run be connected to what is not there, and only fails to start it.
func (s *Server) Attach(ctx context.Context, container string) error {
	if _, err := s.Docker.EnsureNetwork(ctx, s.Network); err != nil {
		return err
	}
	return s.Docker.Connect(ctx, s.Network.Name, container)
}
