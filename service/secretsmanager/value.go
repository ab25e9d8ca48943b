package secretsmanager

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// value is the stored value of a version, sealed: see the package's documentation.
type value struct {
	DataKey []byte // as KMS wrapped it
	Sealed  []byte
}

// MarshalBinary writes the length of DataKey, an unsigned varint, DataKey, and Sealed:
// values are the most of a store, and decoded more often than anything else.
func (v *value) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, binary.MaxVarintLen32+len(v.DataKey)+len(v.Sealed))
	b = binary.AppendUvarint(b, uint64(len(v.DataKey)))
	b = append(b, v.DataKey...)
	return append(b, v.Sealed...), nil
}

// UnmarshalBinary keeps b.
func (v *value) UnmarshalBinary(b []byte) error {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return errDamaged
	}
	b = b[size:]
	v.DataKey, v.Sealed = b[:n:n], b[n:]
	return nil
}

// plain is a value in clear.
type plain struct {
	binary bool
	bytes  []byte
}

// text is the value of a string, which must not be wiped any more.
func (p *plain) text() *string {
	text := unsafe.String(unsafe.SliceData(p.bytes), len(p.bytes)) // nobody writes to them
	return &text
}

// String keeps a value that strays into a format out of what is formatted.
func (plain) String() string   { return "[sealed]" }
func (plain) GoString() string { return "[sealed]" }

const (
	formatOne  = 0x01
	kindString = 0x00
	kindBinary = 0x01

	defaultKeyAlias = "alias/aws/secretsmanager"
	maxValueSize    = 65536
)

// newPlain reads the value of a request. Neither a string nor bytes give nil.
func newPlain(text *string, binary []byte) (*plain, error) {
	switch {
	case text != nil && binary != nil:
		return nil, invalidParameter("You can't specify both a binary secret value and a string secret value in the same secret.")
	case text != nil:
		if len(*text) > maxValueSize {
			return nil, tooLong("secretString")
		}
		return &plain{bytes: []byte(*text)}, nil
	case binary != nil:
		if len(binary) > maxValueSize {
			return nil, tooLong("secretBinary")
		}
		return &plain{binary: true, bytes: binary}, nil
	}
	return nil, nil
}

// tooLong does not quote what is too long. The limit is of bytes, where the model's is of
// characters.
func tooLong(member string) error {
	return validation("1 validation error detected: Value at '" + member + "' failed to satisfy constraint: Member must have length less than or equal to 65536")
}

// keyRef is the KeyId that means the secret's KMS key to KMS, whose bare ids and names
// are of the caller's account.
func (x *secret) keyRef(request *caller.Request) (string, error) {
	foreign := request.Principal.Account != x.Account
	switch {
	case x.KmsKeyID == "" && foreign:
		return "", foreignDefaultKey()
	case x.KmsKeyID == "":
		return defaultKeyAlias, nil
	case !foreign || strings.HasPrefix(x.KmsKeyID, "arn:"):
		return x.KmsKeyID, nil
	case strings.HasPrefix(x.KmsKeyID, "alias/"):
		return "arn:aws:kms:" + x.Region + ":" + x.Account + ":" + x.KmsKeyID, nil
	}
	return "arn:aws:kms:" + x.Region + ":" + x.Account + ":key/" + x.KmsKeyID, nil
}

func foreignDefaultKey() error {
	return invalidRequest("You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
}

// cleanKeyID returns "" for the names of the AWS managed key, which is the absence of a
// choice.
func cleanKeyID(id string, x *secret) string {
	if id == defaultKeyAlias || id == "arn:aws:kms:"+x.Region+":"+x.Account+":"+defaultKeyAlias {
		return ""
	}
	return id
}

func (x *secret) encryptionContext(versionID string) map[string]string {
	return map[string]string{"SecretARN": x.arn, "SecretVersionId": versionID}
}

// seal makes a version of p under the secret's KMS key, as the caller.
func (s *Service) seal(ctx context.Context, x *secret, versionID string, p *plain) (version, *value, error) {
	ref, err := x.keyRef(caller.From(ctx))
	if err != nil {
		return version{}, nil, err
	}
	key, err := s.keys.GenerateDataKey(caller.Forward(ctx, "secretsmanager"), &kms.GenerateDataKeyInput{
		KeyId: aws.String(ref), KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: x.encryptionContext(versionID),
	})
	if err != nil {
		return version{}, nil, cannotEncrypt(err)
	}
	defer clear(key.Plaintext)
	sealed, err := sealValue(key.Plaintext, x.arn, versionID, p)
	if err != nil {
		return version{}, nil, err
	}
	v := version{ID: versionID, Created: s.timestamp(), Key: aws.ToString(key.KeyId), Managed: x.KmsKeyID == ""}
	return v, &value{DataKey: key.CiphertextBlob, Sealed: sealed}, nil
}

// open returns the value of a version, if KMS gives the caller its data key.
func (s *Service) open(ctx context.Context, x *secret, v *version, stored *value) (*plain, error) {
	if v.Managed && caller.From(ctx).Principal.Account != x.Account {
		return nil, foreignDefaultKey()
	}
	key, err := s.keys.Decrypt(caller.Forward(ctx, "secretsmanager"), &kms.DecryptInput{
		KeyId: &v.Key, CiphertextBlob: stored.DataKey, EncryptionContext: x.lastRead(v.ID).context,
	})
	if err != nil {
		return nil, cannotDecrypt(err)
	}
	defer clear(key.Plaintext)
	return openValue(key.Plaintext, x.arn, v.ID, stored.Sealed)
}

// readValue returns the stored value of a version.
func (s *Service) readValue(ctx context.Context, x *secret, v *version) (*value, error) {
	var stored *value
	err := s.store.View(ctx, func(tx store.Tx) error {
		var err error
		stored, err = s.values.Get(tx, x.valuePath(v.ID))
		return err
	})
	return stored, err
}

// holds reports whether the value of a version is p. It reads the value, so the caller
// needs the permission to.
func (s *Service) holds(ctx context.Context, x *secret, v *version, p *plain) (bool, error) {
	stored, err := s.readValue(ctx, x, v)
	if err != nil {
		return false, err
	}
	was, err := s.open(ctx, x, v, stored)
	if err != nil {
		return false, err
	}
	defer clear(was.bytes)
	return was.binary == p.binary && bytes.Equal(was.bytes, p.bytes), nil
}

// checkKey asks KMS whether the caller can use the secret's key at all.
func (s *Service) checkKey(ctx context.Context, x *secret) error {
	const id = "RequestToValidateKeyAccess"
	v, stored, err := s.seal(ctx, x, id, &plain{bytes: []byte(id)})
	if err != nil {
		return err
	}
	_, err = s.open(ctx, x, &v, stored)
	return err
}

// rewrap wraps the data key of a version under the secret's present KMS key, which is not
// the one that it is wrapped under.
func (s *Service) rewrap(ctx context.Context, x *secret, v version, stored *value) (version, *value, error) {
	ref, err := x.keyRef(caller.From(ctx))
	if err != nil {
		return v, nil, err
	}
	ctx = caller.Forward(ctx, "secretsmanager")
	key, err := s.keys.Decrypt(ctx, &kms.DecryptInput{
		KeyId: aws.String(v.Key), CiphertextBlob: stored.DataKey, EncryptionContext: x.encryptionContext(v.ID),
	})
	if err != nil {
		return v, nil, cannotDecrypt(err)
	}
	defer clear(key.Plaintext)
	wrapped, err := s.keys.Encrypt(ctx, &kms.EncryptInput{
		KeyId: aws.String(ref), Plaintext: key.Plaintext, EncryptionContext: x.encryptionContext(v.ID),
	})
	if err != nil {
		return v, nil, cannotEncrypt(err)
	}
	v.Key, v.Managed = aws.ToString(wrapped.KeyId), x.KmsKeyID == ""
	return v, &value{DataKey: wrapped.CiphertextBlob, Sealed: stored.Sealed}, nil
}

var errDamaged = errors.New("secretsmanager: a stored value does not open under its data key")

const (
	nonceSize  = 12
	valueStart = 2 + nonceSize
)

func sealValue(dataKey []byte, arn, versionID string, p *plain) ([]byte, error) {
	gcm, err := newGCM(dataKey)
	if err != nil {
		return nil, err
	}
	kind := byte(kindString)
	if p.binary {
		kind = kindBinary
	}
	sealed := make([]byte, valueStart, valueStart+len(p.bytes)+gcm.Overhead())
	sealed[0], sealed[1] = formatOne, kind
	rand.Read(sealed[2:])
	return gcm.Seal(sealed, sealed[2:], p.bytes, associated(kind, arn, versionID)), nil
}

func openValue(dataKey []byte, arn, versionID string, sealed []byte) (*plain, error) {
	if len(sealed) < valueStart || sealed[0] != formatOne || sealed[1] > kindBinary {
		return nil, errDamaged
	}
	gcm, err := newGCM(dataKey)
	if err != nil {
		return nil, err
	}
	opened, err := gcm.Open(nil, sealed[2:valueStart], sealed[valueStart:], associated(sealed[1], arn, versionID))
	if err != nil {
		return nil, errDamaged
	}
	return &plain{binary: sealed[1] == kindBinary, bytes: opened}, nil
}

func associated(kind byte, arn, versionID string) []byte {
	data := make([]byte, 0, 3+len(arn)+len(versionID))
	data = append(data, formatOne, kind)
	data = append(data, arn...)
	data = append(data, 0)
	return append(data, versionID...)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("secretsmanager: KMS gave a data key of another length")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
