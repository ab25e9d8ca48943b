package logs

import (
	"context"
	"errors"
	"strings"

	"github.com/malote/malote/store"
)

// Removal goes in transactions of this many keys.
const removedAtOnce = store.MaxWrites - 10

// removeNow removes what a deleted group or stream left. What fails is left to upkeep: the
// deletion itself is done.
func (s *Service) removeNow(ctx context.Context, gone string) {
	if err := s.remove(context.WithoutCancel(ctx), gone); err != nil {
		s.log.Warn("removing deleted log events, which is tried again", "err", err)
	}
}

// removeGone does it for all that is left.
func (s *Service) removeGone(ctx context.Context) error {
	var left []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		return each(tx, "gone", func(_ place, key string) { left = append(left, key) })
	})
	errs := []error{err}
	for _, gone := range left {
		errs = append(errs, s.remove(ctx, gone))
	}
	return errors.Join(errs...)
}

// each calls fn with the keys of a kind, whatever their account and Region.
func each(tx store.Tx, kind string, fn func(p place, key string)) error {
	after := ""
	for {
		next := ""
		for e, err := range tx.Scan("logs/", after) {
			if err != nil {
				return err
			}
			parts := strings.SplitN(e.Key, "/", 5) // logs ACCOUNT REGION KIND REST
			if len(parts) < 5 {
				after = e.Key
				continue
			}
			if p := (place{parts[1], parts[2]}); parts[3] == kind {
				fn(p, e.Key)
				after = e.Key
			} else if parts[3] < kind {
				// Over the events, of which there are many.
				next = p.prefix(kind)
			} else {
				next = strings.TrimSuffix(p.prefix("~"), "/")
			}
			if next != "" {
				break
			}
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// remove removes what lies below the id that the key gone names, and then that key.
func (s *Service) remove(ctx context.Context, gone string) error {
	for _, kind := range []string{"stream", "event"} {
		prefix := strings.Replace(gone, "/gone/", "/"+kind+"/", 1) + "/"
		for more := true; more; {
			err := s.store.Update(ctx, func(tx store.Tx) error {
				more = false
				var keys []string
				for e, err := range tx.Scan(prefix, "") {
					if err != nil {
						return err
					}
					if len(keys) == removedAtOnce {
						more = true
						break
					}
					keys = append(keys, e.Key)
				}
				for _, key := range keys {
					if err := tx.Delete(key); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return s.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(gone) })
}

// expire removes expired events and counts the bytes that each group has.
func (s *Service) expire(ctx context.Context) error {
	type owned struct {
		place
		key string
	}
	var all []owned
	err := s.store.View(ctx, func(tx store.Tx) error {
		return each(tx, "group", func(p place, key string) { all = append(all, owned{p, key}) })
	})
	errs := []error{err}
	for _, o := range all {
		errs = append(errs, s.expireGroup(ctx, o.place, o.key))
	}
	return errors.Join(errs...)
}

func (s *Service) expireGroup(ctx context.Context, p place, key string) error {
	var g *group
	var streams []*stream
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		if g, err = s.groups.Get(tx, key); err != nil {
			return err
		}
		for row, err := range s.streams.Scan(tx, p.streams(g), "") {
			if err != nil {
				return err
			}
			streams = append(streams, row.Value)
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	oldest := g.oldest(s.now())
	for _, st := range streams {
		if st.Seq == 0 || st.First >= oldest {
			continue
		}
		for more := true; more; {
			if more, err = s.expireSome(ctx, p, g, st.Name, oldest); err != nil {
				return err
			}
		}
	}
	return s.count(ctx, p, g, key)
}

// count has the record of a group say how many bytes its streams have.
func (s *Service) count(ctx context.Context, p place, was *group, key string) error {
	bytes := int64(0)
	err := s.store.View(ctx, func(tx store.Tx) error {
		for row, err := range s.streams.Scan(tx, p.streams(was), "") {
			if err != nil {
				return err
			}
			bytes += row.Value.Bytes
		}
		return nil
	})
	if err != nil || bytes == was.Bytes {
		return err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		g, err := s.groups.Get(tx, key)
		if err != nil || g.ID != was.ID {
			return err
		}
		counted := *g
		counted.Bytes = bytes
		return s.groups.Put(tx, key, &counted)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}

// expireSome removes chunks all of whose events are older than oldest.
func (s *Service) expireSome(ctx context.Context, p place, g *group, name string, oldest int64) (more bool, err error) {
	err = s.store.Update(ctx, func(tx store.Tx) error {
		more = false
		was, err := s.streams.Get(tx, p.stream(g, name))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		st := *was
		// A chunk spans st.Span at most, so none that begins before this has later events.
		limit := oldest - st.Span
		var keys []string
		st.First = max(limit, st.First)
		for e, err := range tx.Scan(p.events(g, &st), "") {
			if err != nil {
				return err
			}
			first, _, err := parseChunkKey(e.Key)
			if err != nil {
				return err
			}
			if first >= limit {
				st.First = first
				break
			}
			if len(keys) == removedAtOnce {
				st.First, more = first, true
				break
			}
			keys = append(keys, e.Key)
			st.Bytes -= int64(len(e.Value))
		}
		for _, key := range keys {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		if st == *was {
			return nil
		}
		return s.streams.Put(tx, p.stream(g, name), &st)
	})
	return more, err
}
