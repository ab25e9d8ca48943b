package bolt

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/malote/malote/internal/recent"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/internal/tx"
)

const (
	knownEntries = 16384
	knownBytes   = 32 << 20
)

// known is what Look read lately. A value in it is the committed one: change takes what
// is about to be written out before anybody can see the new value in the file, and nothing
// read before comes in afterwards.
type known struct {
	values *recent.Cache[*value]
	// Even, and odd while a commit is under way.
	revision atomic.Uint64
	mu       sync.Mutex // held to put a value in, and to change the revision
}

// value is what a key has, and what is made of it.
type value struct {
	bytes []byte
	memo  store.Memo
}

// size is about what a value takes with all that is made of it: opened, and decoded.
func (v *value) size() int { return 4 * len(v.bytes) }

// change says that the keys are about to be written.
func (k *known) change(keys []string) {
	k.mu.Lock()
	k.revision.Add(1)
	k.mu.Unlock()
	for _, key := range keys {
		k.values.Remove(key)
	}
}

// changed says that they were, or that it failed.
func (k *known) changed() {
	k.mu.Lock()
	k.revision.Add(1)
	k.mu.Unlock()
}

// put remembers a value that was read in a transaction begun at a revision, if that is
// still the present one and the value was read before. It returns nil when it does not want it.
func (k *known) put(key string, raw []byte, revision uint64) *value {
	if revision%2 != 0 || !k.values.Wanted(key) {
		return nil
	}
	v := &value{bytes: bytes.Clone(raw)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.revision.Load() == revision {
		k.values.Put(key, v, v.size())
	}
	return v
}

// Look implements store.Looker. While all that fn reads is known, bolt is not asked.
func (s *Store) Look(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed() {
		return store.ErrClosed
	}
	l := &look{s: s, revision: s.known.revision.Load()}
	l.view = tx.Within(l)
	err := l.run(fn)
	if l.torn {
		return s.View(ctx, fn)
	}
	return err
}

// Recall implements store.Recaller.
func (s *Store) Recall(ctx context.Context, key string) ([]byte, *store.Memo, bool) {
	if ctx.Err() != nil || s.closed() {
		return nil, nil, false // View says why
	}
	v, ok := s.known.values.Get(key)
	if !ok {
		return nil, nil, false
	}
	return v.bytes, &v.memo, true
}

func (s *Store) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// look is a tx.Base of one state. As long as the revision stays, known values are of that
// state. Once it needs bolt, it goes on with bolt alone, if what it gave out before is
// bolt's state too; else it is torn.
type look struct {
	s        *Store
	view     tx.Tx
	revision uint64
	given    [4]entry // the known values
	n        int
	tx       *bbolt.Tx
	bucket   *bbolt.Bucket
	begun    uint64 // revision when tx began
	torn     bool
}

type entry struct {
	key   string
	value *value
}

var errTorn = errors.New("bolt: another state than that of the reads before")

func (l *look) run(fn func(store.Tx) error) error {
	defer func() {
		if l.tx != nil {
			l.tx.Rollback() // of a read-only transaction: ends it
		}
	}()
	return l.view.Run(fn)
}

func (l *look) Get(key string) ([]byte, error) {
	value, _, err := l.GetMemo(key)
	return value, err
}

// GetMemo is Get. What is known is never changed.
func (l *look) GetMemo(key string) ([]byte, *store.Memo, error) {
	if l.torn {
		return nil, nil, errTorn
	}
	if l.tx == nil {
		if l.n < len(l.given) {
			v, ok := l.s.known.values.Get(key)
			if ok && l.s.known.revision.Load() == l.revision {
				l.given[l.n] = entry{key, v}
				l.n++
				return v.bytes, &v.memo, nil
			}
		}
		if err := l.begin(); err != nil {
			return nil, nil, err
		}
	}
	raw, err := state{l.bucket}.Get(key)
	if err != nil {
		return nil, nil, err
	}
	if v := l.s.known.put(key, raw, l.begun); v != nil {
		return v.bytes, &v.memo, nil
	}
	return raw, nil, nil
}

func (l *look) Scan(prefix, after string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if l.tx == nil && !l.torn {
			if err := l.begin(); err != nil {
				yield(store.Entry{}, err)
				return
			}
		}
		if l.torn {
			yield(store.Entry{}, errTorn)
			return
		}
		state{l.bucket}.Scan(prefix, after)(yield)
	}
}

// begin goes on with bolt.
func (l *look) begin() error {
	l.begun = l.s.known.revision.Load()
	t, err := l.s.db.Begin(false)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	if err != nil {
		return err
	}
	l.tx, l.bucket = t, t.Bucket(bucket)
	for _, e := range l.given[:l.n] {
		if value := l.bucket.Get([]byte(e.key)); value == nil || !bytes.Equal(value, e.value.bytes) {
			l.torn = true
			return errTorn
		}
	}
	return nil
}
