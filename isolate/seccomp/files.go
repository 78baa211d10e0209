package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
)

// Files keeps compiled filters in a directory, for a program that lives for one
// start only. A filter is found by the text that its profile is written in, which
// then needs not even be parsed, by the kernel's release, and by the program that
// compiled it: a new version of either compiles anew. Any number of processes may
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

// Read gives the filter that Write has kept for a profile of this text.
func (f Files) Read(text string) (k Kept, ok bool) {
	file, content := f.file(text)
	if file == "" {
		return k, false
	}
	return readFilter(file, content)
}

// Write keeps the filter of a profile of this text. That it cannot be kept or read
// again is no error: it costs the time of compiling.
func (f Files) Write(text string, k Kept) {
	if file, content := f.file(text); file != "" {
		writeFilter(file, content, k)
	}
}

// file gives the file of a filter, in a directory that nobody else can write to,
// and what it is of; "" without one. The name says too little to tell them apart.
func (f Files) file(text string) (name string, content []byte) {
	if f.Dir == "" || os.Mkdir(f.Dir, 0o700) != nil && !private(f.Dir) {
		return "", nil
	}
	self, err := os.Stat("/proc/self/exe")
	var uts unix.Utsname
	if err != nil || unix.Uname(&uts) != nil {
		return "", nil
	}
	content = make([]byte, 0, len(text)+len(uts.Release)+2*8)
	content = append(append(content, uts.Release[:]...), text...)
	content = binary.NativeEndian.AppendUint64(content, uint64(self.Size()))
	content = binary.NativeEndian.AppendUint64(content, uint64(self.ModTime().UnixNano()))
	sum := uint64(len(content))<<32 | uint64(adler32.Checksum(content))
	return filepath.Join(f.Dir, strconv.FormatUint(sum, 16)), content
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

// header is what a file begins with. Behind it stand the content that the filter
// is of, which tells it from one whose name is the same by chance or on purpose;
// then the names that are unknown, a line each, and the filter.
type header struct {
	sum     uint32 // Adler-32 of all that follows: a machine may go down while it is written
	flags   uint32
	content uint32 // lengths
	names   uint32
}

const headerSize = 16

// maxNames bounds the names that are kept, maxContent the profiles of kept filters.
const (
	maxNames   = 64 << 10
	maxContent = 4 << 20
)

func (h *header) fields() []*uint32 { return []*uint32{&h.sum, &h.flags, &h.content, &h.names} }

// readFilter reads a filter of that content that was written whole.
func readFilter(file string, content []byte) (k Kept, ok bool) {
	text, err := rawfile.Read(file)
	if err != nil || len(text) < headerSize || len(text) > headerSize+maxContent+maxNames+8*maxInstructions {
		return k, false
	}
	var h header
	for i, field := range h.fields() {
		*field = binary.NativeEndian.Uint32(text[4*i:])
	}
	rest := text[headerSize:]
	if adler32.Checksum(text[4:]) != h.sum || int64(h.content)+int64(h.names) > int64(len(rest)) || !bytes.Equal(rest[:h.content], content) {
		return k, false
	}
	names, filter := rest[h.content:h.content+h.names], rest[h.content+h.names:]
	k.Filter, k.Flags = filter, h.flags
	if len(names) > 0 {
		k.Unknown = strings.Split(string(names), "\n")
	}
	return k, true
}

// writeFilter keeps a filter: whoever reads the file finds all of it.
func writeFilter(file string, content []byte, k Kept) {
	names := strings.Join(k.Unknown, "\n")
	if len(names) > maxNames || len(content) > maxContent {
		return
	}
	dir := filepath.Dir(file)
	if entries, err := os.ReadDir(dir); err == nil && len(entries) >= maxFiles {
		for _, e := range entries {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	h := header{flags: k.Flags, content: uint32(len(content)), names: uint32(len(names))}
	text := make([]byte, headerSize, headerSize+len(content)+len(names)+len(k.Filter))
	text = append(append(append(text, content...), names...), k.Filter...)
	for i, field := range h.fields()[1:] {
		binary.NativeEndian.PutUint32(text[4*(i+1):], *field)
	}
	binary.NativeEndian.PutUint32(text, adler32.Checksum(text[4:]))
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
