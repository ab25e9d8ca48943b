package directory

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strconv"
)

// NewID draws an entity's id: prefix (AIDA, AROA, AGPA, ANPA) and 17 characters.
func NewID(prefix string) string { return prefix + random32(17) }

// newAccessKeyID draws AKIA or ASIA and 16 characters: 80 bits, of which 40 say the
// account, at the place where AWS has them, so that tools that read the account out of a
// key find it.
func newAccessKeyID(prefix, account string) string {
	b := make([]byte, 10)
	rand.Read(b)
	n, err := strconv.ParseUint(account, 10, 40)
	if err != nil {
		panic("directory: account " + account) // checked where accounts are made
	}
	high := uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
	high = high&^accountBits | n<<7
	for i := range 6 {
		b[i] = byte(high >> (8 * (5 - i)))
	}
	return prefix + base32.StdEncoding.EncodeToString(b)
}

// accountBits is where in the first 48 bits of a key id the account is.
const accountBits = 0x7fffffffff80

// AccountOfKey reads the account out of a key id that was drawn here. It says nothing about
// whether there is such a key. ok is false for an id of another form.
func AccountOfKey(accessKeyID string) (account string, ok bool) {
	if len(accessKeyID) != 20 {
		return "", false
	}
	b, err := base32.StdEncoding.DecodeString(accessKeyID[4:])
	if err != nil {
		return "", false
	}
	high := uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
	account = fmt.Sprintf("%012d", high&accountBits>>7)
	return account, len(account) == 12
}

// random32 draws n characters of A-Z2-7, five bits each.
func random32(n int) string {
	b := make([]byte, (n*5+7)/8)
	rand.Read(b)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)[:n]
}

// newSecret draws a secret access key: 40 characters, 240 bits.
func newSecret() string {
	b := make([]byte, 30)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
