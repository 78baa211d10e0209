package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"berth/isolate"
	"berth/supervisor/probe"
	"berth/units"

	"golang.org/x/sys/unix"
)

const (
	// probeForks bounds the exec probes that are being started at a time. Those
	// that run are bounded by the units' own limits, and one for each check.
	probeForks = 8
	// probeFlood is how much an exec probe may write before it is ended, in bytes.
	probeFlood = 1 << 20
)

// probe makes one check inside the run's container, which may take that long,
// and gives what was seen. It is safe to be called from any goroutine, and ends
// with ctx, whatever the container does.
func (s *Supervisor) probe(ctx context.Context, r *run, p units.Probe, timeout time.Duration) (output string, err error) {
	r.mu.Lock()
	proc, cfg := r.proc, r.cfg
	r.mu.Unlock()
	if proc == nil {
		return "", errNotRunning
	}
	if len(p.Exec) > 0 {
		return s.probeExec(ctx, r, p.Exec, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := probe.Target{PID: proc.pid, Use: proc.use, Network: cfg.Namespaces.Network != "host", Looks: r.looks}
	if t.Network && s.env.Ordinary != nil && p.File == "" { // a check that was added since the start
		return "", errProbeNetwork
	}
	switch {
	case p.TCP != "":
		return "", probe.TCP(ctx, t, p.TCP)
	case p.HTTP != "":
		return probe.HTTP(ctx, t, p.HTTP)
	}
	return "", probe.File(ctx, t, p.File)
}

// errProbeNetwork is a probe that an ordinary user cannot make: to enter another
// network namespace takes CAP_SYS_ADMIN in one's own user namespace (setns(2)),
// and a process with threads cannot enter another of these first.
var errProbeNetwork = errors.New(`berth runs as an ordinary user and cannot connect in a network namespace of the unit's own: use exec, or namespaces.network = "host"`)

// probesReach refuses a unit with probes that could never succeed.
func (s *Supervisor) probesReach(u *units.Unit) error {
	if s.env.Ordinary == nil || u.Namespaces.Network == "host" {
		return nil
	}
	if u.Ready.TCP != "" || u.Ready.HTTP != "" {
		return fmt.Errorf("cannot find out whether it is ready: %w", errProbeNetwork)
	}
	for _, name := range slices.Sorted(maps.Keys(u.Health)) {
		if p := u.Health[name]; p.TCP != "" || p.HTTP != "" {
			return fmt.Errorf("cannot make the health check %s: %w", name, errProbeNetwork)
		}
	}
	return nil
}

// probeExec runs a command in the container as the unit's user. The wait for its
// turn to be started is not counted.
func (s *Supervisor) probeExec(ctx context.Context, r *run, command units.Command, timeout time.Duration) (string, error) {
	select {
	case s.probeForks <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	started := false
	release := func() {
		if !started {
			started = true
			<-s.probeForks
		}
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	near, far, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer near.Close()
	files := &fileSet{toClose: []*os.File{far}, toChown: []*os.File{far}}
	defer files.close()
	files.Stdout, files.Stderr = far, far
	x, err := s.startExecution(ctx, r, isolate.Process{Args: command}, false, files)
	for errors.Is(err, errInterrupted) && ctx.Err() == nil { // nothing of it was executed
		x, err = s.startExecution(ctx, r, isolate.Process{Args: command}, false, files)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("was not started within %s", timeout)
	}
	if err != nil {
		return "", err
	}
	files.close()
	release()
	return s.probeEnd(ctx, x, near, timeout)
}

// probeEnd waits for the end of an exec probe and reads what it writes.
func (s *Supervisor) probeEnd(ctx context.Context, x *execution, out *os.File, timeout time.Duration) (string, error) {
	var tail probe.Tail
	read := make(chan struct{})
	go func() {
		_, _ = io.CopyN(&tail, out, probeFlood) // ends with the pipe or its deadline
		close(read)
	}()
	flood := read
	for {
		select {
		case <-x.exited:
			// What has been written is there; who still holds the pipe is not waited for.
			_ = out.SetReadDeadline(time.Unix(1, 0))
			<-read
			_ = out.SetReadDeadline(time.Time{})
			rest(&tail, out)
			x.proc.pidfd.Close()
			return tail.String(), exitError(x)
		case <-flood:
			if tail.Total() >= probeFlood {
				s.endProbe(x)
				return tail.String(), errors.New("wrote more than 1 MiB")
			}
			flood = nil
		case <-ctx.Done():
			s.endProbe(x)
			_ = out.SetReadDeadline(time.Unix(1, 0))
			<-read
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return tail.String(), fmt.Errorf("did not end within %s", timeout)
			}
			return tail.String(), ctx.Err()
		}
	}
}

// rest reads what a pipe holds, and does not wait for more.
func rest(tail *probe.Tail, out *os.File) {
	conn, err := out.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10) // as much as a pipe holds (pipe(7))
	_ = conn.Read(func(fd uintptr) bool {
		if n, err := unix.Read(int(fd), buf); err == nil && n > 0 {
			_, _ = tail.Write(buf[:n])
		}
		return true
	})
}

// exitError tells of an exit that is no success.
func exitError(x *execution) error {
	switch {
	case x.exit.Signal != 0:
		return fmt.Errorf("killed by SIG%s", signalName(x.exit.Signal))
	case x.exit.Code != 0:
		return fmt.Errorf("exited with status %d", x.exit.Code)
	}
	return nil
}

// processGroup has pidfd_send_signal send to the process group (Linux 6.9).
const processGroup = 1 << 2

// endProbe kills an exec probe with its process group: every program of a
// container leads one. What has left that is the unit's, in its group, and ends
// with it. A paused unit's probe may end only when it is resumed, which is not
// waited for.
func (s *Supervisor) endProbe(x *execution) {
	err := x.proc.use(func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, processGroup) })
	if err != nil {
		_ = x.proc.signal(unix.SIGKILL) // it may have ended
	}
	go func() {
		select {
		case <-x.exited:
		case <-s.done:
		}
		x.proc.pidfd.Close()
	}()
}
