package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/recent"
)

// The file has one JSON object a line, in CloudTrail's words and two of ours at its end:
// "sequence", from 1 and without a gap, and "previousHash", the SHA-256 in hex of the line
// before, without its line end; of the first, 64 zeros. A last line without line end was
// being written when the machine stopped; the next File to open cuts it off.
//
// What the log says of itself are records too, of eventSource "malote": a checkpoint signs
// all that is before it (see checkpoint.go), AuditGap says that the log could not be written
// for a while, AuditFileDeleted that a file put aside has been kept long enough, and
// AuditTruncated that the log ended before its last checkpoint when it was opened.
//
// A file that has grown is put aside under its name, a dot and the sequence of its first
// record in 20 digits, and the chain goes on in a new one (see segment.go).

// Sentinels of File.Record.
var (
	ErrClosed = errors.New("the audit log is closed")
	ErrLocked = errors.New("the audit log is in use by another process")
)

// Options of a File. The zero value is good.
type Options struct {
	Queue int           // records that may wait for the disk; zero means 16,384
	Delay time.Duration // how long a record waits for company before it is written; zero means 2 ms
	Sync  time.Duration // between fsyncs while there is something to sync; zero means a second
	Size  int64         // at which a file is put aside; zero means 256 MiB, less means never
	Log   *slog.Logger  // where a failing disk is reported; nil means nowhere

	// WhenFull is what happens to requests while the log cannot be written.
	WhenFull WhenFull
	// KeepFor and KeepFiles are how long, and how many, files that were put aside are kept;
	// zero means for ever, all. With KeepFor a file is put aside when it is a day old, or an
	// eighth of KeepFor. Nothing is deleted that a checkpoint has not signed.
	KeepFor   time.Duration
	KeepFiles int
	// Checkpoint is the longest that a record waits for a signature, once there is a key
	// (see Sign); zero means a minute. Every 4,096 records there is one in any case.
	Checkpoint time.Duration
	Now        func() time.Time // nil means time.Now
}

// WhenFull is what happens to requests while the log cannot be written, its disk being
// full or broken.
type WhenFull string

const (
	// RefuseReads refuses requests whose answers hold secrets. The records of others are
	// kept in memory until the log can be written, as many as Options.Queue; when there is
	// no room for more, all are refused.
	RefuseReads WhenFull = "refuse-reads"
	// RefuseAll refuses every request.
	RefuseAll WhenFull = "refuse-all"
	// Continue refuses nothing. Records are kept in memory as far as there is room, and
	// then lost; how many, the log says when it can be written again.
	Continue WhenFull = "continue"
)

// File is a Log in a file. One goroutine writes, many records at a time, so Record costs
// its caller a copy. What Record took reaches the file within Delay, unless the process is
// killed in between, and the disk within Sync.
//
// While the file cannot be written, Record returns the reason (but see Continue), so
// nothing goes on unrecorded; what it took before is kept and written when the disk is well
// again.
type File struct {
	o     Options
	path  string
	fsync func(*os.File) error

	wake chan struct{} // has one item when queue has some
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the writer has ended

	extents *extents // for readers

	signer atomic.Pointer[signer] // nil: nobody signs yet
	signed chan struct{}          // has one item when there is a new signer
	open   atomic.Bool            // whether ready need not look further

	mu     sync.Mutex    // guards what follows
	file   *os.File      // only the writer changes it
	queue  []Record      // not yet with the writer
	taken  int           // with the writer, not yet in the file: the last ones of spare
	load   int           // weight of both
	room   chan struct{} // closed and replaced after every write
	err    error         // why the last write or fsync failed; nil when it did not
	gap    gap           // since err is not nil
	closed bool

	// The writer's alone.
	spare    []Record
	lines    []byte
	ends     []end
	format   formatter
	size     int64  // of the file's whole lines
	first    uint64 // sequence of the file's first record
	sequence uint64
	head     [sha256.Size]byte // hash of the last line
	dirty    bool
	synced   time.Time // when that was last tried
	unsynced error     // why the last fsync failed; nil when it did not

	begun    time.Time // when the file was
	unsigned int       // records since the last checkpoint
	covered  uint64    // sequence of the last checkpoint that this File wrote
	anchor   []byte    // of the last checkpoint, for its own file, until it is synced
	pruned   time.Time
}

// gap is what happened while the log could not be written.
type gap struct {
	since         time.Time
	why           string
	refused, lost int // requests; records
}

// Open opens or makes the log at path, for its owner alone, and cuts off a torn last
// line. The caller closes it.
func Open(path string, o Options) (*File, error) { return open(path, o, (*os.File).Sync) }

func open(path string, o Options, fsync func(*os.File) error) (*File, error) {
	if o.Queue == 0 {
		o.Queue = 16384
	}
	if o.Delay == 0 {
		o.Delay = 2 * time.Millisecond
	}
	if o.Sync == 0 {
		o.Sync = time.Second
	}
	if o.Size == 0 {
		o.Size = 256 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.WhenFull == "" {
		o.WhenFull = RefuseReads
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	f := &File{
		o: o, path: path, fsync: fsync, file: file, extents: recent.New[extent](maxExtents, 1<<20),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), room: make(chan struct{}), signed: make(chan struct{}, 1),
	}
	if err := f.recover(); err != nil {
		file.Close()
		return nil, fmt.Errorf("opening the audit log %s: %w", path, err)
	}
	f.open.Store(true)
	if err := f.compareAnchor(); err != nil {
		o.Log.Error("audit log was tampered with", "err", err)
		f.enqueue([]Record{own("AuditTruncated", o.Now(), err.Error(), nil)})
	}
	go f.run()
	return f, nil
}

// recover takes the file for itself and finds the end of the chain.
func (f *File) recover() error {
	if err := syscall.Flock(int(f.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return ErrLocked
		}
		return err
	}
	if err := f.file.Chmod(0o600); err != nil {
		return err
	}
	line, end, err := lastLine(f.file)
	if err != nil {
		return err
	}
	if err := f.file.Truncate(end); err != nil {
		return err
	}
	f.size, f.begun = end, f.o.Now()
	if line == nil {
		return f.follow()
	}
	if at, ok := firstTime(f.file); ok && at.Before(f.begun) {
		f.begun = at
	}
	if f.first, err = firstSequence(f.file); err != nil {
		return err
	}
	f.sequence, f.head, err = readLink(line)
	if _, signed := readCheckpoint(line); !signed {
		f.unsigned = 1 // or more
	}
	return err
}

// readLink says what the record after line has to say of it.
func readLink(line []byte) (sequence uint64, head [sha256.Size]byte, err error) {
	var link link
	if err := json.Unmarshal(line, &link); err != nil || link.Sequence == 0 {
		return 0, head, errors.New("its last line is not a record: something else changed it")
	}
	return link.Sequence, sha256.Sum256(line), nil
}

// link is what chains a line to the one before.
type link struct {
	Sequence     uint64 `json:"sequence"`
	PreviousHash string `json:"previousHash"`
}

// lastLine returns the last whole line, nil when there is none, and where it ends. It
// reads the file from behind, so its length does not matter.
func lastLine(file *os.File) (line []byte, end int64, err error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	const step = 64 << 10
	var tail []byte // file[from:]
	for from := size; ; {
		if last := bytes.LastIndexByte(tail, '\n'); last >= 0 {
			first := bytes.LastIndexByte(tail[:last], '\n')
			if first >= 0 || from == 0 {
				return tail[first+1 : last], from + int64(last) + 1, nil
			}
		}
		if from == 0 {
			return nil, 0, nil
		}
		n := min(step, from)
		from -= n
		chunk := make([]byte, n, int(n)+len(tail))
		if _, err := file.ReadAt(chunk, from); err != nil {
			return nil, 0, err
		}
		tail = append(chunk, tail...)
	}
}

// Record takes r. When too many records wait for the disk it waits too, as long as ctx lives.
func (f *File) Record(ctx context.Context, r Record) error {
	f.mu.Lock()
	for {
		switch {
		case f.closed:
			f.mu.Unlock()
			return ErrClosed
		case f.err != nil && f.o.WhenFull == Continue:
			if f.load >= f.o.Queue {
				f.gap.lost++
				f.mu.Unlock()
				return nil
			}
		case f.err != nil:
			err := f.err
			f.gap.refused++
			f.mu.Unlock()
			return err
		}
		if f.load < f.o.Queue {
			break
		}
		room := f.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the audit log: %w", ctx.Err())
		}
		f.mu.Lock()
	}
	f.take(r)
	return nil
}

// take appends to the queue and unlocks f.mu, which its caller holds.
func (f *File) take(records ...Record) { f.filled(append(f.queue, records...)) }

// filled makes queue, to which something was appended, the queue, and unlocks f.mu, which
// its caller holds.
func (f *File) filled(queue []Record) {
	before := len(f.queue)
	for i := before; i < len(queue); i++ {
		f.load += queue[i].weight()
	}
	f.queue = queue
	if f.load >= f.o.Queue {
		f.open.Store(false)
	}
	f.mu.Unlock()
	if before == 0 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// enqueue takes what must be taken.
func (f *File) enqueue(records []Record) {
	f.mu.Lock()
	f.take(records...)
}

// ready returns nil when a request may begin: what it comes to will be taken. When too
// many records wait for the disk it waits too, as long as ctx lives.
func (f *File) ready(ctx context.Context, reveals bool) error {
	if f.open.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.closed:
			return ErrClosed
		case f.err != nil:
			if f.o.WhenFull == RefuseAll || f.o.WhenFull == RefuseReads && (reveals || f.load >= f.o.Queue) {
				f.gap.refused++
				return f.err
			}
			return nil
		case f.load < f.o.Queue:
			return nil
		}
		room := f.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for the audit log: %w", err)
		}
	}
}

// Refusal is Failure where it has requests refused, which it has not with Continue.
func (f *File) Refusal() error {
	if f.o.WhenFull == Continue {
		return nil
	}
	return f.Failure()
}

// Failure is why the log cannot be written, nil when it can. While nothing is recorded, a disk
// that has become full or broken is not noticed; one that is well again is, by itself.
func (f *File) Failure() error {
	if f.open.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	return f.err
}

// Ready puts what Record took on the disk, and returns nil when something may begin whose
// outcome holds a secret: that is, unless WhenFull says otherwise, when the disk took it.
func (f *File) Ready(ctx context.Context) error {
	if err := f.Flush(ctx); ctx.Err() != nil {
		return err
	}
	return f.ready(ctx, true)
}

// commit takes the records that fill appends: those of a request that was begun and has
// happened. Where its answer holds secrets and the log cannot be written, it says so, and
// the records wait with what became of the answer: a key may have been made.
func (f *File) commit(reveals bool, fill func(to []Record, withheld bool) []Record) error {
	f.mu.Lock()
	switch {
	case f.closed:
		f.mu.Unlock()
		r := fill(nil, reveals)[0]
		f.o.Log.Error("a request ended after the audit log: it is not in it", "op", r.Service+":"+r.Name, "request_id", r.RequestID)
		if reveals {
			return ErrClosed
		}
		return nil
	case f.err != nil && f.o.WhenFull == Continue && f.load >= f.o.Queue:
		f.gap.lost += len(fill(nil, false))
		f.mu.Unlock()
		return nil
	case f.err != nil && f.o.WhenFull != Continue && reveals:
		err := f.err
		f.gap.refused++
		f.filled(fill(f.queue, true))
		return err
	}
	f.filled(fill(f.queue, false)) // how many more than Queue, the number of connections bounds
	return nil
}

// Flush returns when everything that Record took is on the disk.
func (f *File) Flush(ctx context.Context) error {
	for {
		f.mu.Lock()
		waiting, room, file, err := len(f.queue)+f.taken > 0, f.room, f.file, f.err
		f.mu.Unlock()
		if err != nil {
			return err
		}
		if !waiting {
			if err := f.fsync(file); !errors.Is(err, os.ErrClosed) { // put aside, and synced for that
				return err
			}
			return nil
		}
		select {
		case <-room:
		case <-f.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close writes what waits, syncs and closes. Its error says that something did not reach the disk.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		<-f.done
		return nil
	}
	f.closed = true
	f.open.Store(false)
	f.mu.Unlock()
	close(f.stop)
	<-f.done
	err := f.fsync(f.file)
	if err == nil {
		f.writeAnchor()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if lost := len(f.queue) + f.taken; lost > 0 {
		err = errors.Join(f.err, fmt.Errorf("%d audit records were not written", lost), err)
	}
	return errors.Join(err, f.file.Close())
}

// retryAfter is how long a failing disk is left alone.
const retryAfter = 250 * time.Millisecond

// run is the writer.
func (f *File) run() {
	defer close(f.done)
	timer := time.NewTimer(f.o.Sync)
	defer timer.Stop()
	signature := time.NewTimer(f.o.Checkpoint)
	defer signature.Stop()
	waiting := false // for the signature's timer
	for {
		select {
		case <-f.wake:
			if !f.sleep(f.o.Delay) {
				f.last()
				return
			}
			for !f.write() {
				if !f.sleep(retryAfter) {
					f.last()
					return
				}
			}
			if f.dirty && time.Since(f.synced) >= f.o.Sync {
				f.sync()
			}
			if f.dirty {
				timer.Reset(f.o.Sync)
			}
			if f.unsigned > 0 && !waiting {
				wait := f.o.Checkpoint
				if f.covered == 0 { // whoever looks at a new log should find it signed
					wait = min(wait, f.o.Sync)
				}
				signature.Reset(wait)
				waiting = true
			}
		case <-timer.C:
			if f.dirty {
				f.sync()
			}
		case <-signature.C:
			waiting = false
			f.endorse()
		case <-f.signed:
			f.endorse()
		case <-f.stop:
			f.last()
			return
		}
		if f.unsynced != nil {
			timer.Reset(f.o.Sync)
		}
	}
}

// endorse signs what is in the log, and puts it on the disk.
func (f *File) endorse() {
	if f.checkpoint() {
		f.sync()
	}
	f.prune()
}

// last writes what is left, as far as the disk lets it.
func (f *File) last() {
	for f.write() {
		f.mu.Lock()
		more := len(f.queue) > 0
		f.mu.Unlock()
		if !more {
			f.checkpoint()
			return
		}
	}
}

// sleep returns false when the log is closed meanwhile.
func (f *File) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.stop:
		return false
	}
}

// write puts all that waits into the file, a chunk at a time. What a full disk cuts off in
// the middle of a line is taken back, so the file ends with a whole line unless the process dies.
func (f *File) write() bool {
	f.mu.Lock()
	if f.taken == 0 {
		f.queue, f.spare = f.spare[:0], f.queue
		f.taken = len(f.spare)
	}
	waiting := f.spare[len(f.spare)-f.taken:]
	f.mu.Unlock()
	for len(waiting) > 0 {
		n, err := f.writeChunk(waiting)
		weight := 0
		for i := range waiting[:n] {
			weight += waiting[i].weight()
		}
		clear(waiting[:n]) // let go of principals and decisions
		waiting = waiting[n:]
		f.unsigned += n
		if f.wrote(n, weight, err); err != nil {
			return false
		}
		if f.unsigned >= checkpointEvery {
			f.checkpoint()
		}
		if f.o.Size > 0 && f.size >= f.o.Size || f.old() {
			f.putAside()
		}
	}
	return true
}

// chunk is about what one write carries.
const chunk = 128 << 10

// writeChunk writes the first n of records.
func (f *File) writeChunk(records []Record) (n int, err error) {
	lines, sequence, head := f.lines[:0], f.sequence, f.head
	ends := f.ends[:0]
	for i := range records {
		start := len(lines)
		if start > chunk {
			break
		}
		sequence++
		lines = f.format.append(lines, &records[i], sequence, &head)
		head = sha256.Sum256(lines[start:])
		lines = append(lines, '\n')
		ends = append(ends, end{len(lines), head})
	}
	f.lines, f.ends = lines, ends
	written, err := f.file.WriteAt(lines, f.size)
	n = len(ends)
	if err != nil {
		n = sort.Search(len(ends), func(i int) bool { return ends[i].offset > written })
		err = fmt.Errorf("writing the audit log: %w", err)
	}
	if n > 0 {
		f.size += int64(ends[n-1].offset)
		f.sequence += uint64(n)
		f.head = ends[n-1].head
		f.dirty = true
	}
	if err != nil {
		if undo := f.file.Truncate(f.size); undo != nil {
			err = errors.Join(err, undo)
		}
	}
	return n, err
}

// end is where a line of a chunk ends, and its hash.
type end struct {
	offset int
	head   [sha256.Size]byte
}

// wrote tells callers how the write of n records went. While the disk does not keep what
// is written, none went well.
func (f *File) wrote(n, weight int, err error) {
	if err == nil {
		err = f.unsynced
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.o.Now()
	switch {
	case err != nil && f.err == nil:
		f.gap = gap{since: now, why: err.Error()}
		consequence := "reads of secrets are refused until it can"
		switch f.o.WhenFull {
		case RefuseAll:
			consequence = "every request is refused until it can"
		case Continue:
			consequence = "requests go on, and what does not fit into memory will be in no record"
		}
		f.o.Log.Error("audit log cannot be written: "+consequence, "err", err)
	case err == nil && f.err != nil:
		f.o.Log.Info("audit log can be written again", "refused", f.gap.refused, "lost", f.gap.lost)
		r := f.gap.record(now)
		f.queue = append(f.queue, r)
		f.load += r.weight()
	}
	f.err = err
	f.load -= weight
	if f.taken -= n; f.taken == 0 {
		f.spare = f.spare[:0]
	}
	f.open.Store(f.err == nil && !f.closed && f.load < f.o.Queue)
	if len(f.queue) > 0 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	close(f.room)
	f.room = make(chan struct{})
}

// record is what the log says of a gap when it is over.
func (g *gap) record(now time.Time) Record {
	details, err := json.Marshal(struct {
		From    string `json:"from"`
		Until   string `json:"until"`
		Refused int    `json:"refusedRequests"`
		Lost    int    `json:"lostRecords"`
	}{g.since.UTC().Format(timeFormat), now.UTC().Format(timeFormat), g.refused, g.lost})
	if err != nil {
		panic(err) // strings and numbers
	}
	return own("AuditGap", now, g.why, details)
}

// maker is who records what the log says of itself.
var maker = &caller.Principal{Type: caller.Service, Service: ownSource}

// ownSource is the eventSource of what the log says of itself.
const ownSource = "malote"

func own(name string, now time.Time, reason string, details []byte) Record {
	r := Record{Time: now, Event: true, Service: ownSource, Name: name, Principal: maker, Details: details}
	if reason != "" {
		r.ErrorCode, r.ErrorMessage = name, reason
	}
	return r
}

// sync puts the file on the disk. That it cannot is as bad as a write that fails, until it
// can again: the kernel may have let go of what was written.
func (f *File) sync() error {
	failed := f.unsynced != nil
	f.synced, f.unsynced = time.Now(), nil
	if err := f.fsync(f.file); err != nil {
		f.unsynced = fmt.Errorf("syncing the audit log: %w", err)
		f.wrote(0, 0, f.unsynced)
		return f.unsynced
	}
	f.dirty = false
	f.writeAnchor()
	if failed {
		f.wrote(0, 0, nil)
	}
	return nil
}
