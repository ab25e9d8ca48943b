package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runDir makes a directory below dataDir for what is too large for memory while one task
// runs, and removes those that runs which were killed have left. Release removes it.
func runDir(dataDir, name string) (dir string, release func(), err error) {
	base := filepath.Join(dataDir, "runs")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", nil, err
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		left := filepath.Join(base, e.Name())
		if lock, err := lockDir(left); err == nil {
			os.RemoveAll(left) // a disk that is still mounted keeps its blocks until it is not
			lock.Close()
		}
	}
	dir = filepath.Join(base, name)
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", nil, err
		}
		lock, err := lockDir(dir)
		if err != nil {
			return "", nil, fmt.Errorf("locking %s: %w", dir, err)
		}
		if isStill(lock, dir) {
			return dir, func() {
				os.RemoveAll(dir)
				os.Remove(base) // unless somebody else is in there
				lock.Close()
			}, nil
		}
		lock.Close() // another run took it for one that is left
	}
}

// lockDir holds a directory until it is closed, or the process has ended.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func isStill(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
