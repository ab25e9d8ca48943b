// Package datachannel is what a client and a session say to one another over the WebSocket of
// ECS Exec: the binary messages of AWS Systems Manager's data channel, as session-manager-plugin
// speaks them.
//
// It promises that what Append made Decode reads, and that Decode takes nothing that is damaged.
// It opens no connection and runs nothing.
//
// Source: github.com/aws/session-manager-plugin, its message and service packages.
package datachannel

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Types of messages.
const (
	Input       = "input_stream_data"
	Output      = "output_stream_data"
	Acknowledge = "acknowledge"
	Closed      = "channel_closed"
	Start       = "start_publication"
	Pause       = "pause_publication"
)

// PayloadType says what the payload of Input or Output is.
type PayloadType uint32

const (
	Bytes             PayloadType = 1
	Size              PayloadType = 3 // of the terminal, as TerminalSize in JSON
	HandshakeRequest  PayloadType = 5
	HandshakeResponse PayloadType = 6
	HandshakeComplete PayloadType = 7
	Flag              PayloadType = 10 // four bytes: Terminate
	Stderr            PayloadType = 11 // as Bytes; for clients that tell it from stdout
	ExitCode          PayloadType = 12 // decimal text; for clients that ask for it
)

// Terminate is the flag by which a client ends a session.
const Terminate = 2

const (
	headerSize  = 116 // up to the payload's length
	payloadAt   = headerSize + 4
	typeSize    = 32
	maxPayload  = 1 << 20
	schema      = 1
	MaxMessage  = payloadAt + maxPayload
	ID          = 16
	digestStart = 80
)

// Message is one.
type Message struct {
	Type        string
	Created     time.Time // to the millisecond
	Sequence    int64     // of Input and Output: from 0, for each direction
	Flags       uint64    // 1 for the first, 2 for the last
	ID          [ID]byte
	PayloadType PayloadType
	Payload     []byte
}

// New makes a message with an id.
func New(kind string, sequence int64, payloadType PayloadType, payload []byte) *Message {
	m := &Message{Type: kind, Created: time.Now(), Sequence: sequence, PayloadType: payloadType, Payload: payload}
	rand.Read(m.ID[:])
	m.ID[6], m.ID[8] = m.ID[6]&0x0f|0x40, m.ID[8]&0x3f|0x80
	return m
}

// Append appends the message's bytes to b.
func (m *Message) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, headerSize)
	b = append(b, m.Type...)
	b = append(b, strings.Repeat(" ", typeSize-len(m.Type))...)
	b = binary.BigEndian.AppendUint32(b, schema)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Created.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Sequence))
	b = binary.BigEndian.AppendUint64(b, m.Flags)
	b = append(b, m.ID[8:]...) // the less significant half goes first
	b = append(b, m.ID[:8]...)
	digest := sha256.Sum256(m.Payload)
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(m.PayloadType))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Payload)))
	return append(b, m.Payload...)
}

// Decode reads a message. Its payload is a part of b.
func Decode(b []byte) (*Message, error) {
	if len(b) < payloadAt {
		return nil, fmt.Errorf("datachannel: a message of %d bytes is too short", len(b))
	}
	if n := binary.BigEndian.Uint32(b); n != headerSize {
		return nil, fmt.Errorf("datachannel: a header of %d bytes is not known", n)
	}
	m := &Message{
		Type:        strings.TrimRight(string(b[4:4+typeSize]), " \x00"),
		Created:     time.UnixMilli(int64(binary.BigEndian.Uint64(b[40:]))),
		Sequence:    int64(binary.BigEndian.Uint64(b[48:])),
		Flags:       binary.BigEndian.Uint64(b[56:]),
		PayloadType: PayloadType(binary.BigEndian.Uint32(b[112:])),
		Payload:     b[payloadAt:],
	}
	copy(m.ID[8:], b[64:72])
	copy(m.ID[:8], b[72:80])
	if n := binary.BigEndian.Uint32(b[headerSize:]); uint64(n) != uint64(len(m.Payload)) {
		return nil, fmt.Errorf("datachannel: the payload has %d bytes and not %d", len(m.Payload), n)
	}
	if digest := sha256.Sum256(m.Payload); !bytes.Equal(digest[:], b[digestStart:digestStart+sha256.Size]) {
		return nil, errors.New("datachannel: the payload does not fit its digest")
	}
	return m, nil
}

// UUID is an id as text.
func UUID(id [ID]byte) string {
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// Acknowledgement is the answer to m.
func Acknowledgement(m *Message) *Message {
	payload, _ := json.Marshal(acknowledgement{m.Type, UUID(m.ID), m.Sequence, true}) // strings and numbers do not fail
	out := New(Acknowledge, 0, 0, payload)
	out.Flags = 3
	return out
}

type acknowledgement struct {
	AcknowledgedMessageType           string
	AcknowledgedMessageId             string
	AcknowledgedMessageSequenceNumber int64
	IsSequentialMessage               bool
}

// Open is the first thing that a client says, as JSON text.
type Open struct {
	MessageSchemaVersion string
	RequestId            string // a UUID
	TokenValue           string // that ExecuteCommand answered; good once
	ClientId             string
	ClientVersion        string

	// Pipe, which is malote's own, asks for no terminal: stdout and stderr come apart as they
	// are, and ExitCode before the end.
	Pipe bool `json:",omitempty"`
	// Exit, which is malote's own, asks for ExitCode.
	Exit bool `json:",omitempty"`
}

// TerminalSize is the payload of Size.
type TerminalSize struct {
	Cols uint32 `json:"cols"`
	Rows uint32 `json:"rows"`
}

// End is the payload of Closed.
type End struct {
	MessageType   string
	MessageId     string
	CreatedDate   string
	DestinationId string
	SessionId     string
	SchemaVersion int
	Output        string // to be shown to the user
}

// Greeting is the payload of HandshakeRequest; the session is a stream with nothing on top.
func Greeting(version string) []byte {
	text, _ := json.Marshal(map[string]any{
		"AgentVersion": version,
		"RequestedClientActions": []any{map[string]any{
			"ActionType": "SessionType", "ActionParameters": map[string]any{"SessionType": "Standard_Stream", "Properties": map[string]any{}},
		}},
	})
	return text
}

// Greeted is the payload of HandshakeResponse.
func Greeted(version string) []byte {
	text, _ := json.Marshal(map[string]any{
		"ClientVersion":          version,
		"ProcessedClientActions": []any{map[string]any{"ActionType": "SessionType", "ActionStatus": 1}},
	})
	return text
}

// Begun is the payload of HandshakeComplete.
func Begun(took time.Duration) []byte {
	text, _ := json.Marshal(map[string]any{"HandshakeTimeToComplete": took.Nanoseconds(), "CustomerMessage": ""})
	return text
}
