package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMessage(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	for _, tt := range []struct {
		name string
		raw  []byte
		want message
	}{
		{"as Docker sends it", func() []byte {
			b := appendTime(appendText(appendArray(nil, 4), "stream|tag"), at, true)
			b = appendText(appendText(appendMap(b, 2), "log"), strings.Repeat("x", 300))
			return append(appendText(appendText(b, "source"), "stdout"), 0xc0)
		}(), message{tag: "stream|tag", time: at, record: map[string]string{"log": strings.Repeat("x", 300), "source": "stdout"}}},
		{"whole seconds, binary, a chunk", func() []byte {
			b := appendTime(appendText(appendArray(nil, 4), "t"), at, false)
			b = append(appendText(appendMap(b, 1), "log"), 0xc4, 2, 0xff, 0x00)
			return appendText(appendText(appendMap(b, 1), "chunk"), "id")
		}(), message{tag: "t", time: time.Unix(1700000000, 0), record: map[string]string{"log": "\xff\x00"}, chunk: "id"}},
	} {
		d := decoder{bufio.NewReader(bytes.NewReader(tt.raw))}
		got, err := d.message()
		if err != nil || got.tag != tt.want.tag || !got.time.Equal(tt.want.time) || got.chunk != tt.want.chunk || fmt.Sprint(got.record) != fmt.Sprint(tt.want.record) {
			t.Errorf("%s: message = %+v, %v", tt.name, got, err)
		}
		if _, err := d.message(); err != io.EOF {
			t.Errorf("%s: after it: %v, want EOF", tt.name, err)
		}
		for n := 1; n < len(tt.raw); n++ {
			if _, err := (decoder{bufio.NewReader(bytes.NewReader(tt.raw[:n]))}).message(); err == nil || err == io.EOF {
				t.Errorf("%s: the first %d of %d bytes: %v", tt.name, n, len(tt.raw), err)
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(append(appendMap(appendTime(appendText(appendArray(nil, 4), "tag"), time.Unix(1, 2), true), 0), 0xc0))
	f.Add([]byte{0x93, 0xdb, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xdd, 0, 0, 0, 4, 0xa0, 1, 0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decoder{bufio.NewReader(bytes.NewReader(raw))}.message()
		if err == nil && len(m.tag)+len(m.chunk) > len(raw) {
			t.Errorf("message has more than was sent: %+v", m)
		}
	})
}

func TestMask(t *testing.T) {
	const secret = `s3cr"t/väl+ue`
	m := newMasker([]string{secret, "short", "first line\nsecond line\n", "", "s3cr\"t/väl+ue and longer"})
	for _, tt := range []struct{ in, want string }{
		{"plain", "plain"},
		{"a " + secret + " b", "a [sealed] b"},
		{secret + secret, "[sealed][sealed]"},
		{secret + " and longer", "[sealed]"},
		{`{"p":"s3cr\"t/väl+ue"}`, `{"p":"[sealed]"}`},
		{"q=s3cr%22t%2Fv%C3%A4l%2Bue&", "q=[sealed]&"},
		{"73336372" + "22742f76c3a46c2b7565", "[sealed]"},
		{"too short a value stays", "too short a value stays"},
		{"one: first line", "one: [sealed]"},
		{"two: second line", "two: [sealed]"},
	} {
		if got := m.mask(tt.in); got != tt.want {
			t.Errorf("mask(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		for before := range 4 {
			for after := range 4 {
				text := encoding.EncodeToString([]byte(strings.Repeat("u", before) + secret + strings.Repeat(":", after)))
				if got := m.mask(text); !strings.Contains(got, mask) || len(got) > len(mask)+12 {
					t.Errorf("mask of base64 with %d bytes before and %d after = %q, of %q", before, after, got, text)
				}
			}
		}
	}
	if got := newMasker(nil).mask("x"); got != "x" {
		t.Errorf("without values: %q", got)
	}
}

func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := newSpool(dir, 600<<10, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	const marker = "a line that must not be on disk in clear "
	line := marker + strings.Repeat("x", 1000)
	// Nobody takes: it fills memory, then the disk, then pushing waits.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	pushed := 0
	for {
		err := s.push(ctx, entry{Line: fmt.Sprintf("%d %s", pushed, line)})
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pushed++
	}
	if bytesIn := pushed * (len(line) + entryOverhead); bytesIn < 4<<20 || bytesIn > 5<<20 {
		t.Errorf("it held %d bytes", bytesIn)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil || bytes.Contains(content, []byte(marker)) || bytes.Contains(content, []byte("xxxxxxxx")) {
			t.Errorf("%s shows lines: %v", file.Name(), err)
		}
	}
	if s.inMemory > 600<<10+segmentSize {
		t.Errorf("%d bytes in memory", s.inMemory)
	}
	// One who waits to push goes on as soon as there is room.
	more := make(chan error, 1)
	go func() { more <- s.push(t.Context(), entry{Line: fmt.Sprintf("%d ", pushed)}) }()
	seen := 0
	for first := true; ; first = false {
		entries, err := s.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if entries == nil {
			break
		}
		for _, e := range entries {
			if number, _, _ := strings.Cut(e.Line, " "); number != fmt.Sprint(seen) {
				t.Fatalf("entry %d is %s", seen, number)
			}
			seen++
		}
		s.drop()
		if first {
			if err := <-more; err != nil {
				t.Fatal(err)
			}
			s.close()
		}
	}
	if seen != pushed+1 || s.inMemory != 0 || s.inFiles != 0 || s.entries != 0 {
		t.Errorf("%d of %d taken; it counts %d and %d bytes, %d entries", seen, pushed+1, s.inMemory, s.inFiles, s.entries)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%d files left", len(files))
	}
	if err := s.push(t.Context(), entry{}); !errors.Is(err, errClosed) {
		t.Errorf("push after close = %v", err)
	}
}

func TestSpoolOfSoManyLines(t *testing.T) {
	s, err := newSpool(t.TempDir(), memoryLimit, diskLimit)
	if err != nil {
		t.Fatal(err)
	}
	s.most = 2
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for i, want := range []error{nil, nil, context.DeadlineExceeded} {
		if err := s.push(ctx, entry{}); err != want {
			t.Errorf("push %d = %v, want %v", i, err, want)
		}
	}
}

func TestSpoolThatWasChanged(t *testing.T) {
	dir := t.TempDir()
	s, err := newSpool(dir, 1, 10<<20)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := s.push(t.Context(), entry{Line: strings.Repeat("x", 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(files[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	var failed, whole int
	s.close()
	for {
		entries, err := s.take(t.Context())
		if err == nil && entries == nil {
			break
		}
		if err != nil {
			failed += s.drop()
		} else {
			whole += s.drop()
		}
	}
	if failed == 0 || failed+whole != 1000 {
		t.Errorf("%d lines refused and %d taken, want 1000 in all", failed, whole)
	}
}

func TestMaskReplaced(t *testing.T) {
	t.Parallel()
	s := &Stream{secrets: []string{"token-of-an-option"}}
	s.Mask([]string{"first-value"})
	s.Mask([]string{"first-value", "second-value"})
	if got := s.masker.Load().mask("first-value second-value token-of-an-option third-value"); got != "[sealed] [sealed] [sealed] third-value" {
		t.Error(got)
	}
}

func TestJoin(t *testing.T) {
	s := &Stream{parts: map[string]*partial{}}
	s.Mask([]string{"secret-value"})
	var e entry
	if s.join(&e, "1", "a sec", false) || s.join(&e, "2", "another", false) || s.join(&e, "1", "ret-val", false) {
		t.Error("a part is taken for a line")
	}
	if !s.join(&e, "1", "ue b", true) || e.Line != "a [sealed] b" {
		t.Errorf("line = %q", e.Line)
	}
	// Of a line that never ends pieces are shipped, and no value falls between two.
	var shipped strings.Builder
	for i := range 400 {
		part := strings.Repeat(".", 16<<10-5) + []string{"secre", "t-val", "ue"}[i%3]
		if i%3 == 1 {
			part = "t-val" // the middle of a value that three parts hold
		} else if i%3 == 2 {
			part = "ue" + strings.Repeat(".", 16<<10-2)
		}
		if s.join(&e, "3", part, i == 399) {
			shipped.WriteString(e.Line)
			if len(e.Line) > maxLine+64<<10 {
				t.Errorf("a piece of %d bytes", len(e.Line))
			}
		}
	}
	if text := shipped.String(); strings.Contains(text, "secret-value") || strings.Count(text, mask) != 133 {
		t.Errorf("masked %d times, want 133", strings.Count(text, mask))
	}
}

func TestOptions(t *testing.T) {
	f, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(t.Context())
	const token = "canary-token-81xK"
	for _, tt := range []struct {
		name string
		spec Spec
		want string
	}{
		{"gelf", Spec{Driver: "gelf"}, "malote does not forward secretOptions for the log driver gelf"},
		{"no driver", Spec{}, "no logDriver"},
		{"no url", Spec{Driver: "splunk", Secrets: map[string]string{"splunk-token": token}}, "splunk-url is expected"},
		{"no token", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "http://x"}, Secrets: map[string]string{"splunk-token": ""}}, "splunk-token is expected"},
		{"a path", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "http://x/y", "splunk-token": token}}, "expected format scheme://dns_name_or_ip:port for splunk-url"},
		{"format", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "http://x", "splunk-format": "xml", "splunk-token": token}}, `unknown splunk-format "xml"`},
		{"unknown", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "http://x", "splunk-colour": "red", "splunk-token": token}}, "unknown log opt 'splunk-colour' for splunk log driver"},
		{"bool", Spec{Driver: "splunk", Options: map[string]string{"splunk-gzip": "perhaps", "splunk-url": "http://x"}, Secrets: map[string]string{"splunk-token": token}}, "option splunk-gzip must be true or false"},
		{"number", Spec{Driver: "splunk", Options: map[string]string{"splunk-gzip-level": "10", "splunk-url": "http://x"}}, "option splunk-gzip-level must be a number from -1 to 9"},
		{"line end", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "http://x"}, Secrets: map[string]string{"splunk-token": token + "\n"}}, "splunk-token has a line end in it"},
		{"authorities", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "https://x", "splunk-capath": "/absent"}, Secrets: map[string]string{"splunk-token": token}}, "reading splunk-capath: open /absent"},
		{"away", Spec{Driver: "splunk", Options: map[string]string{"splunk-url": "http://127.0.0.1:1"}, Secrets: map[string]string{"splunk-token": token}}, "verifying the connection"},
		{"fluentd's scheme", Spec{Driver: "fluentd", Secrets: map[string]string{"fluentd-address": "udp://" + token}}, "the scheme of fluentd-address is to be tcp, tls or unix"},
		{"fluentd's path", Spec{Driver: "fluentd", Secrets: map[string]string{"fluentd-address": "tcp://h/" + token}}, "fluentd-address should not contain a path"},
		{"fluentd away", Spec{Driver: "fluentd", Secrets: map[string]string{"fluentd-address": "unix:///" + token}}, "fluentd-async=true starts without one"},
		{"fluentd unknown", Spec{Driver: "fluentd", Options: map[string]string{"splunk-url": "x"}}, "unknown log opt 'splunk-url' for fluentd log driver"},
		{"duration", Spec{Driver: "fluentd", Options: map[string]string{"fluentd-retry-wait": "soon"}}, "option fluentd-retry-wait must be a duration such as 500ms"},
	} {
		_, err := f.Open(t.Context(), "x", tt.spec)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v, want %s", tt.name, err, tt.want)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error holds the secret", tt.name)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v", Spec{Secrets: map[string]string{"a": token}}, Spec{Mask: []string{token}}, Spec{Mask: []string{token}}); strings.Contains(got, token) {
		t.Errorf("a Spec shows its secret: %s", got)
	}
}

func TestEncodingsAreDistinct(t *testing.T) {
	for _, form := range encodings("abcdef") {
		if len(form) < minMasked {
			t.Errorf("form %q would be found everywhere", form)
		}
	}
	if !slices.Contains(encodings("abcdef"), "abcdef") {
		t.Error("the value itself is not looked for")
	}
}
