package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"time"
)

// Entry is what a record says, as far as questions about it go. Line is all of it.
type Entry struct {
	Line []byte `json:"-"` // without its end; valid until the next one

	EventID      string    `json:"eventID"`
	Time         time.Time `json:"eventTime"`
	Source       string    `json:"eventSource"` // secretsmanager.amazonaws.com
	Name         string    `json:"eventName"`
	Type         string    `json:"eventType"`
	Category     string    `json:"eventCategory"`
	Region       string    `json:"awsRegion"`
	SourceIP     string    `json:"sourceIPAddress"`
	RequestID    string    `json:"requestID"`
	ReadOnly     bool      `json:"readOnly"`
	Account      string    `json:"recipientAccountId"`
	ErrorCode    string    `json:"errorCode"`
	ErrorText    string    `json:"errorMessage"`
	Sequence     uint64    `json:"sequence"`
	Resources    []Resource
	UserIdentity Identity `json:"userIdentity"`
	Additional   struct {
		Decision string `json:"decision"`
		Task     *struct {
			ARN        string `json:"taskArn"`
			Service    string `json:"service"`
			Deployment string `json:"deployment"`
		} `json:"task"`
	} `json:"additionalEventData"`
}

// Resource is one that a record names.
type Resource struct {
	ARN       string `json:"ARN"`
	Type      string `json:"type"`
	AccountID string `json:"accountId"`
}

// Identity is who asked.
type Identity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	AccessKeyID string `json:"accessKeyId"`
	UserName    string `json:"userName"`
	InvokedBy   string `json:"invokedBy"`
	Session     struct {
		Issuer struct {
			ARN      string `json:"arn"`
			UserName string `json:"userName"`
		} `json:"sessionIssuer"`
	} `json:"sessionContext"`
}

// Times bound what is read of the log. Zero is no bound. They do so about: whoever asks compares
// each record's own time.
type Times struct {
	Since, Until time.Time
}

// disorder is how far records may be out of order: what nobody requested has the time at
// which it was decided.
const disorder = 15 * time.Minute

// old reports whether t is over where there was a record of this time, for all before that.
func (t Times) old(at time.Time) bool { return !t.Since.IsZero() && at.Before(t.Since.Add(-disorder)) }

// late reports whether t has not begun where there is a record of this time, for all after that.
func (t Times) late(at time.Time) bool { return !t.Until.IsZero() && at.After(t.Until.Add(disorder)) }

// Lines reads the log at path, oldest record first, with the files that were put aside. It
// ends where the log does now; a line that is being written is left out. The log's File
// need not be open, and may be.
func Lines(path string, t Times) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		p, err := look(path, nil)
		if err != nil {
			yield(nil, err)
			return
		}
		list, _, err := p.open(t)
		if err != nil {
			yield(nil, err)
			return
		}
		defer closeAll(list)
		for _, file := range list {
			from, to, err := within(file, 0, t)
			if err != nil {
				yield(nil, fmt.Errorf("reading the audit log: %w", err))
				return
			}
			in := bufio.NewReaderSize(io.NewSectionReader(file, from, to-from), 256<<10)
			for {
				line, err := in.ReadBytes('\n')
				if err == io.EOF {
					break
				}
				if err != nil {
					yield(nil, fmt.Errorf("reading the audit log: %w", err))
					return
				}
				if !yield(line[:len(line)-1], nil) {
					return
				}
			}
		}
	}
}

// Backward reads the log at path from the record before the sequence on (zero: the last)
// to the first, newest first.
func Backward(path string, before uint64, t Times) iter.Seq2[[]byte, error] {
	return readBackward(path, before, t, nil)
}

// Backward reads the log as the function does. It remembers from when to when the files are that
// were put aside, and opens those alone that it reads.
func (f *File) Backward(before uint64, t Times) iter.Seq2[[]byte, error] {
	return readBackward(f.path, before, t, f.extents)
}

func readBackward(path string, before uint64, t Times, known *extents) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		p, err := look(path, known)
		if err != nil {
			yield(nil, err)
			return
		}
		defer p.close()
		for i := len(p.list) - 1; i >= 0; i-- {
			if before > 0 && (p.list[i].first == 0 || p.list[i].first >= before) {
				continue // an empty file, or all of it is behind
			}
			if p.late(i, t) {
				continue
			}
			if p.old(i, t) {
				return
			}
			if !p.backward(i, before, t, yield) {
				return
			}
		}
	}
}

// backward yields what is asked for of one file, and reports whether there may be more.
func (p *parts) backward(i int, before uint64, t Times, yield func([]byte, error) bool) bool {
	file, err := p.file(i)
	if errors.Is(err, fs.ErrNotExist) {
		return false // deleted since, and before it those that are older
	}
	if err != nil {
		yield(nil, fmt.Errorf("reading the audit log: %w", err))
		return false
	}
	defer p.done(file)
	from, to, err := within(file, before, t)
	if err != nil {
		yield(nil, fmt.Errorf("reading the audit log: %w", err))
		return false
	}
	for line, err := range backward(file, from, to) {
		if err != nil {
			yield(nil, fmt.Errorf("reading the audit log: %w", err))
			return false
		}
		if before > 0 {
			if sequence, ok := lineSequence(line); !ok || sequence >= before {
				continue
			}
		}
		if !yield(line, nil) {
			return false
		}
	}
	return true
}

// backward reads whole lines of a part of a file, which begins with one, from behind.
func backward(file *os.File, begin, end int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		const step = 256 << 10
		from := end
		var tail []byte // file[from:], up to the line that was yielded last
		torn := true    // what is behind the last line's end
		for {
			for last := bytes.LastIndexByte(tail, '\n'); last >= 0; last = bytes.LastIndexByte(tail, '\n') {
				line := tail[last+1:]
				tail = tail[:last]
				if !torn && !yield(line, nil) {
					return
				}
				torn = false
			}
			if from == begin {
				if !torn {
					yield(tail, nil)
				}
				return
			}
			n := min(step, from-begin)
			from -= n
			chunk := make([]byte, int(n)+len(tail))
			if _, err := file.ReadAt(chunk[:n], from); err != nil {
				yield(nil, err)
				return
			}
			copy(chunk[n:], tail)
			tail = chunk
		}
	}
}

// within is the part of a file that has all of the records before a sequence (zero: all) of t, or a
// little more.
func within(file *os.File, before uint64, t Times) (from, to int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, 0, err
	}
	to = info.Size()
	if before > 0 {
		if _, to, err = halve(file, to, func(line []byte) bool {
			sequence, ok := lineSequence(line)
			return !ok || sequence < before
		}); err != nil {
			return 0, 0, err
		}
	}
	if !t.Until.IsZero() {
		if _, to, err = halve(file, to, func(line []byte) bool {
			at, ok := lineTime(line)
			return !ok || !t.late(at)
		}); err != nil {
			return 0, 0, err
		}
	}
	if !t.Since.IsZero() {
		from, _, err = halve(file, to, func(line []byte) bool {
			at, ok := lineTime(line)
			return ok && t.old(at)
		})
	}
	return from, to, err
}

// halve finds about where in a file, up to a size, lines cease to be early: by halves, for files
// are long and in order but for a little. A line that begins at low is early, or low is 0; one that
// begins at high is not, or high is the size.
func halve(file *os.File, size int64, early func(line []byte) bool) (low, high int64, err error) {
	high = size
	for end := size; end-low > 256<<10; { // no line to look at begins behind end
		middle := low + (end-low)/2
		line, at, err := lineAfter(file, middle)
		if err != nil {
			return 0, 0, err
		}
		if line == nil || at >= end {
			end = middle
			continue
		}
		if early(line) {
			low = at
		} else {
			end, high = middle, at
		}
	}
	return low, high, nil
}

// lineAfter returns the first whole line that begins behind the offset, and where; nil
// for none.
func lineAfter(file *os.File, offset int64) ([]byte, int64, error) {
	in := bufio.NewReader(io.NewSectionReader(file, offset, 1<<40))
	skipped, err := in.ReadBytes('\n')
	if err == nil {
		var line []byte
		if line, err = in.ReadBytes('\n'); err == nil {
			return line[:len(line)-1], offset + int64(len(skipped)), nil
		}
	}
	if err == io.EOF {
		err = nil
	}
	return nil, 0, err
}

func firstTime(file *os.File) (time.Time, bool) {
	line, err := bufio.NewReader(io.NewSectionReader(file, 0, 1<<40)).ReadBytes('\n')
	if err != nil {
		return time.Time{}, false
	}
	return lineTime(line)
}

var (
	timeMark     = []byte(`,"eventTime":"`)
	sequenceMark = []byte(`,"sequence":`)
)

// lineTime reads a record's time without the rest. Only what malote wrote itself comes
// before it: who asked.
func lineTime(line []byte) (time.Time, bool) {
	i := bytes.Index(line, timeMark)
	if i < 0 || len(line) < i+len(timeMark)+len(timeFormat) {
		return time.Time{}, false
	}
	at, err := time.Parse(timeFormat, string(line[i+len(timeMark):i+len(timeMark)+len(timeFormat)]))
	return at, err == nil
}

// lineSequence reads a record's sequence without the rest.
func lineSequence(line []byte) (uint64, bool) {
	i := bytes.LastIndex(line, sequenceMark)
	if i < 0 {
		return 0, false
	}
	digits := line[i+len(sequenceMark):]
	if end := bytes.IndexByte(digits, ','); end >= 0 {
		digits = digits[:end]
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	return sequence, err == nil
}

// Follow is Lines of the last n records, and then of every one that is added, until ctx
// ends. It looks every quarter of a second.
func Follow(ctx context.Context, path string, n int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(nil, fmt.Errorf("reading the audit log: %w", err))
			return
		}
		defer func() { file.Close() }()
		offset, err := wholeLines(file)
		if err != nil {
			yield(nil, fmt.Errorf("reading the audit log: %w", err))
			return
		}
		last, err := Last(path, n)
		if err != nil {
			yield(nil, err)
			return
		}
		var sequence uint64 // of the last that was yielded
		give := func(line []byte) bool {
			number, ok := lineSequence(line)
			if ok && number <= sequence {
				return true
			}
			sequence = number
			return yield(line, nil)
		}
		for _, line := range last {
			if !give(line) {
				return
			}
		}
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for {
			in := bufio.NewReaderSize(io.NewSectionReader(file, offset, 1<<60), 64<<10)
			for {
				line, err := in.ReadBytes('\n')
				if err == io.EOF {
					break // half a line is read again
				}
				if err != nil {
					yield(nil, fmt.Errorf("reading the audit log: %w", err))
					return
				}
				offset += int64(len(line))
				if !give(line[:len(line)-1]) {
					return
				}
			}
			if next := successor(path, file, sequence); next != nil {
				// What was written before the file was put aside has been read: it was whole then.
				if size, err := file.Seek(0, io.SeekEnd); err == nil && size <= offset {
					file.Close()
					file, offset = next, 0
					continue
				}
				next.Close()
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}
}

// successor opens the file that goes on where the one that had the sequence ends, when the
// log has gone on in another.
func successor(path string, file *os.File, sequence uint64) *os.File {
	here, err := file.Stat()
	if err != nil {
		return nil
	}
	if now, err := os.Stat(path); err != nil || os.SameFile(here, now) {
		return nil // or between two renames
	}
	list, err := files(path)
	if err != nil {
		return nil
	}
	for _, s := range list {
		if s.path != path && s.first != sequence+1 {
			continue
		}
		next, err := os.Open(s.path)
		if err != nil {
			return nil
		}
		if there, err := next.Stat(); err == nil && !os.SameFile(here, there) {
			return next
		}
		next.Close()
	}
	return nil
}

// wholeLines is where the last whole line of a file ends.
func wholeLines(file *os.File) (int64, error) {
	_, end, err := lastLine(file)
	return end, err
}

// Last returns the last n records of the log at path, oldest first.
func Last(path string, n int) ([][]byte, error) {
	var lines [][]byte
	if n <= 0 {
		return nil, nil
	}
	for line, err := range Backward(path, 0, Times{}) {
		if err != nil {
			return nil, err
		}
		if lines = append(lines, bytes.Clone(line)); len(lines) == n {
			break
		}
	}
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	return lines, nil
}
