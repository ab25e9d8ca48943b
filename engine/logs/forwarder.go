package logs

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/internal/lazyregexp"
)

const (
	socketName = "logs.sock"

	// How long messages of a stream wait for it to be opened: after a restart
	// dockerd may be faster than the engine.
	openPatience = 2 * time.Minute

	// How long a stream that is closed waits for dockerd to hand over its rest, and
	// for it to say a first word: the line is long sent, but may not have been read yet.
	restPatience  = 10 * time.Second
	firstPatience = 2 * time.Second

	firstRetry, lastRetry = 250 * time.Millisecond, 30 * time.Second
	routerRetry           = 2 * time.Second // the last for a router, which has to get the rest before it is stopped
)

// Config says where a forwarder keeps its socket and its spool.
type Config struct {
	// Dir is made if absent. Only dockerd, as root, need reach it.
	Dir string
	// MemoryLimit and DiskLimit bound what waits, in bytes for each stream. Zero:
	// 1 MiB and 256 MiB.
	MemoryLimit, DiskLimit int
	// Log gets failures to ship, never lines. Nil discards.
	Log *slog.Logger
}

// Forwarder takes containers' output from Docker and ships it.
type Forwarder struct {
	Config
	log      *slog.Logger
	socket   string
	listener net.Listener
	ctx      context.Context // ends all
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex // guards the rest
	streams map[string]*Stream
	opened  chan struct{} // closed and replaced when a stream opens
	conns   map[net.Conn]struct{}
	closed  bool
}

// New begins to listen for Docker.
func New(config Config) (*Forwarder, error) {
	f := &Forwarder{Config: config, log: config.Log, streams: map[string]*Stream{}, opened: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.MemoryLimit == 0 {
		f.MemoryLimit = memoryLimit
	}
	if f.DiskLimit == 0 {
		f.DiskLimit = diskLimit
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return nil, err
	}
	f.Dir, f.socket = dir, filepath.Join(dir, socketName)
	if len(f.socket) > 107 {
		return nil, fmt.Errorf("the directory of the log forwarder, %s, is too long for a unix socket", f.Dir)
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the log forwarder: %w", err)
	}
	// Nobody listens at what an earlier process left, and nobody has the key of its spool.
	os.Remove(f.socket)
	os.RemoveAll(f.spoolDir())
	f.listener, err = net.Listen("unix", f.socket)
	if err != nil {
		return nil, fmt.Errorf("listening for Docker's logs: %w", err)
	}
	if err := os.Chmod(f.socket, 0o600); err != nil {
		f.listener.Close()
		return nil, err
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(f.accept)
	return f, nil
}

func (f *Forwarder) spoolDir() string { return filepath.Join(f.Dir, "spool") }

// Close ships what waits until ctx ends, then stops. The error says what was lost.
func (f *Forwarder) Close(ctx context.Context) error {
	f.mu.Lock()
	var open []*Stream
	for _, s := range f.streams {
		open = append(open, s)
	}
	f.mu.Unlock()
	for _, s := range open {
		if s.multi != nil {
			s.multi.last(func(e entry) error { return s.spool.add(ctx, e, false) })
		}
		s.spool.close()
	}
	lost := 0
	for _, s := range open {
		select {
		case <-s.shipped:
		case <-ctx.Done():
			lost += s.spool.waiting()
		}
	}
	f.cancel()
	f.mu.Lock()
	f.closed = true
	for conn := range f.conns {
		conn.Close()
	}
	f.mu.Unlock()
	f.listener.Close()
	f.running.Wait()
	os.RemoveAll(f.spoolDir())
	if lost > 0 {
		return fmt.Errorf("closing the log forwarder: lines could not be shipped in time and are lost: %d", lost)
	}
	return nil
}

// Spec is the log configuration of a container.
type Spec struct {
	Driver  string            // splunk, fluentd, awslogs or awsfirelens
	Options map[string]string // as the task definition has them
	Secrets map[string]string // the values of secretOptions, by name; they win
	Mask    []string          // the task's values
	Host    string            // for splunk's "host"; empty: the host's name
	// For awslogs: who ships, by which the control plane is reached, what the stream is
	// named after, and whether the container runs already, so that a far end that is away
	// is no reason to stop it.
	AWS               aws.Config
	TaskID, Container string
	Found             bool
	Router            Router // for awsfirelens
	// Output, if set, gets each line, masked, as it comes.
	Output func(source string, line []byte)
}

// String and the like say nothing, since a Spec holds values.
func (Spec) String() string             { return "[sealed]" }
func (Spec) GoString() string           { return "[sealed]" }
func (Spec) LogValue() slog.Value       { return slog.StringValue("[sealed]") }
func (Spec) Format(s fmt.State, _ rune) { io.WriteString(s, "[sealed]") }

// A destination takes entries. It returns a *rejected for what it will never take.
type destination interface {
	verify(ctx context.Context) error
	ship(ctx context.Context, entries []entry) error
	close()
}

// rejected is an error that trying again will not cure.
type rejected struct{ error }

// A Stream is one container's output.
type Stream struct {
	forwarder *Forwarder
	name      string
	tag       string // as the user has it
	options   map[string]string
	secrets   []string // of its options
	masker    atomic.Pointer[masker]
	output    func(string, []byte)
	spool     *spool
	to        destination
	retry     retryPolicy
	multi     *multiline      // nil: a line is a message
	pause     time.Duration   // between shipments, for there to be more in each
	shipped   chan struct{}   // closed when all is
	far       context.Context // ends when there is no far end any more
	abandon   context.CancelFunc
	lost      int // lines that shipAll dropped for that

	mu    sync.Mutex // guards the rest
	conns int        // of dockerd, now
	joins int        // and ever
	heard chan struct{}
	parts map[string]*partial
}

type retryPolicy struct {
	first time.Duration
	last  time.Duration // zero: lastRetry
	most  int           // attempts; zero is for ever
	lines int           // that may wait; zero is what fits into the spool
}

// partial is a line that Docker has split, as far as it has come.
type partial struct {
	entry entry
	text  string
}

var validName = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$`)

// Open makes a stream. The name is the container's for good: opened again after a
// restart, it goes on with what Docker has kept. It fails if the options are
// wrong or, as with Docker, if the far end does not answer and is to be verified.
func (f *Forwarder) Open(ctx context.Context, name string, spec Spec) (*Stream, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("opening log %q: the name may hold letters, digits, dots, dashes and underscores", name)
	}
	if spec.Driver != "awslogs" && spec.Driver != "awsfirelens" {
		if err := Check(spec.Driver); err != nil {
			return nil, err
		}
	}
	o := newOptions(spec)
	s := &Stream{
		forwarder: f, name: name, tag: o.text("tag", "{{.ID}}"), options: map[string]string{}, output: spec.Output,
		shipped: make(chan struct{}), heard: make(chan struct{}), parts: map[string]*partial{}, retry: retryPolicy{first: firstRetry},
	}
	for _, name := range dockerOptions {
		if value, ok := o.values[name]; ok && name != "tag" {
			s.options[name] = value
		}
	}
	var err error
	switch spec.Driver {
	case "splunk":
		s.to, err = newSplunk(o, spec.Host)
	case "awslogs":
		s.to, err = newAwslogs(o, s, spec)
	case "awsfirelens":
		s.to, err = newRouter(o, s, spec)
	default:
		s.to, err = newFluentd(o, s)
	}
	if err != nil {
		return nil, err
	}
	// The token is masked as well: a program may print what it was configured with.
	for _, value := range spec.Secrets {
		s.secrets = append(s.secrets, value)
	}
	s.Mask(spec.Mask)
	if err := s.to.verify(ctx); err != nil {
		s.to.close()
		if spec.Driver == "awslogs" {
			return nil, err // in AWS's words
		}
		return nil, fmt.Errorf("log driver %s: %w", spec.Driver, err)
	}
	if s.spool, err = newSpool(filepath.Join(f.spoolDir(), name), f.MemoryLimit, f.DiskLimit); err != nil {
		return nil, err
	}
	s.spool.most = s.retry.lines
	s.far, s.abandon = context.WithCancel(f.ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.streams[name] != nil {
		s.abandon()
		s.to.close()
		return nil, fmt.Errorf("opening log %s: it is open already, or the forwarder is closed", name)
	}
	f.streams[name] = s
	close(f.opened)
	f.opened = make(chan struct{})
	f.running.Go(s.shipAll)
	return s, nil
}

// Mask replaces the task's values, which are to be kept out of lines.
func (s *Stream) Mask(values []string) {
	s.masker.Store(newMasker(slices.Concat(values, s.secrets)))
}

// Docker is the log driver that the container gets, and its options. None is a secret.
func (s *Stream) Docker() (driver string, options map[string]string) {
	options = maps.Clone(s.options)
	maps.Copy(options, map[string]string{
		"fluentd-address": "unix://" + s.forwarder.socket,
		// Asynchronous, Docker's driver throws away what it has not sent when the
		// container ends (ForceStopAsyncSend): most of a burst.
		"fluentd-async":                "false",
		"fluentd-sub-second-precision": "true",
		"fluentd-retry-wait":           "250ms",
		// While no engine listens Docker tries again with pauses of up to a minute. Past 108
		// attempts at one line its arithmetic overflows and it would try without pause.
		"fluentd-max-retries": "100",
		"cache-disabled":      "true", // else Docker keeps a plain copy for "docker logs"
		// Docker renders the user's tag; what is before it names the stream.
		"tag": s.name + "|" + s.tag,
	})
	return "fluentd", options
}

// Close ends the stream of a container that has gone: once dockerd has handed over its
// rest and all is shipped, in the background.
func (s *Stream) Close() {
	s.forwarder.running.Go(func() {
		rest, first := time.NewTimer(restPatience), time.NewTimer(firstPatience)
		defer rest.Stop()
		defer first.Stop()
		for wait := true; wait; {
			s.mu.Lock()
			conns, joins, heard := s.conns, s.joins, s.heard
			s.mu.Unlock()
			if conns == 0 && joins > 0 {
				break
			}
			select {
			case <-heard:
			case <-rest.C:
				wait = false
			case <-first.C:
				wait = conns > 0
			case <-s.forwarder.ctx.Done():
				wait = false
			}
		}
		s.flush()
		s.spool.close()
	})
}

// Abandon says that the far end is gone for good: what is not shipped is dropped, and the
// log says how much that was. The stream still has to be closed.
func (s *Stream) Abandon() { s.abandon() }

// Shipped is closed when a closed stream has shipped all it had.
func (s *Stream) Shipped() <-chan struct{} { return s.shipped }

func (f *Forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			f.log.Error("accepting Docker's logs", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-f.ctx.Done():
			}
			continue
		}
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			conn.Close()
			return
		}
		f.conns[conn] = struct{}{}
		f.mu.Unlock()
		f.running.Go(func() { f.receive(conn) })
	}
}

// receive reads one container's messages: dockerd has a connection for each.
func (f *Forwarder) receive(conn net.Conn) {
	var of *Stream
	defer func() {
		f.mu.Lock()
		delete(f.conns, conn)
		f.mu.Unlock()
		conn.Close()
		if of != nil {
			of.joined(-1)
		}
	}()
	d := decoder{bufio.NewReaderSize(conn, 64<<10)}
	for {
		m, err := d.message()
		if err != nil {
			if err != io.EOF && f.ctx.Err() == nil {
				f.log.Error("reading Docker's logs", "err", err)
			}
			return
		}
		name, tag, _ := strings.Cut(m.tag, "|")
		if of == nil || of.name != name {
			if of != nil {
				of.joined(-1)
			}
			if of = f.stream(name); of == nil {
				f.log.Error("lines of a container that has no log here are dropped", "log", name)
				return
			}
			of.joined(+1)
		}
		if err := of.receive(m, tag); err != nil {
			if f.ctx.Err() == nil && !errors.Is(err, errClosed) {
				f.log.Error("keeping a line", "log", name, "err", err)
			}
			return
		}
		if m.chunk != "" {
			if _, err := conn.Write(appendText(appendText(appendMap(nil, 1), "ack"), m.chunk)); err != nil {
				return
			}
		}
	}
}

// stream returns the stream of a name, waiting for it to be opened.
func (f *Forwarder) stream(name string) *Stream {
	deadline := time.NewTimer(openPatience)
	defer deadline.Stop()
	for {
		f.mu.Lock()
		s, opened := f.streams[name], f.opened
		f.mu.Unlock()
		if s != nil {
			return s
		}
		select {
		case <-opened:
		case <-deadline.C:
			return nil
		case <-f.ctx.Done():
			return nil
		}
	}
}

func (s *Stream) joined(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns += n
	s.joins += max(n, 0)
	close(s.heard)
	s.heard = make(chan struct{})
}

// receive takes one message of Docker's driver: a line, or a part of one.
func (s *Stream) receive(m message, tag string) error {
	e := entry{Time: m.time, Source: m.record["source"], Tag: tag, ID: m.record["container_id"], Name: m.record["container_name"]}
	line := m.record["log"]
	part := m.record["partial_message"] == "true"
	last := m.record["partial_last"] == "true"
	id := m.record["partial_id"]
	for _, known := range []string{"source", "log", "container_id", "container_name", "partial_message", "partial_id", "partial_ordinal", "partial_last"} {
		delete(m.record, known)
	}
	if len(m.record) > 0 {
		e.Attrs = m.record
		for name, value := range e.Attrs {
			e.Attrs[name] = s.masker.Load().mask(value)
		}
	}
	if part && !s.join(&e, id, line, last) {
		return nil
	} else if !part {
		e.Line = s.masker.Load().mask(line)
	}
	return s.keep(e)
}

// join adds a part to its line. It returns true with what there is to ship.
func (s *Stream) join(e *entry, id, part string, last bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[id]
	if p == nil {
		p = &partial{entry: *e}
		s.parts[id] = p
	}
	p.text += part
	switch {
	case last:
		delete(s.parts, id)
		e.Line = s.masker.Load().mask(p.text)
		return true
	case len(p.text) > maxLine+s.masker.Load().longest:
		// Too long to join: what is here goes, but for an end that may be the
		// beginning of a value.
		p.text = s.masker.Load().mask(p.text)
		cut := len(p.text) - s.masker.Load().longest
		if cut < maxLine/2 {
			return false
		}
		e.Line, p.text = p.text[:cut], p.text[cut:]
		return true
	}
	return false
}

// flush ships lines whose end never came.
func (s *Stream) flush() {
	s.mu.Lock()
	parts := s.parts
	s.parts = map[string]*partial{}
	s.mu.Unlock()
	for _, p := range parts {
		p.entry.Line = s.masker.Load().mask(p.text)
		s.keep(p.entry)
	}
	if s.multi != nil {
		s.multi.flush(s.push)
	}
}

func (s *Stream) keep(e entry) error {
	if s.output != nil {
		s.output(e.Source, []byte(e.Line))
	}
	if s.multi != nil {
		return s.multi.add(e, s.push)
	}
	return s.push(e)
}

func (s *Stream) push(e entry) error { return s.spool.push(s.forwarder.ctx, e) }

const maxLine = 1 << 20

// shipAll ships until the stream is closed and empty, or the forwarder ends.
func (s *Stream) shipAll() {
	f := s.forwarder
	defer func() {
		s.abandon()
		s.to.close()
		s.spool.close()
		s.spool.remove()
		if s.lost > 0 {
			f.log.Error("lines are lost", "log", s.name, "lines", s.lost)
		}
		f.mu.Lock()
		delete(f.streams, s.name)
		f.mu.Unlock()
		close(s.shipped)
	}()
	log := f.log.With("log", s.name)
	for {
		entries, err := s.spool.take(f.ctx)
		switch {
		case f.ctx.Err() != nil:
			return
		case err != nil:
			log.Error("lines are lost", "err", err, "lines", s.spool.drop())
			continue
		case entries == nil:
			return
		}
		if !s.ship(log, entries) {
			return
		}
		s.spool.drop()
		if s.pause > 0 {
			s.spool.gather(f.ctx, s.pause)
		}
	}
}

// ship tries until entries are shipped or cannot be. It returns false when the
// forwarder ends before.
func (s *Stream) ship(log *slog.Logger, entries []entry) bool {
	wait, failures := s.retry.first, 0
	for {
		err := s.far.Err()
		if err == nil {
			err = s.to.ship(s.far, entries)
		}
		if err == nil {
			if failures > 0 {
				log.Info("shipping again", "failures", failures)
			}
			return true
		}
		if s.forwarder.ctx.Err() != nil {
			return false
		}
		if s.far.Err() != nil {
			if s.lost == 0 {
				log.Error("there is no far end any more: lines are dropped")
			}
			s.lost += len(entries)
			return true
		}
		if _, never := errors.AsType[rejected](err); never {
			if len(entries) == 1 {
				log.Error("the far end refuses a line, which is dropped", "err", err)
				return true
			}
			// One of them may be to blame.
			half := len(entries) / 2
			return s.ship(log, entries[:half]) && s.ship(log, entries[half:])
		}
		failures++
		if s.retry.most > 0 && failures >= s.retry.most {
			log.Error("gave up shipping after as many attempts as the options allow", "err", err, "lines", len(entries))
			return true
		}
		// The first failure is news, and then each that comes after long waits.
		if failures == 1 || wait >= lastRetry {
			log.Warn("shipping failed and is tried again", "err", err, "failures", failures, "waiting", s.spool.waiting())
		}
		select {
		case <-time.After(wait):
		case <-s.far.Done():
		}
		wait = min(2*wait, cmp.Or(s.retry.last, lastRetry))
	}
}
