package tmpfiles

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// removeItem does items of the types r, R and D.
func (w *worker) removeItem(i *Item) error {
	if i.Type == 'D' {
		at, err := w.find(i.Path)
		if missing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		defer at.close()
		if !at.is(unix.S_IFDIR) {
			return nil // making it will tell
		}
		return w.removeEntries(at, 0)
	}
	return w.each(i.Path, func(at *place, p string) error {
		dir, name, err := w.parent(p, false)
		if err != nil {
			return err
		}
		defer dir.close()
		if i.Type == 'R' {
			return w.removeAt(dir, name, at)
		}
		return unlink(dir, name, at)
	})
}

func unlink(dir *place, name string, at *place) error {
	flags := 0
	if at.is(unix.S_IFDIR) {
		flags = unix.AT_REMOVEDIR
	}
	err := unix.Unlinkat(dir.fd, name, flags)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// removeAt removes what is open as a name in a directory, with all below.
func (w *worker) removeAt(dir *place, name string, at *place) error {
	if at.is(unix.S_IFDIR) {
		if err := w.removeEntries(at, 0); err != nil {
			return err
		}
	}
	return unlink(dir, name, at)
}

// removeEntries empties a directory. It stays on the file system that it began on.
func (w *worker) removeEntries(at *place, depth int) error {
	names, err := at.list()
	if err != nil {
		return err
	}
	if depth >= maxDepth {
		return errors.New("the tree is too deep")
	}
	var errs []error
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		fd, err := unix.Openat(at.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var next *place
		if err == nil {
			next, err = stat(fd)
		}
		if err == nil {
			if mounted(next) {
				err = errors.New("something is mounted there")
			} else if next.is(unix.S_IFDIR) {
				err = w.removeEntries(next, depth+1)
			}
			if err == nil {
				err = unlink(at, name, next)
			}
			next.close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// mounted tells whether a place is the root of a mount (statx(2), Linux 5.8).
func mounted(p *place) bool {
	var stx unix.Statx_t
	err := unix.Statx(p.fd, "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, 0, &stx)
	return err == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
