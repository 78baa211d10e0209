package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"berth/isolate"
	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/pty"
	"berth/units"

	"golang.org/x/sys/unix"
)

// session is a process started by berth exec, with the near ends of its
// descriptors.
type session struct {
	x      *execution
	tty    *os.File // the terminal's master; nil without
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	once   sync.Once
}

var _ api.Session = (*session)(nil)

// Exec starts a process in a running unit's container.
func (b backend) Exec(ctx context.Context, unit string, e api.Exec) (api.Session, error) {
	var r *run
	err := b.look(ctx, unit, func(_ *core.Unit, current *run) error {
		if current == nil || !current.spawned || current.exit != nil {
			return &api.Error{Code: "not-running", Message: fmt.Sprintf("unit %s is not running", unit), Hint: "start it: berth start " + unit}
		}
		r = current
		return nil
	})
	if err != nil {
		return nil, err
	}
	ss := &session{}
	var files *fileSet
	if e.Terminal {
		files, err = ss.terminal(r.main(), e.Rows, e.Cols)
	} else {
		files, err = ss.pipes()
	}
	if err != nil {
		ss.closeFiles()
		return nil, err
	}
	defer files.close()
	p := isolate.Process{Args: e.Args, User: e.User, Dir: e.Dir, Terminal: e.Terminal}
	for k, v := range e.Environment {
		p.Env = append(p.Env, k+"="+v)
	}
	if ss.x, err = b.startExecution(ctx, r, p, false, files); err != nil {
		ss.closeFiles()
		return nil, execFailure(err)
	}
	return ss, nil
}

// execFailure tells a command that cannot be executed from other failures.
func execFailure(err error) *api.Error {
	e := &api.Error{Code: "failed", Message: err.Error()}
	if step := (*isolate.StepError)(nil); errors.As(err, &step) {
		e.Hint = step.Hint
	}
	switch isolate.ExitCode(err) {
	case isolate.ExitNotFound:
		e.Code = "no-command"
	case isolate.ExitNotExecutable:
		e.Code = "not-executable"
	}
	return e
}

func (ss *session) pipes() (*fileSet, error) {
	files := &fileSet{}
	for i, near := range []**os.File{&ss.stdin, &ss.stdout, &ss.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			files.close()
			return nil, fmt.Errorf("cannot make a pipe: %w", err)
		}
		far := w
		if i == 0 {
			r, far = w, r
		}
		*near = r
		files.toClose = append(files.toClose, far)
		files.toChown = append(files.toChown, far)
	}
	files.Stdin, files.Stdout, files.Stderr = files.toClose[0], files.toClose[1], files.toClose[2]
	return files, nil
}

// terminal makes a pseudo-terminal in the container's own devpts, so that its
// name means something there (tty(1), ttyname(3)).
func (ss *session) terminal(target *process, rows, cols uint16) (*fileSet, error) {
	master, err := openMaster(target)
	if err != nil {
		return nil, err
	}
	ss.tty = master
	slave, err := pty.Peer(master)
	if err != nil {
		return nil, err
	}
	files := &fileSet{toClose: []*os.File{slave}, toChown: []*os.File{slave}}
	files.Stdin, files.Stdout, files.Stderr = slave, slave, slave
	if rows > 0 && cols > 0 {
		if err := ss.Resize(rows, cols); err != nil {
			files.close()
			return nil, err
		}
	}
	return files, nil
}

// openMaster opens /dev/ptmx as the target sees it. The path is the
// container's: it is resolved inside its root, and what is found must be the
// pseudo-terminal multiplexer, on a devpts.
func openMaster(target *process) (*os.File, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", target.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the container's root: %w", err)
	}
	defer unix.Close(root)
	// The pid was not reused meanwhile if its pidfd still knows it.
	if err := target.use(func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) }); err != nil {
		return nil, errNotRunning
	}
	path, err := unix.Openat2(root, "dev/ptmx", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, fmt.Errorf("cannot find /dev/ptmx in the container: %w", err)
	}
	defer unix.Close(path)
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := unix.Fstat(path, &st); err != nil {
		return nil, fmt.Errorf("cannot look at /dev/ptmx in the container: %w", err)
	}
	if err := unix.Fstatfs(path, &fs); err != nil {
		return nil, fmt.Errorf("cannot look at /dev/ptmx in the container: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) || fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return nil, fmt.Errorf("cannot use /dev/ptmx in the container: it is not a devpts multiplexer")
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", path), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a terminal in the container: %w", err)
	}
	return os.NewFile(uintptr(fd), "ptmx"), nil
}

func (ss *session) Stdin() io.WriteCloser {
	if ss.tty != nil {
		return noClose{ss.tty}
	}
	return ss.stdin
}

// noClose keeps the end of the client's input from closing the terminal.
type noClose struct{ io.Writer }

func (noClose) Close() error { return nil }

func (ss *session) Stdout() io.Reader {
	if ss.tty != nil {
		return ss.tty
	}
	return ss.stdout
}

func (ss *session) Stderr() io.Reader {
	if ss.tty != nil {
		return nil
	}
	return ss.stderr
}

func (ss *session) Resize(rows, cols uint16) error {
	if ss.tty == nil {
		return nil
	}
	return pty.Resize(ss.tty, rows, cols)
}

func (ss *session) Signal(name string) error {
	n, ok := units.SignalNumber(strings.TrimPrefix(name, "SIG"))
	if !ok {
		return &api.Error{Code: "usage", Message: fmt.Sprintf("there is no signal %q", name)}
	}
	return ss.x.proc.signal(syscall.Signal(n))
}

func (ss *session) Wait(ctx context.Context) (int, error) { return ss.x.code(ctx) }

func (ss *session) Close() error {
	ss.once.Do(func() {
		_ = ss.x.proc.signal(unix.SIGKILL) // it may have ended
		ss.x.proc.pidfd.Close()
		ss.closeFiles()
	})
	return nil
}

func (ss *session) closeFiles() {
	for _, f := range []*os.File{ss.tty, ss.stdin, ss.stdout, ss.stderr} {
		if f != nil {
			f.Close()
		}
	}
}
