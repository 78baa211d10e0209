package rawfile

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100_000} {
		want := bytes.Repeat([]byte("berth "), size)[:size]
		if err := Write(file, want, 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, want %d (%v)", len(got), size, err)
		}
	}
	if err := Write(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "short" {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// One of /proc tells no size.
	want, err := os.ReadFile("/proc/self/limits")
	if got, err2 := Read("/proc/self/limits"); err != nil || err2 != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, want %q (%v, %v)", got, want, err2, err)
	}
	if _, err := Read(file + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := Write(t.TempDir(), nil, 0); err == nil {
		t.Error("a directory is overwritten")
	}
}

func TestReadFD(t *testing.T) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	if text, err := ReadFD(int(zero.Fd()), 10, 20_000); err != nil || len(text) < 20_000 || len(text) > 30_000 {
		t.Errorf("%d bytes of what has no end, %v", len(text), err)
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := ReadFD(int(dir.Fd()), 0, math.MaxInt); err == nil {
		t.Error("a directory is read")
	}
}
