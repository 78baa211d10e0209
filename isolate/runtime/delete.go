package runtime

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Delete removes a stopped container: its groups, its directory, and then the
// poststop hooks run, once. With force it is killed first if it is not stopped,
// and one that does not exist, or was made by half, is no error.
func (rt *Runtime) Delete(id string, force bool) error {
	if err := CheckID(id); err != nil {
		if force {
			return nil
		}
		return ErrNotExist
	}
	r, err := rt.delete(id, force)
	if err != nil {
		if force && err == ErrNotExist {
			return nil
		}
		return err
	}
	rt.poststop(r)
	return nil
}

// delete does what is done under the lock.
func (rt *Runtime) delete(id string, force bool) (*Record, error) {
	l, err := rt.lockForDelete(id, force)
	if err != nil {
		return nil, err
	}
	defer l.unlock()
	r, err := rt.store.read(id)
	if err == ErrNotExist && force { // what a creation left that was killed before its first record
		if err := l.remove(); err != nil {
			return nil, err
		}
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	status, pidfd, err := rt.status(r)
	if err != nil {
		return nil, err
	}
	defer closeFD(pidfd)
	if status != Stopped && !force {
		return nil, fmt.Errorf("cannot delete container %s that is not stopped: %s", id, status)
	}
	if err := rt.end(r, pidfd); err != nil {
		return nil, fmt.Errorf("cannot delete container %s: %w", id, err)
	}
	return r, l.remove()
}

// lockForDelete takes the lock. A command that is still making the container has
// it for as long as its hooks take: with force its process is killed, so that it
// gives up.
func (rt *Runtime) lockForDelete(id string, force bool) (*locked, error) {
	if !force {
		return rt.store.lock(id, lockWait)
	}
	l, err := rt.store.lock(id, 0)
	if !errors.Is(err, errBusy) {
		return l, err
	}
	if r, err := rt.store.read(id); err == nil && r.Process != nil {
		if fd, err := r.Process.open(); err == nil {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			unix.Close(fd)
		}
	}
	return rt.store.lock(id, lockWait)
}

// end kills what still runs of the container, waits until it is gone and
// removes the groups.
func (rt *Runtime) end(r *Record, pidfd int) error {
	if pidfd >= 0 {
		if err := sendSignal(pidfd, unix.SIGKILL); err != nil && err != ErrNotRunning {
			return err
		}
	}
	group, err := r.group()
	if err != nil {
		return err
	}
	defer group.Close()
	if group.Exists() {
		if err := endGroup(group); err != nil {
			return err
		}
	}
	if pidfd >= 0 && !awaitEnd(pidfd, killWait) {
		return fmt.Errorf("process %d does not end, though it was killed", r.Process.PID)
	}
	return group.Remove()
}

// poststop runs the hooks after the end.
func (rt *Runtime) poststop(r *Record) {
	rt.runAll("poststop", r.Poststop, r.hookState(Stopped, 0))
}
