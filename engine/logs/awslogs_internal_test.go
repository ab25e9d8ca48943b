package logs

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// What is printed while CloudWatch Logs is away, or after somebody deleted the stream, is
// there in order afterwards.
func TestAwslogsAway(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	away, deleted := true, false
	refused := 0
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		fail := func(status int, text string) {
			refused++
			w.WriteHeader(status)
			w.Write([]byte(text))
		}
		switch {
		case operation == "CreateLogStream":
			deleted = false
		case away:
			fail(http.StatusServiceUnavailable, `{"__type":"ServiceUnavailableException"}`)
		case deleted:
			fail(http.StatusBadRequest, `{"__type":"ResourceNotFoundException","message":"The specified log stream does not exist."}`)
		default:
			var in struct{ LogEvents []struct{ Message string } }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			for _, e := range in.LogEvents {
				got = append(got, e.Message)
			}
			w.Write([]byte(`{}`))
		}
	}))
	defer server.Close()
	f, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(context.Background())
	s, err := f.Open(t.Context(), "task-0", Spec{
		Driver: "awslogs", Container: "app", TaskID: "1", Options: map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
		AWS: aws.Config{BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"one", "", "two"} {
		if err := s.keep(entry{Time: time.Now(), Line: line}); err != nil {
			t.Fatal(err)
		}
	}
	for waiting := true; waiting; time.Sleep(time.Millisecond) {
		mu.Lock()
		waiting = refused == 0
		mu.Unlock()
	}
	mu.Lock()
	away, deleted = false, true
	mu.Unlock()
	if err := s.keep(entry{Time: time.Now(), Line: "three"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	select {
	case <-s.Shipped():
	case <-time.After(time.Minute):
		t.Fatal("not shipped in a minute")
	}
	if text := strings.Join(got, " "); text != "one two three" || refused < 2 {
		t.Errorf("shipped %q after %d refusals", text, refused)
	}
}

func TestInputEvents(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1000)
	long := strings.Repeat("ä", 200<<10)
	events := inputEvents([]entry{{Time: at.Add(2 * time.Millisecond), Line: "second"}, {Time: at, Line: "first\xff"}, {Time: at, Line: ""}, {Time: at.Add(time.Second), Line: long}})
	if len(events) != 4 || *events[0].Message != "first\ufffd" || *events[1].Message != "second" || *events[2].Message+*events[3].Message != long || len(*events[2].Message) > maxAwslogsLen {
		t.Errorf("%d events: %.20q", len(events), *events[0].Message)
	}
	many := make([]entry, 12000)
	for i := range many {
		many[i] = entry{Time: at, Line: strings.Repeat("x", 100)}
	}
	events = inputEvents(many)
	if n := batch(events); n != putBytes/(100+putOverhead) {
		t.Errorf("a batch of %d", n)
	}
	events = inputEvents([]entry{{Time: at, Line: "x"}, {Time: at.Add(25 * time.Hour), Line: "y"}})
	if n := batch(events); n != 1 {
		t.Errorf("a batch over 25 hours has %d events", n)
	}
}

func TestMultiline(t *testing.T) {
	t.Parallel()
	for format, lines := range map[string][2]string{
		"%Y-%m-%d %H:%M:%S": {"2026-11-26 16:45:00 x", "26-11-2026"},
		`\[%b %d, %Y`:       {"[Nov 26, 2026 y", "Nov 26, 2026"},
		"%%%j":              {"%331", "331"},
	} {
		start := regexp.MustCompile(datetime(format))
		if !start.MatchString(lines[0]) || start.MatchString(lines[1]) {
			t.Errorf("%s is %s", format, start)
		}
	}
	var got []string
	keep := func(e entry) error { got = append(got, e.Line); return nil }
	m := &multiline{start: regexp.MustCompile("^[A-Z]")}
	for _, line := range []string{"before", "One", " more", "Two", strings.Repeat("z", maxAwslogsLen-1), "end"} {
		if err := m.add(entry{Line: line}, keep); err != nil {
			t.Fatal(err)
		}
	}
	m.flush(keep)
	if len(got) != 5 || got[0] != "before" || got[1] != "One\n more" || got[2] != "Two" || !strings.HasPrefix(got[3], "z") || got[4] != "end" {
		t.Errorf("%d messages: %.30q", len(got), got)
	}
}
