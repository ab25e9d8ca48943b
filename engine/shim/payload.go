package shim

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
)

// A Payload is what a container is given. It prints as [sealed].
type Payload struct {
	// Env holds NAME=value. A name occurs once.
	Env []string
}

const sealed = "[sealed]"

func (Payload) String() string               { return sealed }
func (Payload) GoString() string             { return sealed }
func (Payload) LogValue() slog.Value         { return slog.StringValue(sealed) }
func (Payload) MarshalJSON() ([]byte, error) { return []byte(`"` + sealed + `"`), nil }
func (Payload) Format(f fmt.State, _ rune)   { io.WriteString(f, sealed) }

// encode returns the answer of the protocol, or an error if the kernel would accept no
// process with these variables.
func (p Payload) encode() ([]byte, error) {
	if err := CheckEnv(p.Env, nil, math.MaxUint64); err != nil {
		return nil, err
	}
	size := 5
	seen := make(map[string]bool, len(p.Env))
	for _, pair := range p.Env {
		size += 4 + len(pair)
		name := nameOf(pair)
		if seen[name] {
			return nil, fmt.Errorf("environment variable %s is set twice", name)
		}
		seen[name] = true
	}
	answer := append(make([]byte, 0, size), 0)
	answer = binary.BigEndian.AppendUint32(answer, uint32(len(p.Env)))
	for _, pair := range p.Env {
		answer = binary.BigEndian.AppendUint32(answer, uint32(len(pair)))
		answer = append(answer, pair...)
	}
	return answer, nil
}

func nameOf(pair string) string {
	for i := range len(pair) {
		if pair[i] == '=' {
			return pair[:i]
		}
	}
	return pair
}

func refusal(reason string) []byte {
	answer := binary.BigEndian.AppendUint32([]byte{1}, uint32(len(reason)))
	return append(answer, reason...)
}
