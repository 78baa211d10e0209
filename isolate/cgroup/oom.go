package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// OOMKills counts the processes of the group, and of those nested in it, that
// the kernel has killed for lack of memory since the group was made. It is
// right at any time, also after the processes have gone, until Remove.
func (g *Group) OOMKills() (uint64, error) {
	kills, err := g.oomKills()
	if err != nil {
		return 0, fmt.Errorf("cannot count the OOM kills of %s: %w", g.name, err)
	}
	return kills, nil
}

func (g *Group) oomKills() (uint64, error) {
	h := g.tree.by["memory"]
	if h == nil {
		return 0, &UnsupportedError{Key: "oom", Reason: g.tree.whyMissing("memory")}
	}
	if h.unified { // counts what is below too
		dir, err := g.dir(h)
		if err != nil {
			return 0, err
		}
		defer dir.Close()
		events, err := readKeyedAt(dir, "memory.events")
		return events["oom_kill"], err
	}
	var kills uint64
	err := g.walk(h, func(dir *dirFD) error {
		control, err := readKeyedAt(dir, "memory.oom_control")
		kills += control["oom_kill"]
		return err
	})
	return kills, err
}

// WaitOOM waits until OOMKills is more than seen, and gives it; or until the
// context ends, with its error. With v1 only the group itself gives notice at
// once, those nested in it within a second.
func (g *Group) WaitOOM(ctx context.Context, seen uint64) (uint64, error) {
	kills, err := g.waitOOM(ctx, seen)
	if err != nil {
		return kills, fmt.Errorf("cannot wait for OOM kills of %s: %w", g.name, err)
	}
	return kills, nil
}

func (g *Group) waitOOM(ctx context.Context, seen uint64) (uint64, error) {
	h := g.tree.by["memory"]
	if h == nil {
		return 0, &UnsupportedError{Key: "oom", Reason: g.tree.whyMissing("memory")}
	}
	dir, err := g.dir(h)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	var word *notice
	var clear func() // takes a notice back, before the count is read
	if h.unified {
		fd, err := openAt(dir, "memory.events", unix.O_RDONLY)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		if word, err = newNotice(fd, unix.EPOLLPRI); err != nil {
			return 0, err
		}
		clear = func() { _, _ = unix.Pread(fd, make([]byte, 512), 0) }
	} else {
		event, err := legacyOOMEvent(dir)
		if err != nil {
			return 0, err
		}
		defer unix.Close(event)
		if word, err = newNotice(event, unix.EPOLLIN); err != nil {
			return 0, err
		}
		clear = func() { _, _ = unix.Read(event, make([]byte, 8)) }
	}
	defer word.close()
	limit := time.Second
	for {
		clear()
		kills, err := g.oomKills()
		if err != nil || kills > seen {
			return kills, err
		}
		start := time.Now()
		if err := word.wait(ctx, limit); err != nil {
			return kills, err
		}
		// v1 tells of the lack before it kills: look again soon, and then rarely.
		if time.Since(start) < limit {
			limit = time.Millisecond
		} else {
			limit = min(2*limit, time.Second)
		}
	}
}

// legacyOOMEvent registers an eventfd for the v1 group; see
// Documentation/admin-guide/cgroup-v1/memory.rst. The caller closes it.
func legacyOOMEvent(dir *dirFD) (int, error) {
	control, err := openAt(dir, "memory.oom_control", unix.O_RDONLY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(control)
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, os.NewSyscallError("eventfd2", err)
	}
	if err := writeAt(dir, "cgroup.event_control", strconv.Itoa(event)+" "+strconv.Itoa(control)); err != nil {
		unix.Close(event)
		return -1, errors.Join(errors.New("the kernel gives no OOM notice"), err)
	}
	return event, nil
}
