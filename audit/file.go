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
	"syscall"
	"time"
)

// The file has one JSON object a line, in CloudTrail's words and two of ours at its end:
// "sequence", from 1 and without a gap, and "previousHash", the SHA-256 in hex of the line
// before, without its line end; of the first, 64 zeros. A last line without line end was
// being written when the machine stopped; the next File to open cuts it off.
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
}

// File is a Log in a file. One goroutine writes, many records at a time, so Record costs
// its caller a copy. What Record took reaches the file within Delay, unless the process is
// killed in between, and the disk within Sync.
//
// While the file cannot be written, Record returns the reason, so nothing goes on
// unrecorded; what it took before is kept and written when the disk is well again.
type File struct {
	o    Options
	path string

	wake chan struct{} // has one item when queue has some
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the writer has ended

	mu     sync.Mutex    // guards what follows
	file   *os.File      // only the writer changes it
	queue  []Record      // not yet with the writer
	taken  int           // with the writer, not yet in the file: the last ones of spare
	room   chan struct{} // closed and replaced after every write
	err    error         // why the last write failed; nil when it did not
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
	synced   time.Time
}

// Open opens or makes the log at path, for its owner alone, and cuts off a torn last
// line. The caller closes it.
func Open(path string, o Options) (*File, error) {
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
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	f := &File{
		o: o, path: path, file: file,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), room: make(chan struct{}),
	}
	if err := f.recover(); err != nil {
		file.Close()
		return nil, fmt.Errorf("opening the audit log %s: %w", path, err)
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
	f.size = end
	if line == nil {
		return f.follow()
	}
	if f.first, err = firstSequence(f.file); err != nil {
		return err
	}
	f.sequence, f.head, err = readLink(line)
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
		case f.err != nil:
			err := f.err
			f.mu.Unlock()
			return err
		}
		if len(f.queue)+f.taken < f.o.Queue {
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
	f.queue = append(f.queue, r)
	first := len(f.queue) == 1
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
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
			if err := file.Sync(); !errors.Is(err, os.ErrClosed) { // put aside, and synced for that
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
	f.mu.Unlock()
	close(f.stop)
	<-f.done
	err := f.file.Sync()
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
		case <-timer.C:
			if f.dirty {
				f.sync()
			}
		case <-f.stop:
			f.last()
			return
		}
	}
}

// last writes what is left, as far as the disk lets it.
func (f *File) last() {
	for f.write() {
		f.mu.Lock()
		more := len(f.queue) > 0
		f.mu.Unlock()
		if !more {
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
		clear(waiting[:n]) // let go of principals and decisions
		waiting = waiting[n:]
		if f.wrote(n, err); err != nil {
			return false
		}
		if f.o.Size > 0 && f.size >= f.o.Size {
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

// wrote tells callers how the write of n records went.
func (f *File) wrote(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil && f.err == nil:
		f.o.Log.Error("audit log cannot be written, every request is refused until it can", "err", err)
	case err == nil && f.err != nil:
		f.o.Log.Info("audit log can be written again")
	}
	f.err = err
	if f.taken -= n; f.taken == 0 {
		f.spare = f.spare[:0]
	}
	close(f.room)
	f.room = make(chan struct{})
}

func (f *File) sync() {
	if err := f.file.Sync(); err != nil {
		f.o.Log.Error("audit log cannot be synced", "err", err)
	}
	f.dirty, f.synced = false, time.Now()
}
