package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSaveSeed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, seedFile)
	var last []byte
	for range 2 {
		if err := SaveSeed(dir); err != nil {
			t.Fatal(err)
		}
		seed, err := os.ReadFile(path)
		if err != nil || len(seed) != seedSize || bytes.Equal(seed, last) {
			t.Fatalf("%x after %x, %v", seed, last, err)
		}
		last = seed
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left are %v", entries)
	}
	if err := SaveSeed(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is missing could be written")
	}
}

func TestSaveClock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, clockFile)
	for _, was := range []time.Time{{}, time.Unix(1, 0), time.Now().Add(time.Hour)} {
		if !was.IsZero() {
			if err := os.Chtimes(path, was, was); err != nil {
				t.Fatal(err)
			}
		}
		before := time.Now().Add(-time.Second)
		if err := SaveClock(dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.ModTime().Before(before) || info.ModTime().After(time.Now().Add(time.Second)) {
			t.Errorf("%v, %v", info, err)
		}
	}
}
