package shim

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/malote/malote/internal/lazyregexp"
)

// Config says where and what to serve.
type Config struct {
	// Dir holds a directory for each endpoint. It is made if absent, and must be on a
	// file system from which programs may run.
	Dir string
	// InitPath is malote-init, a static executable.
	InitPath string
	// Log gets deliveries and refusals, never values. Nil discards.
	Log *slog.Logger
}

// A Server serves endpoints, one for each container.
type Server struct {
	dir, program string
	log          *slog.Logger

	mu   sync.Mutex // guards open
	open map[string]*Endpoint
}

const programFile = ".malote-init"

// New prepares the directory and copies malote-init into it, so that a container started
// today keeps its program when malote is upgraded tomorrow.
func New(config Config) (*Server, error) {
	s := &Server{dir: config.Dir, program: filepath.Join(config.Dir, programFile), log: config.Log, open: map[string]*Endpoint{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	// Others may pass but not look: runc passes as a container's root, which need
	// not be ours. Who connects is checked in any case.
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return nil, fmt.Errorf("making the directory of container sockets: %w", err)
	}
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return nil, fmt.Errorf("making the directory of container sockets: %w", err)
	}
	var mount unix.Statfs_t
	if err := unix.Statfs(s.dir, &mount); err != nil {
		return nil, fmt.Errorf("looking at %s: %w", s.dir, err)
	}
	if mount.Flags&unix.ST_NOEXEC != 0 {
		return nil, fmt.Errorf("%s is on a file system mounted noexec, from which containers could not run malote-init; choose another directory", s.dir)
	}
	if err := install(config.InitPath, s.program); err != nil {
		return nil, fmt.Errorf("installing malote-init: %w", err)
	}
	return s, nil
}

// install copies an executable in one step: either the old is there or the new.
func install(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", from)
	}
	out, err := os.CreateTemp(filepath.Dir(to), programFile+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(0o555), out.Sync(), out.Close())
	if err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

var validName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$`)

// Open serves payload to a container yet to be named by Bind. The name is the endpoint's for
// good: after a restart the same name serves the same directory.
func (s *Server) Open(name string, payload Payload) (*Endpoint, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("opening endpoint %q: the name may hold letters, digits, dots, dashes and underscores", name)
	}
	answer, err := payload.encode()
	if err != nil {
		return nil, fmt.Errorf("opening endpoint %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, fmt.Errorf("opening endpoint %s: the server is closed", name)
	}
	if s.open[name] != nil {
		return nil, fmt.Errorf("opening endpoint %s: it is open already", name)
	}
	e := &Endpoint{server: s, name: name, dir: filepath.Join(s.dir, name), answer: answer, count: len(payload.Env), clients: map[net.Conn]struct{}{}}
	if err := e.prepare(); err != nil {
		os.RemoveAll(e.dir)
		return nil, fmt.Errorf("opening endpoint %s: %w", name, err)
	}
	s.open[name] = e
	return e, nil
}

// Close stops serving. The endpoints' directories stay, since containers have them
// mounted and a new server may serve them again.
func (s *Server) Close() error {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for _, e := range open {
		e.stop()
	}
	return nil
}

// Vacate removes the program, unless an endpoint is left whose container may need it.
func (s *Server) Vacate() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("removing malote-init: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			return nil
		}
	}
	return os.RemoveAll(s.program)
}

// Sweep removes the directories of endpoints that are not open and that keep does
// not want: what a crash left behind.
func (s *Server) Sweep(keep func(name string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("sweeping endpoints: %w", err)
	}
	var failed error
	for _, entry := range entries {
		if name := entry.Name(); entry.IsDir() && validName.MatchString(name) && s.open[name] == nil && !keep(name) {
			failed = errors.Join(failed, os.RemoveAll(filepath.Join(s.dir, name)))
		}
	}
	return failed
}

func (s *Server) forget(e *Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[e.name] == e {
		delete(s.open, e.name)
	}
}
