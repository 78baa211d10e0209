package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Files keeps compiled filters in a directory, for a program that lives for one
// start only: reading one takes a tenth of the time of compiling it. A filter is
// found by the content of profile and options and by the program that compiled
// it, so a new version of the program compiles anew. Any number of processes may
// use the same directory.
type Files struct {
	// Dir is made if it is missing. One that does not belong to this user alone is
	// not used. "": nothing is kept.
	Dir string
}

// maxFiles is how many filters are kept: then all go.
const maxFiles = 64

// Compile is the package's Compile. That a filter cannot be kept or read again is
// no error: it costs the time of compiling.
func (f Files) Compile(p *Profile, o Options) (filter []byte, flags uint32, err error) {
	if o, err = o.complete(); err != nil {
		return nil, 0, err
	}
	file := f.file(p, o)
	if file == "" {
		return Compile(p, o)
	}
	if filter, flags, ok := readFilter(file); ok {
		return filter, flags, nil
	}
	if filter, flags, err = Compile(p, o); err == nil {
		writeFilter(file, filter, flags)
	}
	return filter, flags, err
}

// file gives the file of a filter, in a directory that nobody else can write to; "" if there is none.
func (f Files) file(p *Profile, o Options) string {
	if f.Dir == "" || os.Mkdir(f.Dir, 0o700) != nil && !private(f.Dir) {
		return ""
	}
	// Another program may compile otherwise.
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	text, err := json.Marshal(struct {
		P           *Profile
		O           Options
		Size, MTime int64
	}{p, o, self.Size(), self.ModTime().UnixNano()})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return filepath.Join(f.Dir, hex.EncodeToString(sum[:]))
}

// private tells whether a directory belongs to this user alone.
func private(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// headerSize is that of the digest of all that follows, and of the flags.
const headerSize = sha256.Size + 4

// readFilter reads a filter that was written whole.
func readFilter(file string) (filter []byte, flags uint32, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil || len(text) < headerSize || len(text) > headerSize+8*maxInstructions {
		return nil, 0, false
	}
	sum := sha256.Sum256(text[sha256.Size:])
	if !bytes.Equal(sum[:], text[:sha256.Size]) {
		return nil, 0, false
	}
	return text[headerSize:], binary.NativeEndian.Uint32(text[sha256.Size:]), true
}

// writeFilter keeps a filter: whoever reads the file finds all of it.
func writeFilter(file string, filter []byte, flags uint32) {
	dir := filepath.Dir(file)
	if entries, err := os.ReadDir(dir); err == nil && len(entries) >= maxFiles {
		for _, e := range entries {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	text := binary.NativeEndian.AppendUint32(make([]byte, sha256.Size), flags)
	text = append(text, filter...)
	sum := sha256.Sum256(text[sha256.Size:])
	copy(text, sum[:])
	temp, err := os.CreateTemp(dir, fmt.Sprintf("%d-*", os.Getpid()))
	if err != nil {
		return
	}
	_, err = temp.Write(text)
	if e := temp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
}
