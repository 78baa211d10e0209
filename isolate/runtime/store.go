package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
	"berth/isolate/seccomp"
)

// The names in a container's directory.
const (
	stateFile  = "state.json"
	configFile = "config.json"
	gateFIFO   = "gate"
	statusFIFO = "status"
)

// maxState bounds what is read of a state.json.
const maxState = 8 << 20

// lockWait is how long a command waits for another one that changes the same
// container, before it gives up: longer than hooks usually take.
const lockWait = time.Minute

// store is the root directory. Only its owner and root can write to it, so that
// what lies in it can be trusted.
type store struct{ root string }

// openStore makes the root directory if it is missing.
func openStore(root string) (*store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("cannot use the root directory: %w", err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the root directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return nil, fmt.Errorf("cannot use the root directory %s: %w", root, err)
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("cannot use the root directory %s: others can write to it; give one with --root that only its owner can", root)
	}
	return &store{root}, nil
}

// filters keeps the compiled seccomp filters, under a name that no container can have.
func (s *store) filters() seccomp.Files { return seccomp.Files{Dir: filepath.Join(s.root, "@filters")} }

func (s *store) dir(id string) string { return filepath.Join(s.root, id) }

// locked is a container's directory while this process alone may change it.
type locked struct {
	id, path string
	dir      *os.File // holds the lock
}

// claim makes the directory of a new container and locks it. ErrExist when the
// container is there already, or is just being made. What a creation that was
// killed before its first record left is taken over.
func (s *store) claim(id string) (*locked, error) {
	made := os.Mkdir(s.dir(id), 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make the container's directory: %w", made)
	}
	l, err := s.open(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrExist // it was there, and is just being deleted
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(l.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil || !l.current() {
		l.unlock()
		return nil, ErrExist
	}
	if _, err := os.Lstat(l.file(stateFile)); err == nil {
		l.unlock()
		return nil, ErrExist
	}
	if made != nil { // else there is nothing in it
		if err := l.clear(); err != nil {
			l.unlock()
			return nil, err
		}
	}
	return l, nil
}

func (s *store) open(id string) (*locked, error) {
	fd, err := rawfile.Open(s.dir(id), unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &locked{id, s.dir(id), os.NewFile(uintptr(fd), s.dir(id))}, nil
}

// errBusy is what lock gives when the time is up.
var errBusy = errors.New("another command works on the container")

// lock waits until no other command changes the container, for at most so long.
// ErrNotExist when there is no such directory.
func (s *store) lock(id string, wait time.Duration) (*locked, error) {
	for deadline := time.Now().Add(wait); ; {
		l, err := s.open(id)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		if err := flock(l.dir, time.Until(deadline)); err != nil {
			l.unlock()
			return nil, fmt.Errorf("cannot lock container %q: %w", id, err)
		}
		if l.current() {
			return l, nil
		}
		l.unlock() // it was deleted meanwhile, and perhaps made anew
	}
}

// flock waits for the lock in a thread of its own: flock(2) has no time limit.
// When the time is up the thread keeps waiting until the process ends.
func flock(dir *os.File, wait time.Duration) error {
	err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != unix.EWOULDBLOCK {
		return err
	}
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer unix.Close(fd)
		for {
			if err := unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
				done <- err
				return
			}
		}
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errBusy
	}
}

// current tells whether the locked directory is still the one of that name.
func (l *locked) current() bool {
	var mine, named unix.Stat_t
	return unix.Fstat(int(l.dir.Fd()), &mine) == nil && unix.Lstat(l.path, &named) == nil &&
		mine.Ino == named.Ino && mine.Dev == named.Dev
}

func (l *locked) unlock() { l.dir.Close() }

// release gives the lock back, but keeps the directory for relock.
func (l *locked) release() { _ = unix.Flock(int(l.dir.Fd()), unix.LOCK_UN) }

// relock takes the lock of a directory that was released. ErrNotExist when
// another command has deleted the container meanwhile.
func (l *locked) relock(wait time.Duration) error {
	if err := flock(l.dir, wait); err != nil {
		return fmt.Errorf("cannot lock container %q: %w", l.id, err)
	}
	if !l.current() {
		return ErrNotExist
	}
	return nil
}

func (l *locked) file(name string) string { return filepath.Join(l.path, name) }

// write replaces the record. Whoever reads it sees the old or the new one. It
// need not survive the machine: no container does.
func (l *locked) write(r *Record) error {
	text, err := r.text()
	if err == nil {
		err = replaceFile(l.file(stateFile), text)
	}
	if err != nil {
		return fmt.Errorf("cannot write the state of container %q: %w", l.id, err)
	}
	return nil
}

// replaceFile writes a file beside the one of that name and puts it in its place.
func replaceFile(name string, data []byte) error {
	next := name + ".new"
	if err := rawfile.Write(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// remove ends the container's being there, at once, and then clears the rest
// away. The caller still unlocks.
func (l *locked) remove() error {
	if err := os.Remove(l.file(stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot delete the state of container %q: %w", l.id, err)
	}
	_ = unix.Unlink(l.file(configFile)) // often there is nothing else
	if unix.Rmdir(l.path) == nil {
		return nil
	}
	if err := l.clear(); err != nil {
		return err
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot delete the directory of container %q: %w", l.id, err)
	}
	return nil
}

// clear removes whatever is in the directory.
func (l *locked) clear() error {
	_, err := l.dir.Seek(0, io.SeekStart)
	var names []string
	if err == nil {
		names, err = l.dir.Readdirnames(-1)
	}
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(l.file(name)))
	}
	if err != nil {
		return fmt.Errorf("cannot clear the directory of container %q: %w", l.id, err)
	}
	return nil
}

// read gives the record of a container, or ErrNotExist. It needs no lock.
func (s *store) read(id string) (*Record, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(s.dir(id), stateFile), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of container %q: %w", id, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxState) {
		err = errors.New("it is no file of a sensible size")
	}
	var r Record
	if err == nil {
		err = json.NewDecoder(file).Decode(&r)
	}
	if err == nil && r.ID != id {
		err = fmt.Errorf("it is that of container %q", r.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of container %q: %w", id, err)
	}
	return &r, nil
}

// ids are the names of all directories that a container may have, sorted.
func (s *store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("cannot list the containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}
