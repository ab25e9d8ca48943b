package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/malote/malote/internal/recent"
)

// parts are the log's files as they were at one moment, in the order of the chain. The last one is
// open; the others are when they are needed. Retention may delete them before that, oldest first.
type parts struct {
	list  []segment // each with the sequence of its first record; 0: it has none, or that is damaged
	last  *os.File
	known *extents // nil: nothing is remembered
}

// extent is from when to when a file is.
type extent struct{ first, last time.Time }

// extents are those of files that were put aside, by path: they do not change any more.
type extents = recent.Cache[extent]

// maxExtents is of how many files that is remembered.
const maxExtents = 4096

// look opens the last file of the log at path and lists the others.
func look(path string, known *extents) (*parts, error) {
	for tries := 0; ; tries++ {
		// In this order: what is put aside after the file was opened is that file, or behind it.
		file, err := os.Open(path)
		list, listErr := segments(path)
		switch {
		case err == nil:
			first, _ := firstSequence(file)
			for first > 0 && len(list) > 0 && list[len(list)-1].first >= first {
				list = list[:len(list)-1]
			}
			list = append(list, segment{path, first})
		case errors.Is(err, fs.ErrNotExist) && len(list) > 0: // an archive, or between startSegment's renames
			file, err = os.Open(list[len(list)-1].path)
			if errors.Is(err, fs.ErrNotExist) && tries < 10 {
				continue // they were undone
			}
		}
		if err = errors.Join(err, listErr); err != nil {
			file.Close()
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		return &parts{list, file, known}, nil
	}
}

func (p *parts) close() { p.last.Close() }

// file opens one of them, which is to be given to done.
func (p *parts) file(i int) (*os.File, error) {
	if i == len(p.list)-1 {
		return p.last, nil
	}
	return os.Open(p.list[i].path)
}

func (p *parts) done(file *os.File) {
	if file != p.last {
		file.Close()
	}
}

// open opens those that have records of t, all at one time: of what is read of them nothing is
// deleted between. The caller closes them, and not p.
func (p *parts) open(t Times) (list []*os.File, names []segment, err error) {
	for i := len(p.list) - 1; i >= 0 && !p.old(i, t); i-- {
		if p.late(i, t) {
			continue
		}
		file, err := p.file(i)
		if errors.Is(err, fs.ErrNotExist) {
			break // and with it all that are older
		}
		if err != nil {
			closeAll(append(list, p.last))
			return nil, nil, fmt.Errorf("reading the audit log: %w", err)
		}
		list, names = append(list, file), append(names, p.list[i])
	}
	if !slices.Contains(list, p.last) {
		p.close()
	}
	slices.Reverse(list)
	slices.Reverse(names)
	return list, names, nil
}

func closeAll(list []*os.File) {
	for _, file := range list {
		file.Close()
	}
}

// extent is of the times of a file's first and last record.
func (p *parts) extent(i int) (x extent, ok bool) {
	path := p.list[i].path
	aside := i < len(p.list)-1
	if aside && p.known != nil {
		if x, ok = p.known.Get(path); ok {
			return x, true
		}
	}
	file, err := p.file(i)
	if err != nil {
		return extent{}, false // whoever reads it will see why
	}
	defer p.done(file)
	line, _, err := lastLine(file)
	if err != nil {
		return extent{}, false
	}
	if x.last, ok = lineTime(line); ok {
		x.first, ok = firstTime(file)
	}
	if ok && aside && p.known != nil {
		p.known.Put(path, x, len(path))
	}
	return x, ok
}

// old reports whether all of a file, and of those before it, is older than t. Both of its ends have
// to be: where a clock was wrong for a while, one of them may be nonsense.
func (p *parts) old(i int, t Times) bool { return !t.Since.IsZero() && p.both(i, t.old) }

// late reports whether all of a file is younger than t.
func (p *parts) late(i int, t Times) bool { return !t.Until.IsZero() && p.both(i, t.late) }

func (p *parts) both(i int, is func(time.Time) bool) bool {
	x, ok := p.extent(i)
	return ok && is(x.first) && is(x.last)
}
