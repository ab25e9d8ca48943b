package main

import (
	"os"
	"syscall"
	"testing"
)

func TestNoTerminal(t *testing.T) {
	t.Parallel()
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.NewFile(uintptr(null), "/dev/stdin")
	defer stdin.Close()
	_, err = new(valueFlags).read(&program{stdin: stdin})
	if err == nil || err.Error() != "the value is empty" {
		t.Errorf("a value from %s: %v", os.DevNull, err)
	}
}
