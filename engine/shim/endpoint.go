package shim

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	request    = "malote-init 1\n"
	socketFile = "socket"

	// A client has asked and read within this time, or is cut off.
	patience = 30 * time.Second

	// maxClients bounds the connections that one container may hold open.
	maxClients = 32
)

// An Endpoint serves one container.
type Endpoint struct {
	server    *Server
	name, dir string
	running   sync.WaitGroup

	mu        sync.Mutex // guards the rest
	container string
	listener  *net.UnixListener // nil until bound
	answer    []byte
	count     int // of its variables
	clients   map[net.Conn]struct{}
	stopped   bool
}

// Dir is the host's directory to mount at MountPoint, read-only.
func (e *Endpoint) Dir() string { return e.dir }

// Name is the name it was opened with.
func (e *Endpoint) Name() string { return e.name }

// Bind says which container, by its full id, may ask, and begins to listen. Before
// there is no socket, and a malote-init that is started early waits for it.
func (e *Endpoint) Bind(containerID string) error {
	if !isContainerID(containerID) {
		return fmt.Errorf("binding endpoint %s: %q is not a full container id", e.name, containerID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.stopped:
		return fmt.Errorf("binding endpoint %s: it is closed", e.name)
	case e.container == containerID:
		return nil
	case e.container != "":
		return fmt.Errorf("binding endpoint %s: it belongs to container %s already", e.name, e.container)
	}
	listener, err := listen(e.dir)
	if err != nil {
		return fmt.Errorf("binding endpoint %s: %w", e.name, err)
	}
	e.container, e.listener = containerID, listener
	e.running.Go(func() { e.serve(listener) })
	return nil
}

// Replace has those who ask from now on be given payload.
func (e *Endpoint) Replace(payload Payload) error {
	answer, err := payload.encode()
	if err != nil {
		return fmt.Errorf("replacing what endpoint %s serves: %w", e.name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		clear(answer)
		return fmt.Errorf("replacing what endpoint %s serves: it is closed", e.name)
	}
	clear(e.answer)
	e.answer, e.count = answer, len(payload.Env)
	return nil
}

// Close stops serving and removes the directory.
func (e *Endpoint) Close() error {
	e.stop()
	e.server.forget(e)
	if err := os.RemoveAll(e.dir); err != nil {
		return fmt.Errorf("closing endpoint %s: %w", e.name, err)
	}
	return nil
}

func (e *Endpoint) stop() {
	e.mu.Lock()
	e.stopped = true
	clear(e.answer)
	e.answer = nil
	if e.listener != nil {
		e.listener.Close()
	}
	for conn := range e.clients {
		conn.Close()
	}
	e.mu.Unlock()
	e.running.Wait()
}

// prepare makes the directory, or takes over one that a container has mounted.
func (e *Endpoint) prepare() error {
	if err := os.Mkdir(e.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chmod(e.dir, 0o755); err != nil {
		return err
	}
	if err := os.Link(e.server.program, filepath.Join(e.dir, "init")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// What an earlier server left; nobody listens there.
	if err := os.Remove(filepath.Join(e.dir, socketFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func listen(path string) (*net.UnixListener, error) {
	// A socket's path is 107 bytes long at most; through the open directory any
	// length will do.
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	short := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + socketFile
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(filepath.Join(path, socketFile), 0o666); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func (e *Endpoint) serve(listener *net.UnixListener) {
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			e.server.log.Error("accepting on a container's socket", "endpoint", e.name, "err", err)
			time.Sleep(100 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		if !e.admit(conn) {
			conn.Close()
			continue
		}
		e.running.Go(func() {
			defer e.dismiss(conn)
			e.answerTo(conn)
		})
	}
}

func (e *Endpoint) admit(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped || len(e.clients) >= maxClients {
		return false
	}
	e.clients[conn] = struct{}{}
	return true
}

func (e *Endpoint) dismiss(conn net.Conn) {
	e.mu.Lock()
	delete(e.clients, conn)
	e.mu.Unlock()
	conn.Close()
}

func (e *Endpoint) answerTo(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(patience))
	e.mu.Lock()
	container := e.container
	// A copy, because Close and Replace wipe the original while this is being written.
	answer, count := append([]byte(nil), e.answer...), e.count
	e.mu.Unlock()
	defer clear(answer)

	peer, refused := checkPeer(conn, container)
	log := e.server.log.With("endpoint", e.name, "container", container, "pid", peer.pid, "uid", peer.uid)
	// What was said is read even from those refused: closing over unread bytes
	// would reset the connection before they have the reason.
	said := make([]byte, len(request))
	_, err := io.ReadFull(conn, said)
	switch {
	case refused != nil:
		log.Warn("refused to hand over an environment", "err", refused)
		conn.Write(refusal("this process is not in the container that the environment belongs to"))
		return
	case err != nil:
		log.Warn("client of a container's socket said nothing", "err", err)
		return
	case string(said) != request:
		log.Warn("client of a container's socket speaks another protocol")
		conn.Write(refusal("this engine speaks version 1 of the protocol"))
		return
	}
	if len(answer) == 0 {
		return // closing
	}
	if _, err := conn.Write(answer); err != nil {
		log.Warn("handing over an environment", "err", err)
		return
	}
	log.Info("handed over an environment", "variables", count)
}
