package cgroup

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain bounds how long a lost notice could go unnoticed.
const lookAgain = 5 * time.Second

// WaitEmpty waits until the group and those nested in it have no process left,
// or until the context ends, and then gives its error. A group that does not
// exist is empty. Zombies do not count. On v2 the kernel gives notice
// (cgroup.events); on v1 the group is looked at every 1 to 50 ms.
func (g *Group) WaitEmpty(ctx context.Context) error {
	if h := g.tree.unified(); h != nil {
		dir, err := g.dir(h)
		if err == nil {
			defer dir.Close()
			err = waitEvent(ctx, dir, "populated", "0")
		}
		if err != nil && !isGone(err) {
			return fmt.Errorf("cannot wait for the end of the processes of %s: %w", g.name, err)
		}
		return nil
	}
	again := pause{next: time.Millisecond, most: 50 * time.Millisecond}
	for {
		pids, err := g.Pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if err := again.wait(ctx); err != nil {
			return fmt.Errorf("cannot wait for the end of the processes of %s: %w", g.name, err)
		}
	}
}

// waitEvent waits until a line of a v2 group's cgroup.events has the value.
func waitEvent(ctx context.Context, dir *dirFD, key, value string) error {
	const file = "cgroup.events"
	fd, err := openAt(dir, file, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := newNotice(fd, unix.EPOLLPRI)
	if err != nil {
		return err
	}
	defer n.close()
	buf := make([]byte, 512)
	for {
		// Reading through the watched descriptor also takes the notice back.
		count, err := unix.Pread(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "read", Path: dir.Name() + "/" + file, Err: err}
		}
		for line := range strings.Lines(string(buf[:count])) {
			if strings.TrimSpace(line) == key+" "+value {
				return nil
			}
		}
		if err := n.wait(ctx, lookAgain); err != nil {
			return err
		}
	}
}
