package kms

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/malote/malote/internal/xaes"
)

const (
	formatOne  = 0x01
	headerSize = 42
	overhead   = headerSize + xaes.Overhead

	formUUID = 0x00
	formMRK  = 0x01
)

// header is the part of a ciphertext that says what opens it. It comes from outside:
// nothing in it is to be believed before the tag was checked.
type header struct {
	account  string
	keyID    string
	material [16]byte
}

// parseHeader reports false for what is not a ciphertext of ours.
func parseHeader(blob []byte) (header, bool) {
	var h header
	if len(blob) < overhead || blob[0] != formatOne {
		return h, false
	}
	account := binary.BigEndian.Uint64(blob[2:])
	if account > 999_999_999_999 {
		return h, false
	}
	var both [12 + 36]byte // one string, of which each has a part
	digits, text := both[:12], both[12:]
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i], account = byte('0'+account%10), account/10
	}
	switch blob[1] {
	case formUUID:
		from := 10
		for i := 0; i < len(text); {
			if i == 8 || i == 13 || i == 18 || i == 23 {
				text[i] = '-'
				i++
				continue
			}
			hex.Encode(text[i:i+2], blob[from:from+1])
			from, i = from+1, i+2
		}
	case formMRK:
		hex.Encode(text[copy(text, "mrk-"):], blob[10:26])
	default:
		return h, false
	}
	names := string(both[:])
	h.account, h.keyID = names[:12], names[12:]
	copy(h.material[:], blob[26:])
	return h, true
}

// appendHeader is the inverse of parseHeader.
func appendHeader(dst []byte, h header) ([]byte, error) {
	account, err := strconv.ParseUint(h.account, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("account of a key: %w", err)
	}
	form, digits := byte(formUUID), strings.ReplaceAll(h.keyID, "-", "")
	if rest, ok := strings.CutPrefix(h.keyID, "mrk-"); ok {
		form, digits = formMRK, rest
	}
	id, err := hex.DecodeString(digits)
	if err != nil || len(id) != 16 {
		return nil, fmt.Errorf("key id %q has not 32 digits", h.keyID)
	}
	dst = append(dst, formatOne, form)
	dst = binary.BigEndian.AppendUint64(dst, account)
	dst = append(dst, id...)
	return append(dst, h.material[:]...), nil
}

// appendContext makes one text of an encryption context, so that equal contexts, and
// only those, have equal texts.
func appendContext(dst []byte, context map[string]string) []byte {
	var few [4]string
	keys := few[:0]
	for k := range context {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		for _, text := range [2]string{k, context[k]} {
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
			dst = append(dst, text...)
		}
	}
	return dst
}

// encrypt seals plaintext under the key's current material.
func (k *key) encrypt(plaintext []byte, context map[string]string) ([]byte, error) {
	c, err := k.compiled()
	if err != nil {
		return nil, err
	}
	if len(c.materials) == 0 || c.materials[len(c.materials)-1].cipher == nil {
		return nil, pendingImport(k.arn())
	}
	m := &c.materials[len(c.materials)-1]
	blob, err := appendHeader(make([]byte, 0, overhead+len(plaintext)), header{k.Account, k.ID, m.id})
	if err != nil {
		return nil, err
	}
	data := appendContext(append(make([]byte, 0, 256), blob...), context)
	return m.cipher.Seal(blob, plaintext, data), nil
}

// decrypt opens a blob whose header h names this key. Its error is always
// InvalidCiphertextException, or that the material is not there or the key itself broken.
func (k *key) decrypt(h header, blob []byte, context map[string]string) (plaintext []byte, materialID *string, err error) {
	c, err := k.compiled()
	if err != nil {
		return nil, nil, err
	}
	for i := range c.materials {
		m := &c.materials[i]
		if m.id != h.material {
			continue
		}
		if m.cipher == nil {
			return nil, nil, pendingImport(k.arn())
		}
		data := appendContext(append(make([]byte, 0, 256), blob[:headerSize]...), context)
		plaintext, err := m.cipher.Open(blob[headerSize:], data)
		if err != nil {
			return nil, nil, invalidCiphertext()
		}
		return plaintext, &k.Materials[i].ID, nil
	}
	return nil, nil, invalidCiphertext()
}
