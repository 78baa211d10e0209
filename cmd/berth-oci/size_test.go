package main

import (
	"os"
	"testing"
)

// maxSize is what the static program may have: two thirds of what the daemon may have.
const maxSize = 8 << 20

func TestSize(t *testing.T) {
	exe, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(exe)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSize {
		t.Errorf("it has %d bytes, more than %d", info.Size(), maxSize)
	}
}
