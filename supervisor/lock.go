package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"berth/reaper"

	"golang.org/x/sys/unix"
)

const (
	lockFile = "berthd.lock" // in the runtime directory; holds the reaper's pid
	lockName = "lock"        // in the reaper's store
	// lockPatience is how long a lock may still be held by processes of a daemon
	// whose reaper was killed: they end by themselves.
	lockPatience = 2 * time.Second
)

// lock holds what two daemons must not share: the runtime directory, the state
// directory and the tree of control groups. Each is an flock(2) on an open file
// that the reaper keeps, so that it is held without a gap from the first
// supervisor's start to the reaper's end, and freed even by a SIGKILL.
type lock struct {
	client *reaper.Client
	files  []*os.File
	held   map[fileID]bool // by earlier supervisors of this daemon
	stored []*os.File
}

type fileID struct{ dev, ino uint64 }

func idOf(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, err
	}
	return fileID{st.Dev, st.Ino}, nil
}

// newLock takes over the locks that an earlier supervisor left with the reaper.
func newLock(client *reaper.Client, hand *reaper.Handover) *lock {
	l := &lock{client: client, held: map[fileID]bool{}, stored: hand.Stored[lockName]}
	delete(hand.Stored, lockName)
	for _, f := range l.stored {
		if id, err := idOf(f); err == nil {
			l.held[id] = true
		}
	}
	return l
}

// take locks the file or directory; what names it in an error, and hint tells
// how to get out.
func (l *lock) take(path string, flags int, what, hint string) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock %s: %w", what, &os.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	id, err := idOf(f)
	if err != nil {
		f.Close()
		return fmt.Errorf("cannot lock %s: %w", what, err)
	}
	if l.held[id] {
		f.Close()
		return nil
	}
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return fmt.Errorf("cannot use %s: another berthd%s uses it; %s", what, l.owner(f), hint)
	case err != nil:
		f.Close()
		return fmt.Errorf("cannot lock %s: %w", what, err)
	}
	l.files = append(l.files, f)
	return nil
}

// owner gives " (pid N)" where the lock's file tells it.
func (*lock) owner(f *os.File) string {
	text, err := os.ReadFile(f.Name())
	if err != nil { // a directory
		return ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// directories locks the runtime and the state directory, before anything in
// them is touched.
func (l *lock) directories(cfg *Config) error {
	path := filepath.Join(cfg.RuntimeDir, lockFile)
	err := l.take(path, unix.O_RDWR|unix.O_CREAT, "the runtime directory "+cfg.RuntimeDir, "stop that one first, or give this one its own --runtime-dir, --state-dir and --slice")
	if err != nil {
		return err
	}
	if len(l.files) > 0 { // newly locked
		f := l.files[0]
		text := strconv.Itoa(os.Getppid()) + "\n"
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("cannot write %s: %w", path, err)
		}
		if _, err := f.WriteAt([]byte(text), 0); err != nil {
			return fmt.Errorf("cannot write %s: %w", path, err)
		}
	}
	return l.take(cfg.StateDir, unix.O_RDONLY|unix.O_DIRECTORY, "the state directory "+cfg.StateDir, "give this one its own --state-dir")
}

// keep has the reaper hold all the locks. The supervisor's own descriptors stay
// open too: as long as it lives, even without a reaper, no other may begin.
func (l *lock) keep() error {
	if len(l.files) == 0 {
		return nil
	}
	l.files = append(l.files, l.stored...)
	if err := l.client.Store(lockName, l.files...); err != nil {
		return fmt.Errorf("cannot keep the lock: %w", err)
	}
	return nil
}
