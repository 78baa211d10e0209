package tmpfiles

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// changeItem does items of the types w, e, z and Z to all that their path names.
func (w *worker) changeItem(i *Item) error {
	return w.each(i.Path, func(at *place, path string) error {
		switch {
		case i.Type == 'w' && at.is(unix.S_IFLNK):
			return errors.New("it is a symbolic link")
		case i.Type == 'w':
			flags := 0
			if i.Plus {
				flags = os.O_APPEND
			}
			if err := w.owned(at); err != nil {
				return err
			}
			return write(at, flags, i.Arg)
		case i.Type == 'e' && !at.is(unix.S_IFDIR):
			return nil
		case i.Type == 'Z':
			return w.ownTree(i, at, path, 0)
		}
		return w.own(i, at, false)
	})
}

// usual is the mode of what is made without one.
func (i *Item) usual() uint32 {
	if i.Type == 'd' || i.Type == 'D' {
		return 0o755
	}
	return 0o644
}

// owned refuses a file that could be another one's second name: where anybody may
// link to others' files, one in a user's directory is maybe /etc/shadow.
func (w *worker) owned(at *place) error {
	if w.strict && !at.is(unix.S_IFDIR) && at.st.Nlink > 1 {
		return fmt.Errorf("it has %d names, and fs.protected_hardlinks is off", at.st.Nlink)
	}
	return nil
}

// own gives a file the owner and mode that an item says. What it does not say is
// root's and the usual mode for what was just made, and is left for the rest.
func (w *worker) own(i *Item, at *place, isNew bool) error {
	uid, err := w.uid(i.User)
	if err != nil {
		return err
	}
	gid, err := w.gid(i.Group)
	if err != nil {
		return err
	}
	mode := -1
	switch {
	case i.Mode.Set && (isNew || !i.Mode.New):
		mode = int(i.Mode.Bits)
		if i.Mode.Masked && !isNew {
			mode = int(mask(i.Mode.Bits, &at.st))
		}
	case isNew && i.Type != 'C':
		mode = int(i.usual())
	}
	if !isNew && i.User.New {
		uid = -1
	}
	if !isNew && i.Group.New {
		gid = -1
	}
	if !isNew && (mode >= 0 || uid >= 0 || gid >= 0) {
		if err := w.owned(at); err != nil {
			return err
		}
	}
	return at.set(uid, gid, mode)
}

// mask leaves of a mode what fits a file: no permission of a kind that nobody has
// for it now, and no set-id bits for what is not a directory.
func mask(mode uint32, st *unix.Stat_t) uint32 {
	for _, bits := range []uint32{0o111, 0o222, 0o444} {
		if st.Mode&bits == 0 {
			mode &^= bits
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		mode &^= 0o7000
	}
	return mode
}

// ownTree does so for all that is below.
func (w *worker) ownTree(i *Item, at *place, path string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	errs := []error{}
	if err := w.own(i, at, false); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", path, err))
	}
	if !at.is(unix.S_IFDIR) {
		return errors.Join(errs...)
	}
	if depth >= maxDepth {
		return fmt.Errorf("%s: the tree is too deep", path)
	}
	names, err := at.list()
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", path, err))
	}
	for _, name := range names {
		// What a user has put into a directory of theirs may be made theirs; a link
		// is not followed, and a file with other names is refused.
		fd, err := unix.Openat(at.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var next *place
		if err == nil {
			next, err = stat(fd)
		}
		if err == nil {
			err = w.ownTree(i, next, path+"/"+name, depth+1)
			next.close()
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// set gives owner, group and mode, each -1 for as it is. At no time is more
// allowed to anybody than before or after.
func (p *place) set(uid, gid, mode int) error {
	link := p.is(unix.S_IFLNK) // has no mode
	now := int(p.st.Mode & 0o7777)
	if mode < 0 {
		mode = now
	}
	change := uid >= 0 && uint32(uid) != p.st.Uid || gid >= 0 && uint32(gid) != p.st.Gid
	if change {
		if less := now & mode; less != now && !link {
			if err := unix.Chmod(p.proc(), uint32(less)); err != nil {
				return fmt.Errorf("cannot set the mode: %w", err)
			}
			now = less
		}
		if err := unix.Fchownat(p.fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("cannot set the owner: %w", err)
		}
	}
	// A change of owner has taken the set-id bits away (chown(2)).
	if link || mode == now && !(change && mode&0o6000 != 0) {
		return nil
	}
	if err := unix.Chmod(p.proc(), uint32(mode)); err != nil {
		return fmt.Errorf("cannot set the mode: %w", err)
	}
	return nil
}
