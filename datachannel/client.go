package datachannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/coder/websocket"
)

// Client is the user's end of a session.
type Client struct {
	conn *websocket.Conn

	mu       sync.Mutex // guards sequence, and one message is written at a time
	sequence int64
}

// Dial opens a session that ExecuteCommand has begun. A nil client is http.DefaultClient.
func Dial(ctx context.Context, client *http.Client, streamURL string, open Open) (*Client, error) {
	conn, response, err := websocket.Dial(ctx, streamURL, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("opening the session: %s", response.Status)
		}
		return nil, fmt.Errorf("opening the session: %w", err)
	}
	conn.SetReadLimit(MaxMessage)
	text, err := json.Marshal(open)
	if err == nil {
		err = conn.Write(ctx, websocket.MessageText, text)
	}
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	return &Client{conn: conn}, nil
}

// Handler is told what a session says.
type Handler struct {
	Begun  func() // the command runs: input may be sent
	Stdout func([]byte) error
	Stderr func([]byte) error
}

// Run reads until the session has ended. It returns the command's exit code, if the client
// asked for it (0 else), and what the session says to the user at its end.
func (c *Client) Run(ctx context.Context, h Handler) (exit int, said string, err error) {
	for {
		kind, data, err := c.conn.Read(ctx)
		if err != nil {
			return exit, "", fmt.Errorf("the session broke off: %w", err)
		}
		if kind != websocket.MessageBinary {
			return exit, "", errors.New("the session said what is no message")
		}
		m, err := Decode(data)
		if err != nil {
			return exit, "", err
		}
		switch m.Type {
		case Closed:
			var end End
			if err := json.Unmarshal(m.Payload, &end); err != nil {
				return exit, "", fmt.Errorf("the session's end: %w", err)
			}
			c.conn.Close(websocket.StatusNormalClosure, "")
			return exit, end.Output, nil
		case Output:
		default:
			continue
		}
		if err := c.write(ctx, Acknowledgement(m)); err != nil {
			return exit, "", err
		}
		switch m.PayloadType {
		case Bytes:
			err = h.Stdout(m.Payload)
		case Stderr:
			err = h.Stderr(m.Payload)
		case ExitCode:
			exit, err = strconv.Atoi(string(m.Payload))
		case HandshakeRequest:
			err = c.Send(ctx, HandshakeResponse, Greeted("malote"), false)
		case HandshakeComplete:
			h.Begun()
		}
		if err != nil {
			return exit, "", err
		}
	}
}

// Send sends input; the last ends the command's stdin.
func (c *Client) Send(ctx context.Context, kind PayloadType, payload []byte, last bool) error {
	c.mu.Lock()
	m := New(Input, c.sequence, kind, payload)
	c.sequence++
	c.mu.Unlock()
	if m.Sequence == 0 {
		m.Flags = 1
	}
	if last {
		m.Flags |= 2
	}
	return c.write(ctx, m)
}

func (c *Client) write(ctx context.Context, m *Message) error {
	return c.conn.Write(ctx, websocket.MessageBinary, m.Append(nil))
}

// Close breaks the session off.
func (c *Client) Close() { c.conn.CloseNow() }
