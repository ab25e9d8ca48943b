package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store/memory"
)

var errFull = errors.New("no space left on device")

// full is an audit that takes some records and no more.
type full struct {
	audit.Memory
	room int
}

func (f *full) Record(ctx context.Context, r audit.Record) error {
	if f.room--; f.room < 0 {
		return errFull
	}
	return f.Memory.Record(ctx, r)
}

func open(t *testing.T, log audit.Log) *controlplane.ControlPlane {
	t.Helper()
	plane, err := controlplane.Open(t.Context(), controlplane.Config{
		Store: memory.New(), Seal: seal.NewFile(filepath.Join(t.TempDir(), "root.key")), Audit: log,
		Bootstrap: directory.BootstrapConfig{Account: "123456789012"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	})
	return plane
}

// An account whose making the audit cannot take is not made, or else its key is not lost.
func TestCreateAccountWithoutAudit(t *testing.T) {
	t.Parallel()
	ctx, in := t.Context(), directory.NewAccount{ID: "210987654321"}
	accounts := func(plane *controlplane.ControlPlane) int {
		all, _, err := plane.Accounts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}

	plane := open(t, &full{})
	if account, made, err := plane.CreateAccount(ctx, in); !errors.Is(err, errFull) || account != nil || made != nil || accounts(plane) != 1 {
		t.Errorf("with no room: %v, %v, and there are %d accounts", account, err, accounts(plane))
	}

	closed, err := audit.Open(filepath.Join(t.TempDir(), "audit.log"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plane = open(t, closed)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if account, made, err := plane.CreateAccount(ctx, in); !errors.Is(err, audit.ErrClosed) || account != nil || made != nil || accounts(plane) != 1 {
		t.Errorf("with a closed audit: %v, %v, and there are %d accounts", account, err, accounts(plane))
	}

	plane = open(t, &full{room: 1})
	if account, made, err := plane.CreateAccount(ctx, in); !errors.Is(err, errFull) || account == nil || account.ID != in.ID || made == nil || made.SecretAccessKey == "" || accounts(plane) != 2 {
		t.Errorf("with room until it was made: %v, %v, and there are %d accounts", account, err, accounts(plane))
	}
}

func TestCreateAccountIsAudited(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(path, audit.Options{Delay: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	plane := open(t, log)
	for _, failure := range []bool{false, true} { // the second time there is one
		if _, _, err := plane.CreateAccount(t.Context(), directory.NewAccount{ID: "210987654321"}); (err != nil) != failure {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{`{"state":"IN_PROGRESS"}`, `{"accountId":"210987654321","state":"SUCCEEDED"}`, `{"state":"IN_PROGRESS"}`, `{"state":"FAILED"}`} {
		_, rest, found := bytes.Cut(text, []byte(`"serviceEventDetails":{"createAccountStatus":`+state+`}`))
		if !found {
			t.Errorf("the audit has no %s in its place:\n%s", state, text)
		}
		text = rest
	}
}
