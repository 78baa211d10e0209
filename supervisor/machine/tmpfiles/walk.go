package tmpfiles

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the links of one path, as the kernel's own look-up does.
const maxLinks = 40

// unsafeError is a step of a path that somebody other than root could have put
// there to lead to what is not theirs.
type unsafeError struct {
	path     string
	from, to uint32
}

func (e *unsafeError) Error() string {
	return fmt.Sprintf("the way to %s is not safe: what user %d owns leads to what user %d owns", e.path, e.from, e.to)
}

// place is an open file or directory (O_PATH) with its state when it was opened.
type place struct {
	fd int
	st unix.Stat_t
}

func (p *place) close() { _ = unix.Close(p.fd) }

func (p *place) is(kind uint32) bool { return p.st.Mode&unix.S_IFMT == kind }

// proc is a path to the file itself, for what takes no O_PATH descriptor.
func (p *place) proc() string { return "/proc/self/fd/" + strconv.Itoa(p.fd) }

// enter opens one name in a directory, following nothing. A step from what one
// user owns to what another owns is refused, unless root made the first: the
// owner of a directory decides what its names lead to (CVE-2017-18078,
// CVE-2018-6954 of systemd-tmpfiles).
func (p *place) enter(name, whole string) (*place, error) {
	fd, err := unix.Openat(p.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	next, err := stat(fd)
	if err != nil {
		return nil, err
	}
	if from, to := p.st.Uid, next.st.Uid; from != 0 && from != to {
		next.close()
		return nil, &unsafeError{whole, from, to}
	}
	return next, nil
}

// stat takes a descriptor over.
func stat(fd int) (*place, error) {
	p := &place{fd: fd}
	if err := unix.Fstat(fd, &p.st); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// root opens a new place of the root directory.
func (w *worker) root() (*place, error) {
	fd, err := unix.Openat(w.dir.FD(), ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return stat(fd)
}

// parent opens the directory that a path lies in, and gives the last name.
// Directories that are missing are made, if that is asked for, as root's with
// mode 0755. Links on the way are followed inside the root, if the way is safe;
// the last name is not looked at.
func (w *worker) parent(path string, build bool) (*place, string, error) {
	names := strings.Split(strings.Trim(path, "/"), "/")
	dir, err := w.directory(names[:len(names)-1], path, build)
	return dir, names[len(names)-1], err
}

// directory walks down from the root.
func (w *worker) directory(names []string, whole string, build bool) (*place, error) {
	at, err := w.root()
	if err != nil {
		return nil, err
	}
	var above []*place // the directories down to at, for ".."
	defer func() {
		for _, p := range above {
			p.close()
		}
	}()
	links := 0
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			n := len(above)
			if n == 0 {
				continue
			}
			// Only a link has "..", and its owner is who leads there.
			if from, to := at.st.Uid, above[n-1].st.Uid; from != 0 && from != to {
				at.close()
				return nil, &unsafeError{whole, from, to}
			}
			at.close()
			at, above = above[n-1], above[:n-1]
			continue
		}
		next, err := at.enter(name, whole)
		if errors.Is(err, unix.ENOENT) && build {
			if err = unix.Mkdirat(at.fd, name, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
				next, err = at.enter(name, whole)
			}
		}
		if err != nil {
			at.close()
			return nil, err
		}
		switch {
		case next.is(unix.S_IFDIR):
			above = append(above, at)
			at = next
		case next.is(unix.S_IFLNK):
			target, err := readlink(next.fd)
			if links++; err == nil && links > maxLinks {
				err = unix.ELOOP
			}
			if err != nil {
				next.close()
				at.close()
				return nil, err
			}
			// What the link leads to was chosen by the owner of the link.
			owner := next.st.Uid
			next.close()
			if strings.HasPrefix(target, "/") {
				for len(above) > 0 {
					at.close()
					at, above = above[len(above)-1], above[:len(above)-1]
				}
			}
			if owner != 0 {
				at.st.Uid = owner
			}
			names = append(strings.Split(target, "/"), names...)
		default:
			next.close()
			at.close()
			return nil, unix.ENOTDIR
		}
	}
	return at, nil
}

// readlink reads a link that is open itself.
func readlink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// find opens what a path names, not following a link there.
func (w *worker) find(path string) (*place, error) {
	if path == "/" {
		return w.root()
	}
	dir, name, err := w.parent(path, false)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	return dir.enter(name, path)
}

// list gives the names in a directory.
func (p *place) list() ([]string, error) {
	fd, err := unix.Openat(p.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), "directory")
	defer d.Close()
	return d.Readdirnames(-1)
}
