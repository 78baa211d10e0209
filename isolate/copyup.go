package isolate

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type copyUpData struct {
	rootFD int
	target string
	tmpfs  int
	given  bool // the tmpfs has the mode that its options say
}

// The bounds of a copy: deeper trees and longer attributes are no files of a system.
const (
	maxCopyDepth = 64
	maxXattrs    = 64 << 10
)

// copyUp fills a new tmpfs with a copy of a directory of the root: files,
// directories, links and nodes with mode, owner, times and extended attributes.
// Hard links become files of their own. Nothing is followed: every entry is
// opened by its name in a directory that is held open.
func (pr *Prepared) copyUp(d copyUpData) error {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inRoot}
	from, err := unix.Openat2(int(pr.regs[d.rootFD]), d.target, &how)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	to, err := unix.Openat(int(pr.regs[d.tmpfs]), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(from)
		return err
	}
	return copyDir(from, to, 0, !d.given)
}

// copyDir copies the contents of a directory, and its own properties where that
// is said, and closes both descriptors.
func copyDir(from, to, depth int, properties bool) error {
	src, dst := os.NewFile(uintptr(from), "directory"), os.NewFile(uintptr(to), "copy")
	defer src.Close()
	defer dst.Close()
	if depth > maxCopyDepth {
		return &os.PathError{Op: "copy", Path: "a directory", Err: unix.ELOOP}
	}
	for {
		names, err := src.Readdirnames(256)
		for _, name := range names {
			if err := copyEntry(from, to, name, depth); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if !properties {
		return nil
	}
	return copyProperties(from, to)
}

func copyEntry(from, to int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil // gone meanwhile
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return err
		}
		return copyOpened(from, to, name, unix.O_DIRECTORY, unix.O_RDONLY|unix.O_DIRECTORY, func(a, b int) error { return copyDir(a, b, depth+1, true) })
	case unix.S_IFREG:
		return copyOpened(from, to, name, unix.O_NONBLOCK|unix.O_NOCTTY, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, copyFile)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(from, name, buf)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(to, name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
		if err := unix.Fchmodat(to, name, st.Mode&0o7777, 0); err != nil { // nobody else is in the tmpfs
			return err
		}
	}
	return unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

// copyOpened opens an entry on both sides for f, which closes what it was given.
func copyOpened(from, to int, name string, fromFlags, toFlags int, f func(from, to int) error) error {
	a, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|fromFlags, 0)
	if err != nil {
		return err
	}
	b, err := unix.Openat(to, name, unix.O_NOFOLLOW|unix.O_CLOEXEC|toFlags, 0o600)
	if err != nil {
		unix.Close(a)
		return err
	}
	return f(a, b)
}

func copyFile(from, to int) error {
	src, dst := os.NewFile(uintptr(from), "file"), os.NewFile(uintptr(to), "copy")
	defer src.Close()
	defer dst.Close()
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return syscall.ESTALE // it was replaced while it was looked at
	}
	if _, err := io.Copy(dst, io.LimitReader(src, st.Size)); err != nil {
		return err
	}
	return copyProperties(from, to)
}

// copyProperties gives a file owner, mode, attributes and times of another; in this order,
// as a change of owner takes capabilities and set-user-ID bits away.
func copyProperties(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	list := make([]byte, maxXattrs)
	n, err := unix.Flistxattr(from, list)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	value := make([]byte, maxXattrs)
	for _, name := range unixNames(list[:max(n, 0)]) {
		m, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:m], 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENODATA) {
			return err
		}
	}
	return unix.UtimesNanoAt(to, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}

// unixNames takes a list of NUL-terminated names apart.
func unixNames(list []byte) (names []string) {
	for begin, i := 0, 0; i < len(list); i++ {
		if list[i] == 0 {
			names = append(names, string(list[begin:i]))
			begin = i + 1
		}
	}
	return names
}
