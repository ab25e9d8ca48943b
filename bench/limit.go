package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/malote/malote/gateway/sigv4"
)

// answerSize is about what GetSecretValue answers for a value of a kilobyte.
const answerSize = 1300

// serveLimit is the least that a server of secrets has to do: net/http, a signature
// verified by a signing key that is derived once, one AES-256-GCM open. It knows one access
// key, asks no policy, reads no store, writes no record.
func serveLimit() error {
	secret := os.Getenv("BENCH_SECRET_ACCESS_KEY")
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	nonce := make([]byte, gcm.NonceSize())
	sealed := gcm.Seal(nil, nonce, make([]byte, answerSize), nil)
	var verifier sigv4.Verifier
	length := []string{strconv.Itoa(answerSize)}
	contentType := []string{"application/x-amz-json-1.1"}

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a, refused := sigv4.Parse(r)
		if refused == nil {
			refused = a.CheckTime(time.Now(), 5*time.Minute)
		}
		sum := sha256.Sum256(body)
		if refused != nil || !verifier.Verify(a, r, hex.EncodeToString(sum[:]), secret) {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		plain, err := gcm.Open(nil, nonce, sealed, nil)
		if err != nil {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		w.Header()["Content-Type"] = contentType
		w.Header()["Content-Length"] = length
		w.Write(plain)
	})
	listener, err := net.Listen("tcp", os.Getenv("BENCH_LISTEN"))
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "listening on", listener.Addr())
	return http.Serve(listener, handler)
}
