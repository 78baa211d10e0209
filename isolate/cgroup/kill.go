package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeDeadline bounds how long a v1 group may take to freeze before it is
// killed as it is: a process in uninterruptible sleep freezes only afterwards.
const freezeDeadline = 500 * time.Millisecond

// Kill sends SIGKILL to every process of the group and of groups nested in it,
// and thaws them if they are frozen, so that they die. With v2 the kernel kills
// all at once (cgroup.kill, Linux 5.14); on v1 the group is frozen meanwhile, so
// that none can fork away. It does not wait: see WaitEmpty. To kill a group that
// does not exist is no error.
func (g *Group) Kill() error {
	if err := g.kill(); err != nil {
		return fmt.Errorf("cannot kill the processes of %s: %w", g.name, err)
	}
	return nil
}

func (g *Group) kill() error {
	if h := g.tree.unified(); h != nil {
		dir, err := g.dir(h)
		if isGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		err = writeAt(dir, "cgroup.kill", "1")
		dir.Close()
		if err != nil && !isGone(err) {
			return err
		}
		// A v1 freezer holds even a killed process.
		return g.thaw()
	}
	ctx, cancel := context.WithTimeout(context.Background(), freezeDeadline)
	defer cancel()
	// Whatever comes of freezing, killing is worth it.
	_ = g.Freeze(ctx)
	return errors.Join(g.signalAll(unix.SIGKILL), g.thaw())
}

// Signal sends a signal to every process of the group. Processes that are
// forked while it runs may not get it.
func (g *Group) Signal(signal unix.Signal) error {
	if err := g.signalAll(signal); err != nil {
		return fmt.Errorf("cannot send %s to the processes of %s: %w", unix.SignalName(signal), g.name, err)
	}
	return nil
}

func (g *Group) signalAll(signal unix.Signal) error {
	pids, err := g.Pids()
	if err != nil {
		return err
	}
	var failed error
	for some := range slices.Chunk(pids, signalChunk) {
		failed = errors.Join(failed, g.signalSome(some, signal))
	}
	return failed
}

// signalChunk is how many processes signalSome holds a descriptor of at a time.
const signalChunk = 200

// signalSome sends to those of the processes that are seen in the group while a
// pidfd holds them: a pid that was given to another process meanwhile is not hit.
func (g *Group) signalSome(pids []int, signal unix.Signal) error {
	held := make(map[int]int, len(pids))
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	var failed error
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			held[pid] = fd
		} else if err != unix.ESRCH && err != unix.EINVAL { // gone, its pid perhaps a thread's
			failed = errors.Join(failed, fmt.Errorf("process %d: %w", pid, err))
		}
	}
	inside, err := g.Pids()
	if err != nil {
		return errors.Join(failed, err)
	}
	for _, pid := range inside {
		fd, is := held[pid]
		if !is || pid == os.Getpid() {
			continue
		}
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && err != unix.ESRCH {
			failed = errors.Join(failed, fmt.Errorf("process %d: %w", pid, err))
		}
	}
	return failed
}

// Freeze stops every process of the group where it is, until Thaw. It waits
// until all are stopped or the context ends; the group may then still be on the
// way to be frozen.
func (g *Group) Freeze(ctx context.Context) error {
	if err := g.freeze(ctx); err != nil {
		return fmt.Errorf("cannot freeze %s: %w", g.name, err)
	}
	return nil
}

func (g *Group) freeze(ctx context.Context) error {
	if h := g.tree.unified(); h != nil {
		dir, err := g.dir(h)
		if err != nil {
			return err
		}
		defer dir.Close()
		if err := writeAt(dir, "cgroup.freeze", "1"); err != nil {
			return err
		}
		return waitEvent(ctx, dir, "frozen", "1")
	}
	h := g.tree.by["freezer"]
	if h == nil {
		return &UnsupportedError{Key: "freeze", Reason: g.tree.whyMissing("freezer")}
	}
	dir, err := g.dir(h)
	if err != nil {
		return err
	}
	defer dir.Close()
	again := pause{next: time.Millisecond, most: 20 * time.Millisecond}
	for {
		// Writing again makes the kernel look again at processes that could
		// not be frozen at the first time.
		if err := writeAt(dir, "freezer.state", "FROZEN"); err != nil {
			return err
		}
		state, err := readAt(dir, "freezer.state")
		if err != nil || state == "FROZEN" {
			return err
		}
		if err := again.wait(ctx); err != nil {
			return err
		}
	}
}

// Thaw lets the processes of a frozen group run on, those of nested groups
// included. One that is not frozen stays as it is.
func (g *Group) Thaw() error {
	if err := g.thaw(); err != nil {
		return fmt.Errorf("cannot thaw %s: %w", g.name, err)
	}
	return nil
}

func (g *Group) thaw() error {
	var failed error
	if h := g.tree.unified(); h != nil {
		failed = g.walk(h, func(dir *dirFD) error { return writeAt(dir, "cgroup.freeze", "0") })
	}
	if h := g.tree.by["freezer"]; h != nil {
		failed = errors.Join(failed, g.walk(h, func(dir *dirFD) error { return writeAt(dir, "freezer.state", "THAWED") }))
	}
	return failed
}

// Frozen tells whether all of the group's processes are stopped by Freeze, on
// either kind of hierarchy.
func (g *Group) Frozen() (bool, error) {
	for _, h := range []*hierarchy{g.tree.unified(), g.tree.by["freezer"]} {
		if h == nil {
			continue
		}
		dir, err := g.dir(h)
		if err != nil {
			return false, fmt.Errorf("cannot tell whether %s is frozen: %w", g.name, err)
		}
		var text string
		frozen := "FROZEN"
		if h.unified {
			frozen = "frozen 1"
			text, err = readAt(dir, "cgroup.events")
		} else {
			text, err = readAt(dir, "freezer.state")
		}
		dir.Close()
		if err != nil {
			return false, fmt.Errorf("cannot tell whether %s is frozen: %w", g.name, err)
		}
		if strings.Contains(text, frozen) {
			return true, nil
		}
	}
	return false, nil
}
