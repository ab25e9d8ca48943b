package directory

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"errors"
	"io"
)

// ErrMessage says that a text is no message, or another account's.
var ErrMessage = errors.New("directory: not a message of this account")

// A message is, in base64 for URLs: one byte of format, and the text, deflated in format 2,
// sealed by XAES-256-GCM with format and account as associated data. Its key is derived from
// that of session tokens. To deflate takes a hundred times as long as to seal, so that is
// for texts that would be long otherwise.
const (
	messagePlain    = 1
	messageDeflated = 2

	deflateMessageFrom = 2900     // bytes of text: some 3,900 in base64
	maxMessage         = 64 << 10 // bytes of text
)

// SealMessage makes of a text what only OpenMessage for the same account can read.
func (d *Directory) SealMessage(ctx context.Context, account string, text []byte) (string, error) {
	s, err := d.sealer(ctx)
	if err != nil {
		return "", err
	}
	format := byte(messagePlain)
	if len(text) >= deflateMessageFrom {
		format = messageDeflated
		if text, err = deflate(text); err != nil {
			return "", err
		}
	}
	return base64.RawURLEncoding.EncodeToString(s.messages.Seal([]byte{format}, text, bound(format, account))), nil
}

// OpenMessage is the text that was sealed for the account, or ErrMessage.
func (d *Directory) OpenMessage(ctx context.Context, account, message string) ([]byte, error) {
	s, err := d.sealer(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(message)
	if err != nil || len(raw) == 0 || raw[0] != messagePlain && raw[0] != messageDeflated {
		return nil, ErrMessage
	}
	text, err := s.messages.Open(raw[1:], bound(raw[0], account))
	if err == nil && raw[0] == messageDeflated {
		text, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(text)), maxMessage))
	}
	if err != nil {
		return nil, ErrMessage
	}
	return text, nil
}
