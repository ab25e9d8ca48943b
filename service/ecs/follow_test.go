package ecs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/ourtags"
	"github.com/malote/malote/store"
)

// broken are versions of which nothing can be told for one secret.
type broken struct {
	currentOf
	asked func() error
}

func (b broken) Current(ctx context.Context, arn, selector string) (string, error) {
	if strings.HasSuffix(arn, ":broken") {
		return "", b.asked()
	}
	return b.currentOf.Current(ctx, arn, selector)
}

// spoil has services of a hosts that cannot be followed, each for another reason.
func (h *hosts) spoil(account string) {
	h.t.Helper()
	sc := scope{account, "us-east-1"}
	for _, name := range []string{"a-record", "a-secret", "a-task"} {
		h.service(account, name)
	}
	h.update(func(tx store.Tx) error {
		t, err := h.findTask(tx, sc, "default", "of-a-secret")
		if err != nil {
			return err
		}
		t = copyOf(t)
		t.Held[0].ARN = "arn:aws:secretsmanager:us-east-1:" + account + ":secret:broken"
		return errors.Join(h.putTask(tx, sc, t), tx.Put(sc.key("service", "default", "a-record"), []byte{0xff}), tx.Put(sc.key("task", "default", "of-a-task"), []byte{0xff}))
	})
}

// One service that cannot be followed is told of, and keeps no other from its turn.
func TestAServiceThatFailsKeepsNoOtherBack(t *testing.T) {
	t.Parallel()
	const account = "111122223333"
	h := newHosts(t)
	var log bytes.Buffer
	h.log = slog.New(slog.NewTextHandler(&log, nil))
	h.current = broken{h.current.(currentOf), func() error { return errors.New("no such thing") }}
	h.spoil(account)
	h.service(account, "web")
	waiting, err := h.Service.follow(t.Context())
	if err != nil || !waiting {
		t.Errorf("follow = %v, %v, want to look again", waiting, err)
	}
	lines := log.String()
	if asked := h.follow(account); len(asked) != 1 || asked["of-web"] == "" {
		t.Errorf("asked for: %v, want web's", asked)
	}
	for _, name := range []string{"a-record", "a-secret", "a-task"} {
		if n := strings.Count(lines, "service=arn:aws:ecs:us-east-1:"+account+":service/default/"+name+" "); n != 1 {
			t.Errorf("%s was told of %d times: %s", name, n, lines)
		}
	}
}

// What fails takes no place of those that are redeployed or refreshed at the same time.
func TestServicesThatFailTakeNoPlace(t *testing.T) {
	t.Parallel()
	const account = "111122223333"
	sc := scope{account, "us-east-1"}
	h := newHosts(t)
	for i := range wave {
		name := fmt.Sprint("a-", i)
		h.service(account, name)
		h.update(func(tx store.Tx) error {
			v, err := h.findService(tx, sc, "default", name)
			if err != nil {
				return err
			}
			v = copyOf(v)
			v.Tags[0].Value = aws.String(ourtags.Redeploy)
			v.Rollouts[0].State = types.DeploymentRolloutStateCompleted // of no revision
			return h.putService(tx, sc, v)
		})
	}
	h.service(account, "web")
	if asked := h.follow(account); len(asked) != 1 || asked["of-web"] == "" {
		t.Errorf("asked for: %v, want web's", asked)
	}
}

// When the store does not answer, no service is looked at after the first.
func TestFollowingEndsWithTheStore(t *testing.T) {
	t.Parallel()
	h := newHosts(t)
	asked := 0
	h.current = broken{h.current.(currentOf), func() error {
		asked++
		h.store.Close()
		return errors.New("it is gone")
	}}
	for _, account := range []string{"111122223333", "444455556666"} {
		h.spoil(account)
	}
	if _, err := h.Service.follow(t.Context()); !errors.Is(err, store.ErrClosed) || asked != 1 {
		t.Errorf("follow: %v after %d questions, want ErrClosed after one", err, asked)
	}
}
