package ssm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// An advanced SecureString is a message of the AWS Encryption SDK, format 1.0: unframed,
// algorithm suite 0x0178 (AES-256-GCM, HKDF with SHA-256, unsigned), one data key of the
// provider aws-kms. Whoever may kms:Decrypt reads it with any Encryption SDK.
//
// https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html
const (
	messageVersion = 0x01
	messageType    = 0x80
	messageSuite   = 0x0178
	contentWhole   = 0x01 // not framed
	ivSize         = 12
	tagSize        = 16
	idSize         = 16
	provider       = "aws-kms"
	bodyPurpose    = "AWSKMSEncryptionClient Single Block"
)

var errMessage = errors.New("not a message of the AWS Encryption SDK, or damaged")

// envelope encrypts value under a data key, which goes along in its encrypted form.
func envelope(keyARN string, encryptedKey, key []byte, context map[string]string, value []byte) ([]byte, error) {
	id := make([]byte, idSize)
	rand.Read(id) // never fails
	b := []byte{messageVersion, messageType}
	b = binary.BigEndian.AppendUint16(b, messageSuite)
	b = append(b, id...)
	b = appendField(b, string(encodeContext(context)))
	b = binary.BigEndian.AppendUint16(b, 1)
	b = appendField(b, provider)
	b = appendField(b, keyARN)
	b = appendField(b, string(encryptedKey))
	b = append(b, contentWhole, 0, 0, 0, 0, ivSize)
	b = binary.BigEndian.AppendUint32(b, 0) // length of a frame

	aead, err := messageAEAD(key, id)
	if err != nil {
		return nil, err
	}
	// The derived key is this message's alone, so these two fixed IVs are never used again.
	header, iv := b, make([]byte, ivSize)
	b = append(b, iv...)
	b = aead.Seal(b, iv, nil, header)
	iv[ivSize-1] = 1
	b = append(b, iv...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(value)))
	return aead.Seal(b, iv, value, bodyAssociated(id, len(value))), nil
}

// message is what parseEnvelope has read, nothing of which is authenticated yet.
type message struct {
	id, header, headerIV, headerTag []byte
	context                         []byte
	dataKey                         []byte // encrypted
	iv, body                        []byte // body ends with its tag
}

func parseEnvelope(b []byte) (*message, error) {
	r := reader{rest: b}
	m := &message{}
	if r.byte() != messageVersion || r.byte() != messageType || r.uint16() != messageSuite {
		return nil, errMessage
	}
	m.id = r.take(idSize)
	m.context = r.field()
	if r.uint16() != 1 || string(r.field()) != provider {
		return nil, errMessage
	}
	r.field() // the key's ARN
	m.dataKey = r.field()
	if r.byte() != contentWhole || r.uint32() != 0 || r.byte() != ivSize || r.uint32() != 0 || r.failed {
		return nil, errMessage
	}
	m.header = b[:len(b)-len(r.rest)]
	m.headerIV, m.headerTag = r.take(ivSize), r.take(tagSize)
	m.iv = r.take(ivSize)
	size := r.uint64()
	if r.failed || uint64(len(r.rest)) < tagSize || size != uint64(len(r.rest)-tagSize) {
		return nil, errMessage
	}
	m.body = r.rest
	return m, nil
}

func (m *message) open(key []byte, context map[string]string) ([]byte, error) {
	if !bytes.Equal(m.context, encodeContext(context)) {
		return nil, errMessage
	}
	aead, err := messageAEAD(key, m.id)
	if err != nil {
		return nil, err
	}
	if _, err := aead.Open(nil, m.headerIV, m.headerTag, m.header); err != nil {
		return nil, errMessage
	}
	value, err := aead.Open(nil, m.iv, m.body, bodyAssociated(m.id, len(m.body)-tagSize))
	if err != nil {
		return nil, errMessage
	}
	return value, nil
}

func messageAEAD(key, id []byte) (cipher.AEAD, error) {
	info := binary.BigEndian.AppendUint16(nil, messageSuite)
	derived, err := hkdf.Key(sha256.New, key, nil, string(append(info, id...)), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func bodyAssociated(id []byte, size int) []byte {
	b := append(slices.Clone(id), bodyPurpose...)
	b = binary.BigEndian.AppendUint32(b, 1) // sequence number
	return binary.BigEndian.AppendUint64(b, uint64(size))
}

func encodeContext(context map[string]string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(context)))
	for _, name := range slices.Sorted(maps.Keys(context)) {
		b = appendField(appendField(b, name), context[name])
	}
	return b
}

func appendField(b []byte, field string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(field))), field...)
}

// reader takes a message apart; once it has failed it returns zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return make([]byte, min(n, 16))
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) field() []byte  { return r.take(int(r.uint16())) }
