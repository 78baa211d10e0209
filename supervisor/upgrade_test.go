package supervisor

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A program that would be the end of the daemon is refused, with the reason.
func TestCheckProgram(t *testing.T) {
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{}, own[:4096]...)
	binary.LittleEndian.PutUint16(other[elfMachine:], binary.LittleEndian.Uint16(other[elfMachine:])+1)
	headers := append([]byte{}, own[:4096]...)
	binary.LittleEndian.PutUint16(headers[elfEntrySize:], 8)
	far := append([]byte{}, own[:4096]...)
	binary.LittleEndian.PutUint64(far[elfProgramsAt:], 1<<63)
	for name, c := range map[string]struct {
		text []byte
		mode os.FileMode
		want string
	}{
		"empty":               {nil, 0o755, "not an ELF program"},
		"a script":            {[]byte("#!/bin/sh\necho berthd 1\n" + strings.Repeat("#", 100)), 0o755, "not an ELF program"},
		"not executable":      {own, 0o644, "not executable"},
		"of another machine":  {other, 0o755, "another kind of processor"},
		"cut in the header":   {own[:30], 0o755, "not an ELF program"},
		"cut to a page":       {own[:4096], 0o755, "cut short"},
		"cut to a half":       {own[:len(own)/2], 0o755, "cut short"},
		"headers of no size":  {headers, 0o755, "damaged"},
		"headers far outside": {far, 0o755, "cut short"},
	} {
		path := filepath.Join(t.TempDir(), "berthd")
		if err := os.WriteFile(path, c.text, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := checkProgram(context.Background(), path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := checkProgram(context.Background(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a directory: %v", err)
	}
	if err := checkProgram(context.Background(), "/nonexistent"); !os.IsNotExist(err) {
		t.Errorf("nothing: %v", err)
	}
	if err := checkProgram(context.Background(), "/bin/true"); err == nil || !strings.Contains(err.Error(), "not berthd") {
		t.Errorf("another program: %v", err)
	}
}

func FuzzCheckELF(f *testing.F) {
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own[:1000], int64(5))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		head := strings.NewReader(string(own[:elfHeader]))
		_ = checkELF(strings.NewReader(string(text)), size, head)
	})
}
