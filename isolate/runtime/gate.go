package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// The gate of a container that was created is a FIFO that its first process has
// open in both directions. So it waits without end for a byte, whoever else comes
// and goes; and whether it still waits is seen by whether the FIFO has a reader,
// since executing the program closes it.

// atGate tells whether a process of the container still holds the gate.
func (rt *Runtime) atGate(id string) bool {
	gate, err := rt.openGate(id)
	if err != nil {
		return false
	}
	gate.Close()
	return true
}

// openGate opens the writing end. unix.ENXIO: nobody waits there any more.
func (rt *Runtime) openGate(id string) (*os.File, error) {
	return os.OpenFile(filepath.Join(rt.store.dir(id), gateFIFO), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
}

// makeGate makes the FIFO and gives the end for the child.
func (l *locked) makeGate() (*os.File, error) { return l.makeFIFO(gateFIFO) }

// makeStatus makes the FIFO for the child's reports and gives its end and ours.
// The child has it open in both directions too, so that a report that nobody
// reads yet does not end it; that it has closed it is seen nevertheless.
func (l *locked) makeStatus() (child, ours *os.File, err error) {
	if child, err = l.makeFIFO(statusFIFO); err != nil {
		return nil, nil, err
	}
	if ours, err = l.openStatus(); err != nil {
		child.Close()
		return nil, nil, err
	}
	return child, ours, nil
}

// openStatus opens the reading end of the reports.
func (l *locked) openStatus() (*os.File, error) {
	return os.OpenFile(l.file(statusFIFO), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
}

func (l *locked) makeFIFO(name string) (*os.File, error) {
	path := l.file(name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("cannot make the %s of container %q: mkfifo: %w", name, l.id, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the %s of container %q: %w", name, l.id, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// stepsFrom gives what the child may report about from the gate on, for a
// command that does not have the program.
func stepsFrom(gate int, p *program.Program) []Step {
	var all []Step
	for i := gate; i < len(p.Inside); i++ {
		s := &p.Inside[i]
		if s.Mark != program.NoMark || s.Sys != program.SysClose {
			all = append(all, Step{Number: i, Sys: s.Sys, Path: s.Path, Why: s.Why, Hint: s.Hint, Want: s.Want, Timeout: s.Timeout})
		}
	}
	return all
}

// programOf gives a program in which those steps are, enough for reading reports.
func programOf(id string, all []Step) *program.Program {
	p := &program.Program{Name: id}
	for _, s := range all {
		for s.Number >= len(p.Inside) {
			p.Inside = append(p.Inside, program.Step{})
		}
		p.Inside[s.Number] = program.Step{Sys: s.Sys, Path: s.Path, Why: s.Why, Hint: s.Hint, Want: s.Want, Timeout: s.Timeout}
	}
	return p
}

// gateStep finds the gate among the inside steps.
func gateStep(p *program.Program) int {
	return slices.IndexFunc(p.Inside, func(s program.Step) bool { return s.Sys == program.OpGate })
}
