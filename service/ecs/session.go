package ecs

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/datachannel"
	"github.com/malote/malote/store"
)

const (
	// handshakeWithin is how long a client, and then an engine, has to begin.
	handshakeWithin = 15 * time.Second
	// idleFor ends a session whose client says nothing: "Idle session timeout" of ECS Exec.
	idleFor = 20 * time.Minute
	// agentVersion is what clients take for the SSM agent's: one that knows the handshake.
	agentVersion = "3.3.0.0"

	outputChunk = 16 << 10
)

// session is a client, an engine, and what they say to one another. It is this control plane's
// alone, and is lost with it.
type session struct {
	id        string
	sc        scope
	cluster   string
	instance  string
	owner     string // who asked for it
	execution execution
	token     [32]byte
	expires   time.Time

	input  chan acs.ExecuteInput
	output chan acs.ExecuteOutput
	over   chan struct{} // closed at the end

	mu     sync.Mutex // guards the rest
	opened bool
	taker  string // the engine that took it
}

// sessions are those that have not ended.
type sessions struct {
	mu   sync.Mutex // guards byID
	byID map[string]*session
}

func (all *sessions) add(x *session) {
	x.input, x.output, x.over = make(chan acs.ExecuteInput), make(chan acs.ExecuteOutput), make(chan struct{})
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.byID == nil {
		all.byID = map[string]*session{}
	}
	now := time.Now()
	for id, old := range all.byID {
		if old.unopened() && now.After(old.expires) {
			delete(all.byID, id)
		}
	}
	all.byID[x.id] = x
}

func (all *sessions) get(id string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byID[id]
}

func (all *sessions) end(x *session) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byID, x.id)
	close(x.over)
}

func (x *session) unopened() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.opened
}

// open lets a client in that has the token, once and in time.
func (x *session) open(token string) bool {
	ok := x.takes(token)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !ok || x.opened || time.Now().After(x.expires) {
		return false
	}
	x.opened = true
	return true
}

// take lets one engine have an opened session.
func (x *session) take(engine string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.opened || x.taker != "" {
		return false
	}
	x.taker = engine
	return true
}

func (x *session) takenBy(engine string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.taker != "" && x.taker == engine
}

// DataChannels serves the WebSockets of sessions. Whoever has a session's token may open it.
func DataChannels(s *Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := s.sessions.get(strings.TrimPrefix(r.URL.Path, dataChannels))
		if x == nil {
			http.NotFound(w, r)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer conn.CloseNow()
		conn.SetReadLimit(datachannel.MaxMessage)
		c := &channel{s: s, x: x, conn: conn}
		if open, err := c.greet(r.Context()); err != nil {
			s.log.InfoContext(r.Context(), "a session was not opened", "session", x.id, "err", err)
			conn.Close(websocket.StatusPolicyViolation, "the session cannot be opened")
			return
		} else {
			c.open = open
		}
		s.log.InfoContext(r.Context(), "session opened", "session", x.id, "task", x.execution.Task, "container", x.execution.Container, "principal", x.owner)
		said := c.run(r.Context())
		s.log.InfoContext(r.Context(), "session closed", "session", x.id, "said", said)
		s.sessions.end(x)
		c.close(said)
	})
}

// channel is a client's end of a session.
type channel struct {
	s    *Service
	x    *session
	conn *websocket.Conn
	open *datachannel.Open

	mu       sync.Mutex // one message is written at a time
	sequence int64
}

// greet reads the first message, which has the token.
func (c *channel) greet(ctx context.Context) (*datachannel.Open, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	kind, text, err := c.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	open := new(datachannel.Open)
	if kind != websocket.MessageText || json.Unmarshal(text, open) != nil {
		return nil, errors.New("the first message is not the JSON that opens a channel")
	}
	if !c.x.open(open.TokenValue) {
		return nil, errors.New("the token is not the session's, was used, or is too old")
	}
	return open, nil
}

// run is the session. What it returns is shown to the user.
func (c *channel) run(connection context.Context) string {
	// The end of a session is not that of its connection, which then hears of it.
	ctx, cancel := context.WithCancelCause(connection)
	defer cancel(nil)
	idle := time.AfterFunc(idleFor, func() { cancel(errIdle) })
	defer idle.Stop()
	began := time.Now()
	if err := c.send(ctx, datachannel.HandshakeRequest, datachannel.Greeting(agentVersion)); err != nil {
		return ""
	}
	shaken := make(chan struct{})
	go func() { cancel(c.read(connection, ctx, shaken, func() { idle.Reset(idleFor) })) }()
	select {
	case <-shaken:
	case <-time.After(handshakeWithin):
		return "The client did not answer the handshake."
	case <-ctx.Done():
		return ""
	}
	if err := c.send(ctx, datachannel.HandshakeComplete, datachannel.Begun(time.Since(began))); err != nil {
		return ""
	}

	x := c.x
	x.execution.TTY, x.execution.At = !c.open.Pipe, c.s.now().UTC()
	key := x.sc.executionKey(x.cluster, x.instance, x.id)
	if err := c.s.store.Update(ctx, func(tx store.Tx) error { return c.s.executions.Put(tx, key, &x.execution) }); err != nil {
		c.s.log.ErrorContext(ctx, "asking an engine for a session", "session", x.id, "err", err)
		return "The command could not be run: an internal error occurred."
	}
	defer func() {
		if err := c.s.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return c.s.executions.Delete(tx, key) }); err != nil {
			c.s.log.ErrorContext(ctx, "forgetting a session", "session", x.id, "err", err)
		}
	}()
	late := time.AfterFunc(handshakeWithin, func() {
		if !x.takenByAnyone() {
			cancel(errors.New("the container's host did not answer"))
		}
	})
	defer late.Stop()
	for {
		select {
		case out := <-x.output:
			if said, ended, err := c.pass(ctx, out); ended || err != nil {
				return said
			}
		case <-ctx.Done():
			if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !isClosed(err) {
				return "Session ended: " + err.Error() + "."
			}
			return ""
		}
	}
}

func (x *session) takenByAnyone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.taker != ""
}

func isClosed(err error) bool { return errors.Is(err, io.EOF) || websocket.CloseStatus(err) != -1 }

// pass gives the client what the command wrote, or how it ended.
func (c *channel) pass(ctx context.Context, out acs.ExecuteOutput) (said string, ended bool, err error) {
	stderr := datachannel.Bytes
	if c.open.Pipe {
		stderr = datachannel.Stderr
	}
	for _, part := range []struct {
		kind datachannel.PayloadType
		text []byte
	}{{datachannel.Bytes, out.Stdout}, {stderr, out.Stderr}} {
		for chunk := range slices.Chunk(part.text, outputChunk) {
			if err := c.send(ctx, part.kind, chunk); err != nil {
				return "", false, err
			}
		}
	}
	switch {
	case out.Error != "":
		return "The command could not be run: " + out.Error, true, nil
	case out.Exit == nil:
		return "", false, nil
	case c.open.Pipe || c.open.Exit:
		return "", true, c.send(ctx, datachannel.ExitCode, fmt.Append(nil, *out.Exit))
	case *out.Exit != 0:
		return fmt.Sprintf("The command ended with exit code %d.", *out.Exit), true, nil
	}
	return "", true, nil
}

var (
	errIdle     = fmt.Errorf("it was idle for %d minutes", int(idleFor.Minutes()))
	errByClient = fmt.Errorf("ended by the client: %w", io.EOF)
	errGarbled  = errors.New("the client sent what is no message")
)

// read takes what the client says, until it says no more or the session is over, and returns why.
func (c *channel) read(connection, ctx context.Context, shaken chan struct{}, heard func()) error {
	greeted := false
	for ctx.Err() == nil {
		kind, data, err := c.conn.Read(connection)
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary {
			return errGarbled
		}
		m, err := datachannel.Decode(data)
		if err != nil {
			return errGarbled
		}
		if m.Type != datachannel.Input {
			continue // acknowledgements: a WebSocket loses nothing
		}
		heard()
		if err := c.write(connection, datachannel.Acknowledgement(m)); err != nil {
			return err
		}
		var in acs.ExecuteInput
		switch m.PayloadType {
		case datachannel.HandshakeResponse:
			if !greeted {
				greeted = true
				close(shaken)
			}
			continue
		case datachannel.Bytes:
			in.Data, in.EOF = m.Payload, m.Flags&2 != 0
		case datachannel.Size:
			var size datachannel.TerminalSize
			if json.Unmarshal(m.Payload, &size) != nil {
				return errGarbled
			}
			in.Cols, in.Rows = uint(size.Cols), uint(size.Rows)
		case datachannel.Flag:
			if len(m.Payload) == 4 && binary.BigEndian.Uint32(m.Payload) == datachannel.Terminate {
				return errByClient
			}
			continue
		default:
			continue
		}
		select {
		case c.x.input <- in:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// send sends a message of the session's own.
func (c *channel) send(ctx context.Context, kind datachannel.PayloadType, payload []byte) error {
	c.mu.Lock()
	m := datachannel.New(datachannel.Output, c.sequence, kind, payload)
	if c.sequence++; m.Sequence == 0 {
		m.Flags = 1
	}
	c.mu.Unlock()
	return c.write(ctx, m)
}

// write does not end half-way when the session does.
func (c *channel) write(ctx context.Context, m *datachannel.Message) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageBinary, m.Append(nil))
}

// close says the last word.
func (c *channel) close(said string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m := datachannel.New(datachannel.Closed, 0, 0, nil)
	m.Payload, _ = json.Marshal(datachannel.End{
		MessageType: datachannel.Closed, MessageId: datachannel.UUID(m.ID), CreatedDate: m.Created.UTC().Format(time.RFC3339),
		SessionId: c.x.id, SchemaVersion: 1, Output: said,
	})
	if c.write(ctx, m) == nil {
		c.conn.Close(websocket.StatusNormalClosure, "")
	}
}

// serveSession is an engine's end: GET tells it what the client types, POST brings what the
// command wrote.
func (s *Service) serveSession(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	_, id, _ := strings.Cut(r.URL.Path, "/acs/sessions/")
	x := s.sessions.get(id)
	if x == nil || x.sc != scopeOf(ctx) { // what is asked about below is the caller's account's
		return invalidParameter("There is no session %s.", id)
	}
	if r.Method == http.MethodPost {
		if !x.takenBy(engineOf(ctx)) {
			return accessDenied("The session is another engine's.")
		}
		var out acs.ExecuteOutput
		if err := json.NewDecoder(r.Body).Decode(&out); err != nil {
			return invalidParameter("The output is not valid JSON.")
		}
		select {
		case x.output <- out:
			w.WriteHeader(http.StatusNoContent)
			return nil
		case <-x.over:
			return invalidParameter("%s", errSessionOver)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.authorizeInstance(ctx, "ecs:Poll", x.cluster, x.instance); err != nil {
		return err
	}
	if err := s.store.View(ctx, func(tx store.Tx) error {
		i, err := s.instance(tx, x.sc, x.cluster, x.instance)
		if err != nil {
			return err
		}
		if i == nil {
			return instanceNotFound()
		}
		return i.owned(ctx, x.sc)
	}); err != nil {
		return err
	}
	if !x.take(engineOf(ctx)) {
		return invalidParameter("The session was taken before.")
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	controller, out := http.NewResponseController(w), json.NewEncoder(w)
	beat := time.NewTicker(s.heartbeat)
	defer beat.Stop()
	for {
		_ = controller.Flush()
		var in acs.ExecuteInput
		select {
		case in = <-x.input:
		case <-beat.C:
		case <-x.over:
			return nil // the answer has begun: its end says it all
		case <-ctx.Done():
			select { // the engine has gone, and the command with it
			case x.output <- acs.ExecuteOutput{Error: "the connection to the container's host was lost"}:
			case <-x.over:
			}
			return nil
		}
		_ = controller.SetWriteDeadline(time.Now().Add(writeTimeout))
		if out.Encode(in) != nil {
			return nil
		}
	}
}

// executions tells an engine of sessions that it has not heard of.
func (st *stream) executions(ctx context.Context) error {
	var all []*execution
	err := st.s.store.View(ctx, func(tx store.Tx) error {
		all = nil
		for row, err := range st.s.executions.Scan(tx, st.sc.prefix("execution", st.cluster, st.id), "") {
			if err != nil {
				return err
			}
			all = append(all, row.Value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	heard := map[string]bool{}
	for _, x := range all {
		heard[x.Session] = true
		// One that a control plane left behind when it was killed is nobody's.
		if st.heard[x.Session] || st.s.now().Sub(x.At) > openWithin {
			continue
		}
		if err := st.send(&acs.Message{Execute: &acs.Execute{
			Session: x.Session, TaskARN: x.Task, Container: x.Container, Command: x.Command, TTY: x.TTY, Endpoint: x.Endpoint,
		}}); err != nil {
			return err
		}
	}
	st.heard = heard
	return nil
}
