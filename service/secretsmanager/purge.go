package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/malote/malote/store"
)

// maxAtOnce is how many versions one transaction does away with. A secret may have more
// than store.MaxWrites allows, with the record and its entries, to be written together.
const maxAtOnce = 90

// remove leaves nothing of the secret, if it has no more than maxAtOnce versions; else it
// takes away as many, and the secret must be gone for everybody by then.
func (s *Service) remove(tx store.Tx, x *secret) (done bool, err error) {
	now := x.Versions[:min(len(x.Versions), maxAtOnce)]
	for i := range now {
		if err := s.values.Delete(tx, x.valuePath(now[i].ID)); err != nil {
			return false, err
		}
	}
	if len(now) < len(x.Versions) {
		rest := x.clone()
		rest.Versions = rest.Versions[len(now):]
		return false, s.secrets.Put(tx, x.path(), rest)
	}
	if err := tx.Delete(x.createdPath()); err != nil {
		return false, err
	}
	if !x.Deletion.IsZero() {
		if err := tx.Delete(x.duePath()); err != nil {
			return false, err
		}
	}
	if x.Rotation != nil {
		if !x.Rotation.At.IsZero() {
			if err := tx.Delete(x.queuePath()); err != nil {
				return false, err
			}
		}
		if err := s.histories.Delete(tx, x.historyPath()); err != nil {
			return false, err
		}
	}
	return true, s.secrets.Delete(tx, x.path())
}

// purge removes the secret at path if it is gone. Its record goes last, and with it the
// entry that leads deleteDue there, so that what a crash interrupts is taken up again.
func (s *Service) purge(ctx context.Context, path string) error {
	for done := false; !done; {
		err := s.store.Update(ctx, func(tx store.Tx) error {
			x, err := s.secrets.Get(tx, path)
			if done = errors.Is(err, store.ErrNotFound); done {
				return nil
			}
			if err != nil {
				return err
			}
			if done = !x.gone(s.now); done {
				return nil
			}
			done, err = s.remove(tx, x)
			return err
		})
		if err != nil {
			return fmt.Errorf("deleting a secret: %w", err)
		}
	}
	return nil
}

// deleteDue removes the secrets whose recovery window is over. One that cannot be removed
// does not keep the others.
func (s *Service) deleteDue(ctx context.Context) error {
	var paths []string
	limit := s.now().UnixMilli()
	err := s.store.View(ctx, func(tx store.Tx) error {
		paths = nil
		for entry, err := range tx.Scan(duePrefix, "") {
			if err != nil {
				return err
			}
			parts := strings.SplitN(strings.TrimPrefix(entry.Key, duePrefix), "/", 4)
			if len(parts) != 4 {
				return fmt.Errorf("secretsmanager: strange entry %q", entry.Key)
			}
			if at, err := strconv.ParseInt(parts[0], 10, 64); err != nil || at > limit {
				return err
			}
			paths = append(paths, secretPath(parts[1], parts[2], parts[3]))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for secrets to delete: %w", err)
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, s.purge(ctx, path))
	}
	return errors.Join(errs...)
}
