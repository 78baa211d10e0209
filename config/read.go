package config

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/units"
)

const (
	// MaxFile is the size in bytes that one unit file or drop-in may have.
	MaxFile = 1 << 20
	// MaxUnits is how many units one generation may have.
	MaxUnits = 10_000
	// maxTotal bounds the text of a generation, in bytes.
	maxTotal = 64 << 20
)

// trust says whose files are believed: what is in them runs with the rights of
// the daemon. Those who may replace a file of the search directory anyway are
// root, the directory's owner, and its group where it may write; nobody else
// may own or write the files that are found through it.
type trust struct {
	owner    uint32
	group    uint32
	hasGroup bool
}

// trusting derives the trust from a search directory; a world-writable one is
// an error.
func trusting(st *unix.Stat_t) (trust, error) {
	if st.Mode&unix.S_IWOTH != 0 {
		return trust{}, fmt.Errorf("everybody may write to it (mode %04o)", st.Mode&0o7777)
	}
	return trust{owner: st.Uid, group: st.Gid, hasGroup: st.Mode&unix.S_IWGRP != 0}, nil
}

// check tells why a file or drop-in directory is not to be believed.
func (t trust) check(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IWOTH != 0:
		return fmt.Errorf("everybody may write to it (mode %04o)", st.Mode&0o7777)
	case st.Uid != 0 && st.Uid != t.owner && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d, who is neither root nor the owner of the unit directory", st.Uid)
	case st.Mode&unix.S_IWGRP != 0 && st.Gid != 0 && !(t.hasGroup && st.Gid == t.group):
		return fmt.Errorf("group %d may write to it (mode %04o)", st.Gid, st.Mode&0o7777)
	}
	return nil
}

// masked tells whether path is, or is a link to, /dev/null.
func masked(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// fault is why a file cannot be used: a diagnostic without its place.
type fault struct{ code, message, hint string }

func (f fault) at(path string) units.Diagnostic {
	return units.Diagnostic{Code: f.code, Severity: units.Error, Path: path, Line: 1, Column: 1, EndColumn: 2,
		Message: f.message, Hint: f.hint}
}

// read gives the text of a unit file. Symbolic links are followed. It neither
// blocks on a FIFO nor wakes up a device: what is not a regular file is not
// opened, or not read from should it have been swapped in between.
func read(path string, t trust) ([]byte, *fault) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, unreadable(path, err)
	}
	if f := usable(&st, t); f != nil {
		return nil, f
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, unreadable(path, err)
	}
	if f := usable(&st, t); f != nil {
		return nil, f
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > MaxFile {
		return nil, tooLarge(int64(len(data)))
	}
	return data, nil
}

func usable(st *unix.Stat_t, t trust) *fault {
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG {
		f := &fault{codeKind, "this is " + kindName(kind) + " and not a file", "a unit is a regular file or a link to one; a link to /dev/null masks the unit"}
		if kind == unix.S_IFDIR {
			f.hint = "drop-ins go to a directory whose name ends in " + dropInSuffix
		}
		return f
	}
	if err := t.check(st); err != nil {
		return &fault{codeTrust, "this file cannot be trusted: " + err.Error(), "chown root and chmod go-w the file: what it says is done as root"}
	}
	if st.Size > MaxFile {
		return tooLarge(st.Size)
	}
	return nil
}

func tooLarge(size int64) *fault {
	return &fault{codeSize, fmt.Sprintf("this file has %d bytes, more than the %d a unit file may have", size, MaxFile), "keep data in files of its own and bind them into the container"}
}

// vanished is the message for a path at which there is nothing, not even a link:
// for a file that was just listed it says that the directory changes.
const vanished = "cannot read this file: it does not exist"

func unreadable(path string, err error) *fault {
	if errno, ok := err.(syscall.Errno); ok && errno == syscall.ENOENT {
		if target, linkErr := os.Readlink(path); linkErr == nil {
			return &fault{codeRead, fmt.Sprintf("cannot read this file: it is a link to %s, which does not exist", target), "remove the link, or let it point to /dev/null to mask the unit"}
		}
		return &fault{codeRead, vanished, ""}
	}
	return &fault{codeRead, fmt.Sprintf("cannot read this file: %v", err), ""}
}

func kindName(kind uint32) string {
	switch kind {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK, unix.S_IFCHR:
		return "a device"
	}
	return "something else"
}
