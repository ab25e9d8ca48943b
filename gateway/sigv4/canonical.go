package sigv4

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// appendCanonical writes the canonical request behind b: its method, path, query, signed
// headers and the hash of its payload.
func appendCanonical(b []byte, a *Authorization, r *http.Request, payload string, once bool) []byte {
	b = append(b, r.Method...)
	b = append(b, '\n')
	if path := r.URL.EscapedPath(); path == "" || path == "/" {
		b = append(b, '/')
	} else if once {
		b = appendEncoded(b, path, true)
	} else {
		b = appendTwice(b, path)
	}
	b = append(b, '\n')
	if r.URL.RawQuery != "" {
		b = appendQuery(b, r.URL.RawQuery)
	}
	b = append(b, '\n')
	for _, name := range a.SignedHeaders {
		b = append(b, name...)
		b = append(b, ':')
		b = appendHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range a.SignedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, payload...)
}

// appendHeader writes the value of a signed header, "" when it is absent. Some of them
// net/http keeps elsewhere.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return appendTrimmed(b, r.Host)
	case "content-length":
		if len(r.Header["Content-Length"]) == 0 && r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding":
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	case "trailer":
		if len(r.Header["Trailer"]) == 0 {
			names := make([]string, 0, len(r.Trailer))
			for name := range r.Trailer {
				names = append(names, name)
			}
			slices.Sort(names)
			return append(b, strings.Join(names, ",")...)
		}
	}
	canonical, ok := commonHeaders[name]
	if !ok {
		canonical = http.CanonicalHeaderKey(name)
	}
	for i, value := range r.Header[canonical] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, value)
	}
	return b
}

// commonHeaders saves making the names that AWS's clients sign canonical each time.
var commonHeaders = map[string]string{
	"accept-encoding":       "Accept-Encoding",
	"amz-sdk-invocation-id": "Amz-Sdk-Invocation-Id",
	"amz-sdk-request":       "Amz-Sdk-Request",
	"content-length":        "Content-Length",
	"content-type":          "Content-Type",
	"x-amz-content-sha256":  "X-Amz-Content-Sha256",
	"x-amz-date":            "X-Amz-Date",
	"x-amz-security-token":  "X-Amz-Security-Token",
	"x-amz-target":          "X-Amz-Target",
}

// appendTrimmed writes a header's value without spaces around it and with runs of them
// within made one.
func appendTrimmed(b []byte, value string) []byte {
	value = strings.Trim(value, " \t")
	if !strings.Contains(value, "  ") {
		return append(b, value...)
	}
	for i := range len(value) {
		if value[i] == ' ' && value[i-1] == ' ' {
			continue
		}
		b = append(b, value[i])
	}
	return b
}

// appendQuery writes the canonical form of a raw query, without the signature itself.
func appendQuery(b []byte, raw string) []byte {
	pairs := make([][2][]byte, 0, 16)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(name, "X-Amz-Signature") {
			continue
		}
		pairs = append(pairs, [2][]byte{appendEncoded(nil, name, false), appendEncoded(nil, value, false)})
	}
	slices.SortStableFunc(pairs, func(x, y [2][]byte) int {
		if c := bytes.Compare(x[0], y[0]); c != 0 {
			return c
		}
		return bytes.Compare(x[1], y[1])
	})
	for i, pair := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, pair[0]...)
		b = append(b, '=')
		b = append(b, pair[1]...)
	}
	return b
}

const upperHex = "0123456789ABCDEF"

func unreserved(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// appendEncoded writes s, percent-encoded on the wire in whatever way, in the one way
// that is canonical. Slashes stay when path is set.
func appendEncoded(b []byte, s string, path bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '/' && path {
			b = append(b, c)
			continue
		}
		if c == '%' && i+2 < len(s) {
			if high, low := unhex(s[i+1]), unhex(s[i+2]); high >= 0 && low >= 0 {
				c = byte(high<<4 | low)
				i += 2
			}
		}
		b = appendOctet(b, c)
	}
	return b
}

func appendOctet(b []byte, c byte) []byte {
	if unreserved(c) {
		return append(b, c)
	}
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendTwice writes an encoded path normalised, without empty segments and dots, and
// encoded once more, as every service but S3 has it.
func appendTwice(b []byte, path string) []byte {
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	b = append(b, '/')
	for i, segment := range kept {
		if i > 0 {
			b = append(b, '/')
		}
		for _, c := range []byte(segment) {
			b = appendOctet(b, c)
		}
	}
	if len(kept) > 0 && (strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")) {
		b = append(b, '/')
	}
	return b
}
