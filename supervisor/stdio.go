package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"berth/isolate"
	"berth/supervisor/api"
	"berth/supervisor/container"
	"berth/supervisor/core"
	"berth/supervisor/terminal"
	"berth/units"

	"golang.org/x/sys/unix"
)

// stdio gives what a unit's main process has as descriptors 0 to 2: its
// terminal, or /dev/null and the log streams.
func (r *run) stdio() (*fileSet, error) {
	files, err := r.hookFiles()
	if err != nil {
		return nil, err
	}
	if path := r.cfg.Service.Terminal; path != "" {
		tty, err := openTerminal(path)
		if err != nil {
			files.close()
			return nil, err
		}
		files.toClose, files.toChown = append(files.toClose, tty), nil
		files.Stdin, files.Stdout, files.Stderr = tty, tty, tty
	}
	return files, nil
}

// hookFiles gives descriptors for one more program of a unit: /dev/null and the
// unit's log streams.
func (r *run) hookFiles() (*fileSet, error) {
	out, err := r.streams.Writers()
	if err != nil {
		return nil, err
	}
	f := &fileSet{}
	f.Stdout, f.Stderr = out.Stdout, out.Stderr
	f.toClose = []*os.File{out.Stdout, out.Stderr}
	if out.Pipe {
		f.toChown = []*os.File{out.Stdout, out.Stderr}
	}
	return f, nil
}

// openTerminal opens a console service's terminal without making it the
// supervisor's own. The path is the unit's, so it must be a terminal of /dev.
// Whoever has it is hung up, and its settings are made sane, as a getty expects to
// find it; but a pseudo-terminal has another side, which would be at its end.
func openTerminal(path string) (*os.File, error) {
	if !strings.HasPrefix(path, "/dev/") {
		return nil, fmt.Errorf("cannot use the terminal %s: not below /dev", path)
	}
	fd, err := openLine(path)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(path, "/dev/pts/") {
		terminal.HangUp(fd)
		unix.Close(fd)
		if fd, err = openLine(path); err != nil {
			return nil, err
		}
		err = terminal.Sane(fd)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot use the terminal %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openLine opens a terminal without waiting for a carrier. The caller owns the
// descriptor.
func openLine(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the terminal %s: %w", path, err)
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot use %s as a terminal: %w", path, err)
	}
	return fd, nil
}

// joined hands over the main processes of the units whose namespaces are entered;
// close releases them.
func (s *Supervisor) joined(ctx context.Context, u *units.Unit, files *fileSet) error {
	names := container.Joined(u)
	if len(names) == 0 {
		return nil
	}
	files.Processes = map[string]*os.File{}
	missing := ""
	var refused error
	err := s.ask(ctx, func() {
		for _, name := range names {
			if joined, ok := s.state.Unit(name); ok && u.Namespaces.PID == "unit:"+name {
				refused = errors.Join(refused, joinable(u, joined.Config))
			}
			if r := s.current(name); r != nil && r.spawned && r.exit == nil {
				refused = errors.Join(refused, files.process(name, r.proc))
			} else {
				missing = name
			}
		}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return err
	}
	if missing != "" {
		return fmt.Errorf("cannot enter the namespaces of unit %s: it is not running; add it to requires", missing)
	}
	return nil
}

// joinable refuses to set a container up before the eyes of processes that may
// trace everything they see: those of a unit that keeps CAP_SYS_PTRACE in the
// host's user namespace. It is seen where the kernel cannot be told which PID
// namespace a /proc is to show, and with a user namespace of its own, which it
// can leave for no other.
func joinable(u, joined *units.Unit) error {
	if joined.Namespaces.User == "new" || !slices.Contains(joined.Capabilities.Keep, "SYS_PTRACE") {
		return nil
	}
	why := ""
	switch {
	case u.Namespaces.User == "new":
		why = "with a user namespace of its own it would be set up before their eyes"
	case !isolate.ShowsPIDNamespaces():
		why = "on a kernel before Linux 6.17 it would be set up before their eyes"
	default:
		return nil
	}
	return &api.Error{
		Code:    "forbidden",
		Message: fmt.Sprintf("cannot share the PID namespace of unit %s, which keeps SYS_PTRACE: %s", joined.Name, why),
		Hint:    "take SYS_PTRACE out of capabilities.keep of " + joined.Name,
	}
}

// process hands over a process under the name.
func (f *fileSet) process(name string, p *process) error {
	pidfd, err := p.duplicate()
	if err != nil {
		return fmt.Errorf("cannot hand over process %d: %w", p.pid, err)
	}
	f.toClose = append(f.toClose, pidfd)
	f.Processes[name] = pidfd
	return nil
}

// current gives the unit's run of the moment, nil for none. Called by the loop.
func (s *Supervisor) current(unit string) *run {
	u, ok := s.state.Unit(unit)
	if !ok {
		return nil
	}
	return s.runs[core.Incarnation(u.Incarnation)]
}
