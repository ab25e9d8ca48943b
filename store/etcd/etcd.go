// Package etcd is a store in an etcd cluster, for any number of control planes on it.
//
// A transaction reads at one revision. Its writes go in one etcd transaction, on the
// condition that nothing it read has changed since: for a key, its modification
// revision; for a scanned range, that no key in it has a later one. The range condition
// cannot tell that a key is gone, so a transaction that deletes also touches a mark for
// the key's group (its first two path segments), and a scan has the group's mark in its
// condition. When a condition fails the function runs again.
//
// Below Config.Prefix, keys are at "k/" and marks at "d/".
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/internal/tx"
)

const (
	// What etcd takes in one transaction unless told otherwise: 128 operations, and as
	// many conditions. Beyond, conditions are joined into coarser ones.
	maxOps = 128
	// Entries fetched at a time by a scan.
	page = 256
	// How long a connection that is gone is not tried again, at most. gRPC's own two minutes
	// would keep a control plane away from a cluster that is long back.
	maxRedial = time.Second
	// After so many conflicts the writers of this process try one at a time.
	patience = 3
)

// Config says where the cluster is.
type Config struct {
	Endpoints []string    // http://10.0.0.1:2379, or https:// with TLS
	Prefix    string      // of all keys; "" means "malote/"
	TLS       *tls.Config // nil for none
	Username  string      // "" for none
	Password  string
	Timeout   time.Duration // of one request; 0 means five seconds
}

// Store implements store.Store.
type Store struct {
	client  *clientv3.Client
	prefix  string
	timeout time.Duration

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	slow   chan struct{} // one token, for the writer that lost patience

	mu       sync.Mutex // guards watchers.Add against Close
	watchers sync.WaitGroup
}

// Open connects to the cluster and fails when it does not answer.
func Open(ctx context.Context, config Config) (*Store, error) {
	if config.Prefix == "" {
		config.Prefix = "malote/"
	}
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	redial := backoff.DefaultConfig
	redial.BaseDelay, redial.MaxDelay = maxRedial/10, maxRedial
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            config.Endpoints,
		TLS:                  config.TLS,
		Username:             config.Username,
		Password:             config.Password,
		DialTimeout:          config.Timeout,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: config.Timeout,
		DialOptions:          []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: config.Timeout})},
		Logger:               zap.NewNop(), // every failure is an error that we return
	})
	switch {
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return nil, fmt.Errorf("store: etcd at %s does not know user %s with that password: %w", strings.Join(config.Endpoints, ", "), config.Username, err)
	case err != nil && ctx.Err() == nil:
		return nil, unreached(ctx, config, err)
	case err != nil:
		return nil, fmt.Errorf("store: connecting to etcd at %s: %w", strings.Join(config.Endpoints, ", "), err)
	}
	s := &Store{client: client, prefix: config.Prefix, timeout: config.Timeout, slow: make(chan struct{}, 1)}
	s.slow <- struct{}{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if _, err := s.get(ctx, s.prefix+"k/", clientv3.WithCountOnly()); err != nil {
		s.Close()
		return nil, unreached(ctx, config, err)
	}
	return s, nil
}

// unreached says why the cluster could not be read. gRPC tries again until the time is over, and
// tells that alone: where it is TLS that fails, a handshake of our own tells more.
func unreached(ctx context.Context, config Config, err error) error {
	endpoints := strings.Join(config.Endpoints, ", ")
	if errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrUserEmpty) {
		return fmt.Errorf("store: etcd at %s refuses keys below %s: %w", endpoints, config.Prefix, err)
	}
	if config.TLS != nil {
		for _, endpoint := range config.Endpoints {
			refused := handshake(ctx, config, strings.TrimPrefix(endpoint, "https://"))
			if down := (*net.OpError)(nil); errors.As(refused, &down) && down.Op == "dial" || errors.Is(refused, context.DeadlineExceeded) {
				continue // of which err tells
			}
			if refused != nil {
				return fmt.Errorf("store: etcd at %s: %w", endpoint, refused)
			}
		}
	}
	return fmt.Errorf("store: etcd at %s does not answer: %w", endpoints, err)
}

// handshake returns what either side has against the other, nil if nothing.
func handshake(ctx context.Context, config Config, address string) error {
	ctx, cancel := context.WithTimeout(ctx, config.Timeout)
	defer cancel()
	with := config.TLS.Clone()
	with.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: with}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	// By TLS 1.3 the server looks at our certificate last: with that comes a byte, or an alert.
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	if refused := (*net.OpError)(nil); errors.As(err, &refused) && refused.Op == "remote error" {
		return err
	}
	return nil
}

func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	return tx.View(&snapshot{store: s, ctx: ctx}).Run(fn)
}

func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	for attempt := 0; ; attempt++ {
		if err := s.check(ctx); err != nil {
			return err
		}
		if attempt == patience {
			select {
			case <-s.slow:
				defer func() { s.slow <- struct{}{} }()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		done, err := s.try(ctx, fn)
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(rand.N(time.Millisecond << min(attempt, 5))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try reports false when what fn read has changed.
func (s *Store) try(ctx context.Context, fn func(store.Tx) error) (done bool, err error) {
	seen := &snapshot{store: s, ctx: ctx}
	t := tx.Update(seen)
	if err := t.Run(fn); err != nil {
		return true, err
	}
	if err := ctx.Err(); err != nil {
		return true, err
	}
	writes := t.Writes()
	if len(writes) == 0 {
		return true, nil // a snapshot is serializable as it is
	}

	var ops []clientv3.Op
	marks := map[string]bool{}
	for _, w := range writes {
		if w.Value != nil {
			ops = append(ops, clientv3.OpPut(s.prefix+"k/"+w.Key, string(w.Value)))
			continue
		}
		ops = append(ops, clientv3.OpDelete(s.prefix+"k/"+w.Key))
		if mark := s.prefix + "d/" + group(w.Key); !marks[mark] {
			marks[mark] = true
			ops = append(ops, clientv3.OpPut(mark, ""))
		}
	}
	if len(ops) > maxOps {
		return true, fmt.Errorf("%w: %d operations, etcd takes %d", store.ErrTooLarge, len(ops), maxOps)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.client.Txn(ctx).If(seen.conditions()...).Then(ops...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return true, fmt.Errorf("%w: %w", store.ErrTooLarge, err)
	case err != nil:
		return true, s.wrap(ctx, "committing", err)
	}
	return answer.Succeeded, nil
}

// group is what a deletion is told by: everything before the second slash.
func group(key string) string {
	if i := strings.IndexByte(key, '/'); i >= 0 {
		if j := strings.IndexByte(key[i+1:], '/'); j >= 0 {
			return key[:i+1+j]
		}
	}
	return key
}

func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	return nil
}

func (s *Store) get(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.client.Get(ctx, key, options...)
	if err != nil {
		return nil, s.wrap(ctx, "reading", err)
	}
	return answer, nil
}

// wrap makes the end of ctx recognizable, whichever way the client says it.
func (s *Store) wrap(ctx context.Context, doing string, err error) error {
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	if ctx.Err() != nil {
		return fmt.Errorf("store: %s: %w", doing, ctx.Err())
	}
	return fmt.Errorf("store: %s: %w", doing, err)
}

// snapshot is a tx.Base at one revision, that of its first read, which remembers what
// was read.
type snapshot struct {
	store    *Store
	ctx      context.Context
	revision int64            // 0 before the first read
	keys     map[string]int64 // modification revision, 0 when absent
	scans    []scan
}

// scan is a range that was read, [from, to) below the prefix, and the marks that say
// whether something in it was deleted.
type scan struct {
	from, to       string
	marks, marksTo string // marksTo "" for one mark
}

func (s *snapshot) get(key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if s.revision > 0 {
		options = append(options, clientv3.WithRev(s.revision))
	}
	answer, err := s.store.get(s.ctx, s.store.prefix+key, options...)
	if err == nil && s.revision == 0 {
		s.revision = answer.Header.Revision
	}
	return answer, err
}

func (s *snapshot) Get(key string) ([]byte, error) {
	answer, err := s.get("k/" + key)
	if err != nil {
		return nil, err
	}
	if s.keys == nil {
		s.keys = make(map[string]int64)
	}
	if len(answer.Kvs) == 0 {
		s.keys[key] = 0
		return nil, store.ErrNotFound
	}
	s.keys[key] = answer.Kvs[0].ModRevision
	return answer.Kvs[0].Value, nil
}

func (s *snapshot) Scan(prefix, after string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		from, end := "k/"+prefix, rangeEnd("k/"+prefix)
		if after >= prefix {
			from = "k/" + after + "\x00"
		}
		if from >= end {
			return
		}
		seen := scan{from: from, to: end}
		defer func() { s.scans = append(s.scans, seen) }()
		if strings.Count(prefix, "/") >= 2 {
			seen.marks = "d/" + group(prefix)
		} else {
			seen.marks, seen.marksTo = "d/"+prefix, rangeEnd("d/"+prefix)
		}

		for at, more := from, true; more; {
			answer, err := s.get(at, clientv3.WithRange(s.store.prefix+end), clientv3.WithLimit(page))
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			for _, kv := range answer.Kvs {
				key := strings.TrimPrefix(string(kv.Key), s.store.prefix+"k/")
				at = "k/" + key + "\x00"
				if !yield(store.Entry{Key: key, Value: kv.Value}, nil) {
					seen.to = at // what lies beyond was not seen and may change
					return
				}
			}
			more = answer.More
		}
	}
}

// rangeEnd is the first key after all that begin with prefix, which is never empty
// nor all 0xff.
func rangeEnd(prefix string) string {
	b := []byte(prefix)
	for b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	b[len(b)-1]++
	return string(b)
}

// conditions are that nothing changed since the snapshot.
func (s *snapshot) conditions() []clientv3.Cmp {
	if len(s.keys)+2*len(s.scans) > maxOps {
		s.join()
	}
	root := s.store.prefix
	unchanged := func(from, to string) clientv3.Cmp {
		c := clientv3.Compare(clientv3.ModRevision(root+from), "<", s.revision+1)
		if to != "" {
			c = c.WithRange(root + to)
		}
		return c
	}
	var conditions []clientv3.Cmp
	for key, revision := range s.keys {
		conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(root+"k/"+key), "=", revision))
	}
	for _, scan := range s.scans {
		conditions = append(conditions, unchanged(scan.from, scan.to), unchanged(scan.marks, scan.marksTo))
	}
	return conditions
}

// join replaces what was read by the one range that spans it.
func (s *snapshot) join() {
	var from, to []string
	for key := range s.keys {
		from, to = append(from, "k/"+key), append(to, "k/"+key+"\x00")
	}
	for _, scan := range s.scans {
		from, to = append(from, scan.from), append(to, scan.to)
	}
	s.keys = nil
	s.scans = []scan{{slices.Min(from), slices.Max(to), "d/", rangeEnd("d/")}}
}

// Watch nudges once more when the cluster has accepted the watch, and when one was
// interrupted: something may have changed before.
func (s *Store) Watch(ctx context.Context, prefix string) <-chan struct{} {
	nudges := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || ctx.Err() != nil {
		close(nudges)
		return nudges
	}
	s.watchers.Go(func() {
		defer close(nudges)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		for ctx.Err() == nil {
			answers := s.client.Watch(clientv3.WithRequireLeader(ctx), s.prefix+"k/"+prefix,
				clientv3.WithRange(s.prefix+rangeEnd("k/"+prefix)), clientv3.WithCreatedNotify())
			for range answers { // accepted, changed or interrupted
				if ctx.Err() != nil {
					return
				}
				select {
				case nudges <- struct{}{}:
				default: // a nudge already waits
				}
			}
			select {
			case <-time.After(100 * time.Millisecond): // no leader, perhaps
			case <-ctx.Done():
			}
		}
	})
	return nudges
}

func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.ctx.Err() != nil
	s.cancel()
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.watchers.Wait()
	return s.client.Close()
}
