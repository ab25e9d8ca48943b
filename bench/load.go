package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	region  = "us-east-1"
	account = "123456789012"
	host    = "secretsmanager." + region + ".amazonaws.com"
)

// signer makes signed requests, as bytes, of one access key. The signing key is derived
// once, as SDKs do.
type signer struct {
	keyID, date string
	key         []byte
	stamp       string
}

func newSigner(keyID, secret string) *signer {
	now := time.Now().UTC()
	s := &signer{keyID: keyID, date: now.Format("20060102"), stamp: now.Format("20060102T150405Z")}
	s.key = []byte("AWS4" + secret)
	for _, part := range []string{s.date, region, "secretsmanager", "aws4_request"} {
		s.key = mac(s.key, part)
	}
	return s
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

const signedHeaders = "amz-sdk-invocation-id;amz-sdk-request;content-length;content-type;host;x-amz-date;x-amz-target"

// request is what the AWS SDK for Go would send for the operation, header by header.
func (s *signer) request(operation, body string) []byte {
	headers := [][2]string{
		{"amz-sdk-invocation-id", uuid()},
		{"amz-sdk-request", "attempt=1; max=3"},
		{"content-length", strconv.Itoa(len(body))},
		{"content-type", "application/x-amz-json-1.1"},
		{"host", host},
		{"x-amz-date", s.stamp},
		{"x-amz-target", "secretsmanager." + operation},
	}
	sum := sha256.Sum256([]byte(body))
	var canonical strings.Builder
	canonical.WriteString("POST\n/\n\n")
	for _, h := range headers {
		canonical.WriteString(h[0] + ":" + h[1] + "\n")
	}
	canonical.WriteString("\n" + signedHeaders + "\n" + hex.EncodeToString(sum[:]))
	hashed := sha256.Sum256([]byte(canonical.String()))
	scope := s.date + "/" + region + "/secretsmanager/aws4_request"
	signature := mac(s.key, "AWS4-HMAC-SHA256\n"+s.stamp+"\n"+scope+"\n"+hex.EncodeToString(hashed[:]))
	return []byte("POST / HTTP/1.1\r\nHost: " + host + "\r\n" +
		"User-Agent: aws-sdk-go-v2/1.39.2 ua/2.1 os/linux lang/go#1.26 md/GOOS#linux md/GOARCH#amd64 api/secretsmanager#1.39.6 m/E,e\r\n" +
		"Content-Length: " + headers[2][1] + "\r\n" +
		"Amz-Sdk-Invocation-Id: " + headers[0][1] + "\r\n" +
		"Amz-Sdk-Request: " + headers[1][1] + "\r\n" +
		"Authorization: AWS4-HMAC-SHA256 Credential=" + s.keyID + "/" + scope + ", SignedHeaders=" + signedHeaders + ", Signature=" + hex.EncodeToString(signature) + "\r\n" +
		"Content-Type: " + headers[3][1] + "\r\n" +
		"X-Amz-Date: " + s.stamp + "\r\n" +
		"X-Amz-Target: " + headers[6][1] + "\r\n" +
		"Accept-Encoding: gzip\r\n\r\n" + body)
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// conn is a keep-alive connection of a client that is content with 200 and
// Content-Length.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReaderSize(c, 16<<10)}, nil
}

var contentLength = []byte("Content-Length: ")

// do sends a request and reads its answer. Anything but 200 is an error.
func (c *conn) do(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(line, []byte("HTTP/1.1 200"))
	length := -1
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if rest, found := bytes.CutPrefix(line, contentLength); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(rest))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	if !ok {
		body := make([]byte, length)
		io.ReadFull(c.r, body)
		return fmt.Errorf("refused: %s", body)
	}
	_, err = c.r.Discard(length)
	return err
}

// loaded is what came of a load.
type loaded struct {
	requests int
	took     time.Duration
	times    []time.Duration // of each request
}

func (l loaded) rate() float64 { return float64(l.requests) / l.took.Seconds() }

// quantile sorts times.
func (l loaded) quantile(q float64) time.Duration {
	if len(l.times) == 0 {
		return 0
	}
	slices.Sort(l.times)
	return l.times[min(len(l.times)-1, int(q*float64(len(l.times))))]
}

// load keeps conns connections busy for d. next gives the nth request of a connection.
func load(ctx context.Context, addr string, conns int, d time.Duration, next func(conn, n int) []byte) (loaded, error) {
	all := make([]*conn, conns)
	for i := range all {
		c, err := dial(addr)
		if err != nil {
			return loaded{}, err
		}
		defer c.Close()
		all[i] = c
	}
	var mu sync.Mutex // guards the next two
	var total loaded
	var failed error
	var group sync.WaitGroup
	began := time.Now()
	end := began.Add(d)
	for i, c := range all {
		group.Go(func() {
			times := make([]time.Duration, 0, 1<<14)
			var err error
			last := time.Now()
			for n := 0; last.Before(end) && ctx.Err() == nil; n++ {
				if err = c.do(next(i, n)); err != nil {
					break
				}
				now := time.Now()
				times = append(times, now.Sub(last))
				last = now
			}
			mu.Lock()
			defer mu.Unlock()
			total.requests += len(times)
			total.times = append(total.times, times...)
			failed = errors.Join(failed, err)
		})
	}
	group.Wait()
	total.took = time.Since(began)
	return total, errors.Join(failed, ctx.Err())
}
