package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
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

// Lines reads the log at path, oldest record first, with the files that were put aside,
// from about the time since (zero: all): whoever asks compares each record's own time. It
// ends where the log does now; a line that is being written is left out. The log's File
// need not be open, and may be.
func Lines(path string, since time.Time) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		list, err := openAll(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer closeAll(list)
		for i, file := range list {
			if i+1 < len(list) && !since.IsZero() {
				// What begins before the time ends before it too.
				if at, ok := firstTime(list[i+1]); ok && at.Before(since.Add(-disorder)) {
					continue
				}
			}
			from, err := seek(file, since)
			if err == nil {
				_, err = file.Seek(from, io.SeekStart)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			in := bufio.NewReaderSize(file, 256<<10)
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

// disorder is how far records may be out of order: what nobody requested has the time at
// which it was decided.
const disorder = 15 * time.Minute

// Backward reads the log at path from the record before the sequence on (zero: the last)
// to the first, newest first.
func Backward(path string, before uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		list, err := openAll(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer closeAll(list)
		for i := len(list) - 1; i >= 0; i-- {
			if before > 0 {
				if first, err := firstSequence(list[i]); err != nil || first >= before {
					continue // an empty file, or all of it is behind
				}
			}
			for line, err := range backward(list[i]) {
				if err != nil {
					yield(nil, fmt.Errorf("reading the audit log: %w", err))
					return
				}
				if before > 0 {
					if sequence, ok := lineSequence(line); !ok || sequence >= before {
						continue
					}
				}
				if !yield(line, nil) {
					return
				}
			}
		}
	}
}

// Backward reads the log as the function does.
func (f *File) Backward(before uint64) iter.Seq2[[]byte, error] { return Backward(f.path, before) }

// backward reads a file's whole lines from behind.
func backward(file *os.File) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		from, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			yield(nil, err)
			return
		}
		const step = 256 << 10
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
			if from == 0 {
				if !torn {
					yield(tail, nil)
				}
				return
			}
			n := min(step, from)
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

// openAll opens the log's files in the order of the chain. Files that are put aside or
// deleted meanwhile stay readable.
func openAll(path string) ([]*os.File, error) {
	list, _, err := openSegments(path)
	return list, err
}

// openSegments is openAll, and says which segments the files are.
func openSegments(path string) ([]*os.File, []segment, error) {
	names, err := files(path)
	for tries := 0; err == nil && tries < 10; tries++ {
		var list []*os.File
		var failed error
		for _, s := range names {
			var file *os.File
			if file, failed = os.Open(s.path); failed != nil {
				break
			}
			list = append(list, file)
		}
		// Put aside between the list and the opening, a file would be missing.
		var now []segment
		if now, err = files(path); err == nil && slices.Equal(now, names) {
			if failed == nil {
				return list, names, nil
			}
			err = failed // whose name is there still
		}
		closeAll(list)
		names = now
	}
	if err == nil {
		err = errors.New("its files change faster than they can be opened")
	}
	return nil, nil, fmt.Errorf("reading the audit log: %w", err)
}

func closeAll(list []*os.File) {
	for _, file := range list {
		file.Close()
	}
}

// seek finds where in a file records of since, or a little earlier, begin: by halves, for
// files are long and mostly in order.
func seek(file *os.File, since time.Time) (int64, error) {
	if since.IsZero() {
		return 0, nil
	}
	since = since.Add(-disorder)
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	low, high := int64(0), info.Size() // a line that begins at low is too old, or low is 0
	for high-low > 256<<10 {
		middle := low + (high-low)/2
		line, at, err := lineAfter(file, middle)
		if err != nil {
			return 0, err
		}
		if line == nil || at >= high {
			high = middle
			continue
		}
		if when, ok := lineTime(line); ok && when.Before(since) {
			low = at
		} else {
			high = middle
		}
	}
	return low, nil
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
	for line, err := range Backward(path, 0) {
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
