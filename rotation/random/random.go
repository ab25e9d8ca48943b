// Package random rotates a secret that opens nothing that has to be told: the new value is
// drawn and becomes current.
package random

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/steps"
)

// New rotates the whole value or, unless key is empty, one key of a JSON object.
func New(password steps.Password, key string) rotation.Function {
	return steps.Function(way{password, key})
}

type way struct {
	password steps.Password
	key      string
}

func (w way) New(ctx context.Context, run *steps.Run, current string) (string, error) {
	password, err := w.password.Make(ctx, run)
	if err != nil || w.key == "" {
		return password, err
	}
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(current), &members) != nil || members == nil {
		return "", errors.New("the AWSCURRENT version is not a JSON object")
	}
	if members[w.key], err = json.Marshal(password); err != nil {
		return "", err
	}
	value, err := json.Marshal(members)
	return string(value), err
}

// Set has nobody to tell.
func (way) Set(context.Context, *steps.Run, string, string) error { return nil }

// Test sees that what is about to become current can be used.
func (w way) Test(_ context.Context, _ *steps.Run, pending string) error {
	if w.key == "" {
		if pending == "" {
			return errors.New("the AWSPENDING version is empty")
		}
		return nil
	}
	var members map[string]json.RawMessage
	var text string
	if json.Unmarshal([]byte(pending), &members) != nil || json.Unmarshal(members[w.key], &text) != nil || text == "" {
		return fmt.Errorf("the AWSPENDING version has no text under the key %q", w.key)
	}
	return nil
}
