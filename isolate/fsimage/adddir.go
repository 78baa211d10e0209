package fsimage

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// AddDir puts a directory of this machine with all that is below it at a path of
// the tree: owners, permissions, times, extended attributes, hard links among its
// files, and devices as they are. It does not leave the directory, whatever links
// are in it, and does not follow links. Sockets are left out.
//
// Contents are read when an image is written: root must stay open until then. It
// stays the caller's.
func (t *Tree) AddDir(at string, root *os.Root) error {
	links := map[[2]uint64]*Inode{} // files with several names, by device and inode
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", root.Name(), err)
		}
		info, err := root.Lstat(name)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", root.Name(), err)
		}
		st := info.Sys().(*syscall.Stat_t)
		to := join(clean(at), name)
		if name == "." {
			to = clean(at)
		}
		key := [2]uint64{st.Dev, st.Ino}
		if n := links[key]; n != nil && !info.IsDir() {
			return t.Add(to, n)
		}
		n := &Inode{Mode: st.Mode, UID: st.Uid, GID: st.Gid, ModTime: info.ModTime()}
		switch n.Kind() {
		case KindSocket:
			return nil
		case KindLink:
			if n.Target, err = root.Readlink(name); err != nil {
				return fmt.Errorf("cannot read %s: %w", root.Name(), err)
			}
		case KindBlock, KindChar:
			n.Major, n.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		case KindRegular:
			n.Size = st.Size
			n.Open = func() (io.ReadCloser, error) { return root.Open(name) }
		}
		if k := n.Kind(); k == KindRegular || k == KindDir {
			if n.Xattrs, err = xattrs(root, name); err != nil {
				return err
			}
		}
		if st.Nlink > 1 && !info.IsDir() {
			links[key] = n
		}
		return t.Add(to, n)
	})
}

// AddFile puts one file of this machine at a path of the tree, with the
// permissions it has and root as its owner. A symbolic link is followed. The
// contents are read when an image is written.
func (t *Tree) AddFile(at, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("cannot put a file into the image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cannot put %s into the image: it is not a regular file", from)
	}
	return t.Add(at, &Inode{
		Mode: KindRegular | uint32(info.Mode().Perm()), ModTime: info.ModTime(), Size: info.Size(),
		Open: func() (io.ReadCloser, error) { return os.Open(from) },
	})
}

// xattrs reads the extended attributes of a file or directory.
func xattrs(root *os.Root, name string) (map[string][]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", root.Name(), err)
	}
	defer f.Close()
	list, err := sized(func(p []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), p) })
	if err == unix.ENOTSUP || len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the attributes of %s: %w", f.Name(), err)
	}
	out := map[string][]byte{}
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		value, err := sized(func(p []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), key, p) })
		if err != nil {
			return nil, fmt.Errorf("cannot read the attribute %s of %s: %w", key, f.Name(), err)
		}
		out[key] = value
	}
	return out, nil
}

// sized asks how long a value is, and for the value.
func sized(get func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		value := make([]byte, n)
		n, err = get(value)
		if err == unix.ERANGE {
			continue // it has grown meanwhile
		}
		if err != nil {
			return nil, err
		}
		return value[:n], nil
	}
}
