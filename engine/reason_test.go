package engine

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReasonsKeepToTheLimit(t *testing.T) {
	arn := func(i int) string {
		return fmt.Sprintf("arn:aws:secretsmanager:us-east-1:123456789012:secret:production/database/%d-AbCdEf", i)
	}
	var texts []string
	for i := range 40 {
		texts = append(texts, "no secret "+arn(i))
	}
	words := func(s string) {
		t.Helper()
		if !utf8.ValidString(s) {
			t.Errorf("invalid UTF-8: %q", s)
		}
		for _, word := range strings.Fields(s) {
			if word = strings.TrimRight(word, ";,"); strings.HasPrefix(word, "arn:") && !strings.HasSuffix(word, "-AbCdEf") {
				t.Errorf("a part of an ARN: %s", word)
			}
		}
	}
	for n := 1; n <= len(texts); n++ {
		for limit := 200; limit <= 1024; limit++ {
			got := summary(texts[:n], limit)
			if len(got) > limit {
				t.Fatalf("%d texts, limit %d: %d bytes", n, limit, len(got))
			}
			words(got)
			told := strings.Count(got, "no secret")
			if told < n && !strings.HasSuffix(got, fmt.Sprintf("; and %d more", n-told)) {
				t.Fatalf("%d of %d told: %s", told, n, got)
			}
		}
	}
	long := strings.Join(texts, " \n ")
	for n := 900; n < 1200; n++ {
		got := clip(long[:n] + " " + arn(1))
		if len(got) > reasonLimit {
			t.Fatalf("%d bytes", len(got))
		}
	}
	words(clip(long))
	if got := clip(strings.Repeat("€", 1000)); len(got) > reasonLimit || !utf8.ValidString(got) || !strings.HasSuffix(got, "€ …") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := clip("short\n text"); got != "short text" {
		t.Errorf("%q", got)
	}
}
