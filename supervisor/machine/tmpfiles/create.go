package tmpfiles

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// createItem makes what an item of the types f, d, D, p, L, c, b and C asks for.
func (w *worker) createItem(i *Item) error {
	dir, name, err := w.parent(i.Path, true)
	if err != nil {
		return err
	}
	defer dir.close()
	for range 2 {
		at, err := dir.enter(name, i.Path)
		switch {
		case errors.Is(err, unix.ENOENT):
			if at, err = w.makeNew(i, dir, name); err != nil || at == nil {
				return err
			}
			defer at.close()
			return w.own(i, at, true)
		case err != nil:
			return err
		}
		defer at.close()
		if w.matches(i, at) {
			return w.keep(i, at)
		}
		if i.Type == 'L' && !i.Plus && !i.Replace || i.Type == 'd' && at.is(unix.S_IFLNK) {
			return nil // somebody wants it otherwise
		}
		if !i.Replace && !(i.Plus && i.Type != 'f' && i.Type != 'C') {
			return fmt.Errorf("there is something else: %s", kindName(at.st.Mode))
		}
		if err := w.removeAt(dir, name, at); err != nil {
			return err
		}
	}
	return errors.New("somebody else makes it at the same time")
}

// kind is the kind of file that a type makes (inode(7)), 0 for any.
func (i *Item) kind() uint32 {
	switch i.Type {
	case 'f':
		return unix.S_IFREG
	case 'd', 'D':
		return unix.S_IFDIR
	case 'p':
		return unix.S_IFIFO
	case 'L':
		return unix.S_IFLNK
	case 'c':
		return unix.S_IFCHR
	case 'b':
		return unix.S_IFBLK
	}
	return 0
}

func kindName(mode uint32) string {
	for kind, name := range map[uint32]string{unix.S_IFREG: "a regular file", unix.S_IFDIR: "a directory", unix.S_IFIFO: "a pipe",
		unix.S_IFLNK: "a symbolic link", unix.S_IFCHR: "a character device", unix.S_IFBLK: "a block device", unix.S_IFSOCK: "a socket"} {
		if mode&unix.S_IFMT == kind {
			return name
		}
	}
	return "a file of another kind"
}

// matches tells whether what is there is what the item would make.
func (w *worker) matches(i *Item, at *place) bool {
	switch kind := i.kind(); i.Type {
	case 'L':
		if !at.is(kind) {
			return false
		}
		target, err := readlink(at.fd)
		return err == nil && target == i.Arg
	case 'c', 'b':
		major, minor, _ := device(i.Arg)
		return at.is(kind) && at.st.Rdev == unix.Mkdev(major, minor)
	case 'C':
		return true
	default:
		return at.is(kind)
	}
}

// keep brings what is there already to what the item says.
func (w *worker) keep(i *Item, at *place) error {
	switch {
	case i.Type == 'f' && i.Plus:
		if err := w.owned(at); err != nil {
			return err
		}
		if err := write(at, unix.O_TRUNC, i.Arg); err != nil {
			return err
		}
	case i.Type == 'C':
		names, err := at.list()
		if err != nil || len(names) > 0 && !i.Plus {
			return nil // a file, or something is in it
		}
		if err := w.copyInto(i.Arg, at); err != nil {
			return err
		}
	case i.Type == 'L':
		return nil
	}
	return w.own(i, at, false)
}

// makeNew makes the item where nothing is. No place and no error: it is not to be
// made.
func (w *worker) makeNew(i *Item, dir *place, name string) (*place, error) {
	var err error
	mode := i.Mode.Bits &^ 0o7000 // the rest when it has its owner
	if !i.Mode.Set {
		mode = i.usual()
	}
	switch i.Type {
	case 'f':
		var fd int
		fd, err = unix.Openat(dir.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o700)
		if err == nil {
			f := os.NewFile(uintptr(fd), name)
			_, err = f.WriteString(i.Arg)
			if e := f.Close(); err == nil {
				err = e
			}
		}
	case 'd', 'D':
		err = unix.Mkdirat(dir.fd, name, mode&0o700)
	case 'p':
		err = unix.Mkfifoat(dir.fd, name, mode&0o700)
	case 'L':
		if i.IfThere {
			there, err := w.dir.Open(linkTarget(i), unix.O_PATH)
			if err != nil {
				return nil, nil
			}
			there.Close()
		}
		err = unix.Symlinkat(i.Arg, dir.fd, name)
	case 'c', 'b':
		major, minor, _ := device(i.Arg)
		err = unix.Mknodat(dir.fd, name, i.kind()|mode&0o700, int(unix.Mkdev(major, minor)))
	case 'C':
		return w.copyNew(i.Arg, dir, name)
	}
	if err != nil {
		return nil, err
	}
	return dir.enterNew(name)
}

// enterNew opens what was just made, whoever owns the directory.
func (p *place) enterNew(name string) (*place, error) {
	fd, err := unix.Openat(p.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	at, err := stat(fd)
	if err != nil {
		return nil, err
	}
	if at.st.Uid != uint32(os.Geteuid()) || at.is(unix.S_IFREG) && at.st.Nlink > 1 {
		at.close()
		return nil, errors.New("somebody put something else in its place")
	}
	return at, nil
}

// linkTarget gives where a link will lead, as a path.
func linkTarget(i *Item) string {
	if i.Arg[0] == '/' {
		return i.Arg
	}
	return i.Path + "/../" + i.Arg
}

// write opens a regular file for writing and writes a text.
func write(at *place, flags int, text string) error {
	f, err := os.OpenFile(at.proc(), os.O_WRONLY|flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// copyNew copies a tree to a new name.
func (w *worker) copyNew(from string, dir *place, name string) (*place, error) {
	source, err := w.find(from)
	if missing(err) {
		return nil, nil // nothing to copy is nothing to do
	}
	if err != nil {
		return nil, err
	}
	defer source.close()
	return w.copy(source, dir, name, 0)
}

// copyInto copies what is in a directory into one that is there.
func (w *worker) copyInto(from string, to *place) error {
	source, err := w.find(from)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.close()
	return w.copyEntries(source, to, 0)
}

// maxDepth bounds trees that are copied, changed or removed.
const maxDepth = 128

func (w *worker) copyEntries(from, to *place, depth int) error {
	names, err := from.list()
	if err != nil {
		return err
	}
	if depth >= maxDepth {
		return errors.New("the tree is too deep")
	}
	for _, name := range names {
		source, err := from.enter(name, name)
		if err != nil {
			return err
		}
		made, err := w.copy(source, to, name, depth+1)
		source.close()
		if made != nil {
			made.close()
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("cannot copy %s: %w", name, err)
		}
	}
	return nil
}

// copy copies what is at from, with its owner and mode, to a name in a directory.
func (w *worker) copy(from, dir *place, name string, depth int) (*place, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	switch from.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = unix.Mkdirat(dir.fd, name, 0o700); errors.Is(err, unix.EEXIST) {
			to, err := dir.enter(name, name)
			if err != nil {
				return nil, err
			}
			defer to.close()
			return nil, w.copyEntries(from, to, depth)
		}
	case unix.S_IFLNK:
		var target string
		if target, err = readlink(from.fd); err == nil {
			err = unix.Symlinkat(target, dir.fd, name)
		}
	case unix.S_IFREG:
		err = copyFile(from, dir, name)
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
		err = unix.Mknodat(dir.fd, name, from.st.Mode&unix.S_IFMT|0o600, int(from.st.Rdev))
	default:
		return nil, nil // a socket
	}
	if err != nil {
		return nil, err
	}
	to, err := dir.enterNew(name)
	if err != nil {
		return nil, err
	}
	if from.is(unix.S_IFDIR) {
		err = w.copyEntries(from, to, depth)
	}
	if err == nil {
		err = to.set(int(from.st.Uid), int(from.st.Gid), int(from.st.Mode&0o7777))
	}
	if err != nil {
		to.close()
		return nil, err
	}
	return to, nil
}

func copyFile(from, dir *place, name string) error {
	in, err := os.Open(from.proc())
	if err != nil {
		return err
	}
	defer in.Close()
	fd, err := unix.Openat(dir.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}
