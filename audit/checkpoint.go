package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// A checkpoint is a record like any, of eventSource "malote" and eventName
// "AuditCheckpoint", whose serviceEventDetails have "keyId", the SHA-256 of the public key
// (its 32 bytes) in hex, and "signature", Ed25519 in base64, of this text:
//
//	malote audit checkpoint 1
//	SEQUENCE, the checkpoint's own
//	PREVIOUS HASH, as it is in the record
//	EVENT TIME, as it is in the record
//
// each with a line end. By the hash of the line before it signs all that is before it. The
// last one is also in a file of its own beside the log, named like it and .checkpoint,
// written once the log is on the disk: a log that ends before it was cut.

// checkpointEvery is how many records there are between checkpoints at most.
const checkpointEvery = 4096

// signer is a key and its name.
type signer struct {
	key ed25519.PrivateKey
	id  string
}

// KeyID names a public key in checkpoints.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// Sign has checkpoints signed with key from now on, and what is in the log already by one
// that is written at once.
func (f *File) Sign(key ed25519.PrivateKey) {
	f.signer.Store(&signer{key, KeyID(key.Public().(ed25519.PublicKey))})
	select {
	case f.signed <- struct{}{}:
	default:
	}
}

func signedText(sequence uint64, previous, at string) []byte {
	return []byte("malote audit checkpoint 1\n" + strconv.FormatUint(sequence, 10) + "\n" + previous + "\n" + at + "\n")
}

// checkpoint signs what is in the file, and reports whether there was something to sign
// and somebody to. When the disk has no room for it, the next one signs the same.
func (f *File) checkpoint() bool {
	s := f.signer.Load()
	if s == nil || f.unsigned == 0 {
		return false
	}
	now := f.o.Now()
	signature := ed25519.Sign(s.key, signedText(f.sequence+1, hex.EncodeToString(f.head[:]), now.UTC().Format(timeFormat)))
	details := []byte(`{"keyId":"` + s.id + `","signature":"` + base64.StdEncoding.EncodeToString(signature) + `"}`)
	n, err := f.writeChunk([]Record{own("AuditCheckpoint", now, "", details)})
	if n != 1 {
		f.o.Log.Error("audit log cannot be signed", "err", err)
		return false
	}
	f.unsigned, f.covered = 0, f.sequence
	f.anchor = bytes.Clone(f.lines[:f.ends[0].offset])
	return true
}

func anchorPath(path string) string { return path + ".checkpoint" }

// writeAnchor keeps the last checkpoint in a file of its own. The log has been synced.
func (f *File) writeAnchor() {
	if f.anchor == nil {
		return
	}
	if err := f.replaceAnchor(); err != nil {
		f.o.Log.Error("audit log's last checkpoint cannot be kept", "err", err)
	}
	f.anchor = nil
}

// replaceAnchor has the new file on the disk before it takes the old one's place: a power
// cut leaves one of them.
func (f *File) replaceAnchor() error {
	staged, err := os.OpenFile(anchorPath(f.path)+".next", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = staged.Write(f.anchor)
	if err == nil {
		err = f.fsync(staged)
	}
	if err = errors.Join(err, staged.Close()); err != nil {
		return err
	}
	return os.Rename(staged.Name(), anchorPath(f.path))
}

// compareAnchor returns an error when the log ends before its last checkpoint.
func (f *File) compareAnchor() error {
	line, err := os.ReadFile(anchorPath(f.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c, ok := readCheckpoint(bytes.TrimSuffix(line, []byte("\n")))
	switch {
	case !ok:
		return fmt.Errorf("%s is no checkpoint", anchorPath(f.path))
	case c.Sequence > f.sequence:
		return fmt.Errorf("the log ends with record %d and had a checkpoint at %d: records were cut off", f.sequence, c.Sequence)
	}
	return nil
}

// checkpoint is what a checkpoint's record says.
type checkpoint struct {
	link
	Source  string `json:"eventSource"`
	Name    string `json:"eventName"`
	Time    string `json:"eventTime"`
	Details struct {
		KeyID     string `json:"keyId"`
		Signature []byte `json:"signature"`
	} `json:"serviceEventDetails"`
}

var checkpointMark = []byte(`"eventSource":"` + ownSource + `","eventName":"AuditCheckpoint"`)

// readCheckpoint reads a line that is one.
func readCheckpoint(line []byte) (*checkpoint, bool) {
	if !bytes.Contains(line, checkpointMark) {
		return nil, false
	}
	c := new(checkpoint)
	if err := json.Unmarshal(line, c); err != nil || c.Source != ownSource || c.Name != "AuditCheckpoint" || c.Sequence == 0 {
		return nil, false
	}
	return c, true
}

// verify reports whether key has signed c.
func (c *checkpoint) verify(key ed25519.PublicKey) bool {
	return ed25519.Verify(key, signedText(c.Sequence, c.PreviousHash, c.Time), c.Details.Signature)
}

func (c *checkpoint) at() time.Time {
	at, _ := time.Parse(timeFormat, c.Time)
	return at
}

// EncodePublicKey is key in PEM (PKIX), as openssl reads it.
func EncodePublicKey(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// DecodePublicKeys reads one or more keys in PEM: those of a log that had several.
func DecodePublicKeys(text []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("a PEM block is %q, not PUBLIC KEY", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("a key is %T, not Ed25519", key)
		}
		keys = append(keys, public)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no PEM block in it")
	}
	return keys, nil
}
