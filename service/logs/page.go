package logs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// question identifies what a page is one of: a token continues the request that it was
// made by, and no other.
func question(p place, parts ...any) []byte {
	text, err := json.Marshal(append(parts, p.account, p.region))
	if err != nil {
		panic(err) // strings and numbers
	}
	sum := sha256.Sum256(text)
	return sum[:8]
}

// token continues after last.
func token(question []byte, last string) *string {
	return aws.String(base64.RawURLEncoding.EncodeToString(append(bytes.Clone(question), last...)))
}

// parseToken returns where a page begins: "" for the first.
func parseToken(question []byte, given *string) (string, error) {
	if aws.ToString(given) == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*given)
	if err != nil || len(b) <= len(question) || !bytes.Equal(b[:len(question)], question) {
		return "", badToken()
	}
	return string(b[len(question):]), nil
}

func pageSize(asked *int32, usual int) int {
	if asked == nil {
		return usual
	}
	return int(*asked)
}
