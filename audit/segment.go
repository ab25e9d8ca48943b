package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// segment is a file that was put aside.
type segment struct {
	path  string
	first uint64 // sequence of its first record; 0 of the current file, whose name does not say
}

func segmentPath(path string, first uint64) string { return fmt.Sprintf("%s.%020d", path, first) }

// segments lists what was put aside of the log at path, oldest first.
func segments(path string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var list []segment
	for _, entry := range entries { // in order of names
		digits, found := strings.CutPrefix(entry.Name(), filepath.Base(path)+".")
		first, err := strconv.ParseUint(digits, 10, 64)
		if found && err == nil && len(digits) == 20 {
			list = append(list, segment{filepath.Join(filepath.Dir(path), entry.Name()), first})
		}
	}
	return list, nil
}

// follow continues, in an empty file, the chain of the newest segment.
func (f *File) follow() error {
	f.first = 1
	list, err := segments(f.path)
	if err != nil || len(list) == 0 {
		return err
	}
	newest, err := os.Open(list[len(list)-1].path)
	if err != nil {
		return err
	}
	defer newest.Close()
	line, _, err := lastLine(newest)
	if err != nil {
		return err
	}
	if f.sequence, f.head, err = readLink(line); err != nil {
		return fmt.Errorf("%s: %w", newest.Name(), err)
	}
	f.first = f.sequence + 1
	return nil
}

// begin is the sequence of the first record: as the file's name says, or, where that does
// not, as its first line does; 1 where that is no record.
func (s segment) begin(file *os.File) uint64 {
	if s.first > 0 {
		return s.first
	}
	first, err := firstSequence(file)
	if err != nil {
		return 1
	}
	return first
}

func firstSequence(file *os.File) (uint64, error) {
	if _, err := file.Seek(0, 0); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(file).ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	var link link
	if err := json.Unmarshal(line, &link); err != nil || link.Sequence == 0 {
		return 0, errors.New("its first line is not a record: something else changed it")
	}
	return link.Sequence, nil
}

// putAside starts a new file. When it cannot, the old one grows on, and the operator hears of it.
func (f *File) putAside() {
	f.checkpoint() // so that the file ends with one
	if err := f.startSegment(); err != nil {
		f.o.Log.Error("audit log cannot start a new file", "err", err)
		return
	}
	f.pruned = time.Time{}
	f.prune()
}

// old reports whether the file has waited long enough to be put aside: what is not aside
// is never deleted.
func (f *File) old() bool {
	return f.o.KeepFor > 0 && f.o.Now().Sub(f.begun) >= min(f.o.KeepFor/8, 24*time.Hour)
}

// prune deletes the files that need not be kept, oldest first, as far as a checkpoint has
// signed what is in them.
func (f *File) prune() {
	if f.o.KeepFor <= 0 && f.o.KeepFiles <= 0 || time.Since(f.pruned) < time.Hour {
		return
	}
	f.pruned = time.Now()
	list, err := segments(f.path)
	if err != nil {
		f.o.Log.Error("audit log's old files cannot be listed", "err", err)
		return
	}
	for i, s := range list {
		next := f.first
		if i+1 < len(list) {
			next = list[i+1].first
		}
		if next-1 > f.covered {
			return
		}
		surplus := f.o.KeepFiles > 0 && len(list)-i > f.o.KeepFiles
		if info, err := os.Stat(s.path); !surplus && (f.o.KeepFor <= 0 || err != nil || f.o.Now().Sub(info.ModTime()) < f.o.KeepFor) {
			return // those behind it are younger
		}
		if err := os.Remove(s.path); err != nil {
			f.o.Log.Error("audit log's old file cannot be deleted", "err", err)
			return
		}
		f.o.Log.Info("audit log's old file deleted", "file", s.path)
		details, err := json.Marshal(map[string]any{"file": filepath.Base(s.path), "firstSequence": s.first, "lastSequence": next - 1})
		if err != nil {
			panic(err) // a name and numbers
		}
		f.enqueue([]Record{own("AuditFileDeleted", f.o.Now(), "", details)})
	}
}

// startSegment makes the new file before it moves the old one, so that at every moment
// there is one to write to. Should the process die between the two renames, Open finds no
// file, makes one, and follows the segment.
func (f *File) startSegment() error {
	if err := f.sync(); err != nil {
		return err
	}
	next, err := os.OpenFile(f.path+".next", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = syscall.Flock(int(next.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	aside := segmentPath(f.path, f.first)
	if err == nil {
		err = os.Rename(f.path, aside)
	}
	if err == nil {
		if err = os.Rename(next.Name(), f.path); err != nil {
			err = errors.Join(err, os.Rename(aside, f.path))
		}
	}
	if err != nil {
		return errors.Join(err, next.Close())
	}
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
		if err != nil {
			f.o.Log.Error("audit log's directory cannot be synced", "err", err)
		}
	}
	f.mu.Lock()
	old := f.file
	f.file = next
	f.mu.Unlock()
	f.size, f.first, f.begun = 0, f.sequence+1, f.o.Now()
	return old.Close()
}

// files lists the log's files in the order of the chain. The current one is left out when
// there are others and not that: in an archive, and between startSegment's renames.
func files(path string) ([]segment, error) {
	list, err := segments(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && len(list) > 0 {
		return list, nil
	}
	return append(slices.Clip(list), segment{path: path}), nil
}
