package ecs

import (
	"strings"
	"testing"
)

func TestAReasonEndsAfterAWord(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/production"
	long := strings.TrimSpace(strings.Repeat(arn+" ", 40))
	got := shorten(long)
	words := strings.Fields(got)
	if len(got) > 1024 || words[len(words)-1] != "…" {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	for _, word := range words[:len(words)-1] {
		if word != arn {
			t.Errorf("a part of an ARN: %s", word)
		}
	}
	if got := shorten(arn); got != arn {
		t.Errorf("%s", got)
	}
}
