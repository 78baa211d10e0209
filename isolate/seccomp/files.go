package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// Kept is what is kept of a compiled profile.
type Kept struct {
	Filter  []byte
	Flags   uint32
	Unknown []string // see Profile.Unknown
}

// Compile is the package's Compile, and Profile.Unknown. That a filter cannot be
// kept or read again is no error: it costs the time of compiling.
func (f Files) Compile(p *Profile, o Options) (k Kept, err error) {
	if o, err = o.complete(); err != nil {
		return Kept{}, err
	}
	file := f.file(p, o)
	if file != "" {
		if k, ok := readFilter(file); ok {
			return k, nil
		}
	}
	if k.Filter, k.Flags, err = Compile(p, o); err != nil {
		return Kept{}, err
	}
	k.Unknown = p.Unknown()
	if file != "" {
		writeFilter(file, k)
	}
	return k, nil
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
	text := binary.NativeEndian.AppendUint64(nil, uint64(self.Size()))
	text = binary.NativeEndian.AppendUint64(text, uint64(self.ModTime().UnixNano()))
	content := key(p, o)
	sum := sha256.Sum256(append(text, content[:]...))
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

// headerSize is that of what stands before the names that are unknown, a line
// each, and the filter: the digest of all that follows, the flags, and the length
// of the names.
const headerSize = sha256.Size + 4 + 4

// maxNames bounds the names that are kept.
const maxNames = 64 << 10

// readFilter reads a filter that was written whole.
func readFilter(file string) (k Kept, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil || len(text) < headerSize || len(text) > headerSize+maxNames+8*maxInstructions {
		return k, false
	}
	sum := sha256.Sum256(text[sha256.Size:])
	names := binary.NativeEndian.Uint32(text[headerSize-4:])
	if !bytes.Equal(sum[:], text[:sha256.Size]) || int64(names) > int64(len(text)-headerSize) {
		return k, false
	}
	k.Flags = binary.NativeEndian.Uint32(text[sha256.Size:])
	k.Filter = text[headerSize+names:]
	if names > 0 {
		k.Unknown = strings.Split(string(text[headerSize:headerSize+names]), "\n")
	}
	return k, true
}

// writeFilter keeps a filter: whoever reads the file finds all of it.
func writeFilter(file string, k Kept) {
	names := strings.Join(k.Unknown, "\n")
	if len(names) > maxNames {
		return
	}
	dir := filepath.Dir(file)
	if entries, err := os.ReadDir(dir); err == nil && len(entries) >= maxFiles {
		for _, e := range entries {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	text := binary.NativeEndian.AppendUint32(make([]byte, sha256.Size), k.Flags)
	text = binary.NativeEndian.AppendUint32(text, uint32(len(names)))
	text = append(append(text, names...), k.Filter...)
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
