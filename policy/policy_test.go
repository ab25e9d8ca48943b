package policy_test

import (
	"errors"
	"testing"

	"github.com/malote/malote/policy"
)

func parse(t testing.TB, kind policy.Kind, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(kind, []byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %s", text, explain(err))
	}
	texts.Store(d, text)
	return d
}

func explain(err error) string {
	if wrong := new(policy.SyntaxError); errors.As(err, &wrong) {
		return wrong.Msg + " " + wrong.Explain()
	}
	return err.Error()
}
