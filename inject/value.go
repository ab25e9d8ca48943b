package inject

import (
	"fmt"
	"io"
	"log/slog"
)

// A Value is a secret. It prints, logs and marshals as [sealed].
type Value struct {
	secret string

	ARN       string // of the secret or parameter it came from
	VersionID string // of the secret, or the parameter's version number
}

// NewValue seals a secret.
func NewValue(secret, arn, versionID string) Value {
	return Value{secret: secret, ARN: arn, VersionID: versionID}
}

// Reveal returns the secret.
func (v Value) Reveal() string { return v.secret }

const sealed = "[sealed]"

func (Value) String() string               { return sealed }
func (Value) GoString() string             { return sealed }
func (Value) LogValue() slog.Value         { return slog.StringValue(sealed) }
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + sealed + `"`), nil }
func (Value) Format(f fmt.State, _ rune)   { io.WriteString(f, sealed) }

// Credentials log in to a registry. They print, log and marshal as [sealed].
type Credentials struct {
	Username, Password string
}

func (Credentials) String() string               { return sealed }
func (Credentials) GoString() string             { return sealed }
func (Credentials) LogValue() slog.Value         { return slog.StringValue(sealed) }
func (Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + sealed + `"`), nil }
func (Credentials) Format(f fmt.State, _ rune)   { io.WriteString(f, sealed) }
