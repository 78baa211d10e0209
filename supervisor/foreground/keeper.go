package foreground

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/isolate/cgroup"
	"berth/reaper"

	"golang.org/x/sys/unix"
)

// cleanTimeout bounds the wait for killed processes to be gone.
const cleanTimeout = 10 * time.Second

// keeper is the process that removes the groups, as its starter sees it.
type keeper struct {
	cmd    *exec.Cmd
	alive  *os.File
	report *strings.Builder
}

// startKeeper starts the keeper by its command line, which has to call Keep.
func startKeeper(command []string) (*keeper, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer r.Close()
	k := &keeper{cmd: exec.Command(command[0], command[1:]...), alive: w, report: &strings.Builder{}}
	k.cmd.Stdin = r
	k.cmd.Stderr = k.report
	// Away from the terminal's signals, so that it outlives what it waits for.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := k.cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("cannot start the process that cleans up: %w", err)
	}
	return k, nil
}

// watch tells the keeper of a program that is to end with this process. It is
// not reaped yet, so the pid is its own.
func (k *keeper) watch(pid int) error {
	if _, err := fmt.Fprintln(k.alive, pid); err != nil {
		return fmt.Errorf("cannot tell the process that cleans up: %w", err)
	}
	return nil
}

// release has the keeper clean up, and waits until it has.
func (k *keeper) release() error {
	k.alive.Close()
	err := k.cmd.Wait()
	if err == nil {
		return nil
	}
	if text, _, _ := strings.Cut(strings.TrimSpace(k.report.String()), "\n"); text != "" {
		return errors.New(text)
	}
	return fmt.Errorf("cannot clean up: %w", err)
}

// Keep is the life of the keeper process. It takes the pids that come over alive,
// a line each, and waits for its end; then it kills these processes and what is
// in the groups of the slice, and removes the groups. What there is of
// the slice is found at the end only: until then nothing may be there yet.
func Keep(slice string, alive io.Reader) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	if err := reaper.Harden(); err != nil {
		return err
	}
	var mains []int // pidfds, for where there is no group to kill
	lines := bufio.NewScanner(alive)
	for lines.Scan() {
		if pid, err := strconv.Atoi(lines.Text()); err == nil {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				defer unix.Close(fd)
				mains = append(mains, fd)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot wait for the end: %w", err)
	}
	for _, fd := range mains {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may have ended
	}
	tree, err := cgroup.Open(cgroup.Options{Slice: slice, OrNone: os.Geteuid() != 0})
	if err != nil {
		return err
	}
	defer tree.Close()
	ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	names, err := tree.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		g, err := tree.Group(name)
		if err != nil {
			return err
		}
		if err := empty(ctx, g); err != nil {
			return err
		}
		if err := g.Remove(); err != nil {
			return err
		}
	}
	return tree.Remove()
}

// empty kills all of a group and waits until it is gone.
func empty(ctx context.Context, g *cgroup.Group) error {
	if err := g.Kill(); err != nil {
		return err
	}
	if err := g.WaitEmpty(ctx); err != nil {
		return fmt.Errorf("processes of %s do not end: %w", g.Name(), err)
	}
	return nil
}
