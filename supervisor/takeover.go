package supervisor

import (
	"fmt"
	"os"
	"strings"
	"time"

	"berth/isolate"
	"berth/isolate/program"
	"berth/reaper"
	"berth/supervisor/container"
	"berth/supervisor/core"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// takeOver begins from nothing, or goes on where an earlier supervisor ended:
// the snapshot gives the state, the reaper's store the descriptors, and its
// registrations tell what lives. Called before the loop runs.
func (s *Supervisor) takeOver(hand *reaper.Handover) error {
	stored := hand.Stored
	if files := stored[snapshotName]; len(files) > 0 {
		state, err := readSnapshot(files[0])
		if err != nil {
			s.log.Error("the snapshot cannot be used, starting anew", zap.Error(err))
		}
		s.state = state
		files[0].Close()
		delete(stored, snapshotName)
	}
	fresh := s.state == nil
	if fresh {
		s.state = core.New()
	}
	s.generation = s.state.Generation
	var err error
	if s.snap, err = newSnapshot(s.reaper, s.state); err != nil {
		return err
	}
	registered := map[uint64]reaper.Registration{}
	for _, r := range hand.Registered {
		registered[r.ID] = r
	}
	if !fresh {
		s.log.Warn("taking over from an earlier supervisor", zap.Int("supervisors", hand.Supervisors), zap.Int("processes", len(registered)))
	}
	for _, name := range s.state.Names() {
		u, _ := s.state.Unit(name)
		if u.Incarnation == 0 {
			continue
		}
		switch u.Phase {
		case core.Starting, core.Running, core.Stopping, core.Cleaning:
			s.adopt(u, registered, stored)
		}
	}
	s.killStrangers(registered)
	s.removeStrangers()
	for name, files := range stored {
		for _, f := range files {
			f.Close()
		}
		if err := s.reaper.Drop(name); err != nil {
			return fmt.Errorf("cannot drop what the reaper keeps: %w", err)
		}
	}
	for _, c := range s.replyOutstanding() {
		s.do(c)
	}
	// Exits that the earlier supervisor did not acknowledge come before anything new.
	for _, e := range hand.Exits {
		s.onExit(e)
	}
	return nil
}

// adopt takes over the current incarnation of a unit.
func (s *Supervisor) adopt(u *core.Unit, registered map[uint64]reaper.Registration, stored map[string][]*os.File) {
	r := newRun(u.Name, u.Incarnation, u.Config)
	s.runs[r.id] = r
	if g, err := s.tree.Group(groupName(u.Name)); err == nil {
		r.group = g
	}
	if c, err := container.Limits(u.Config); err == nil {
		r.limits, _ = s.supported(u.Name, c)
	}
	if name := storeName("log", uint64(r.id)); len(stored[name]) > 0 {
		streams, err := s.logs.Adopt(u.Name, uint64(r.id), u.Config.Log, stored[name])
		if err != nil {
			s.log.Error("cannot take over the unit's log", zap.String("unit", u.Name), zap.Error(err))
		}
		r.streams = streams
		delete(stored, name)
	}
	reg, ok := registered[uint64(r.id)]
	if ok {
		delete(registered, uint64(r.id))
		r.proc = &process{pid: reg.PID, pidfd: reg.PIDFD}
	}
	status := storeName("status", uint64(r.id))
	files := stored[status]
	delete(stored, status)
	if u.Phase != core.Starting {
		r.spawned = true
		if u.Config.Cgroup.OOMGroup && ok && r.group != nil {
			s.killOnOOM(r, r.group)
		}
		for _, f := range files {
			f.Close()
		}
		return
	}
	// A start was under way. Its gate has closed with the earlier supervisor:
	// either the child had passed it and executes, or it ends by itself.
	s.enqueue(u.Name, func() {
		err := errInterrupted
		if ok && len(files) > 0 {
			err = s.settleStart(r, files[0])
		}
		for _, f := range files {
			f.Close()
		}
		s.post(func() { s.spawnEnded(r, err) })
	})
}

// settled stands for the program of a start that nobody knows any more: whatever
// step failed, the start is made again.
var settled = &program.Program{Name: "taken over"}

// settleStart waits for what becomes of a start that an earlier supervisor
// began: its child executes its program, or ends at the gate, which closed with
// that supervisor. The end of the status pipe comes with either, and how far the
// earlier supervisor had read it nobody knows; so the process itself is asked.
func (s *Supervisor) settleStart(r *run, status *os.File) error {
	var deadline time.Time
	if timeout := time.Duration(r.cfg.Service.StartTimeout); timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	err := status.SetReadDeadline(deadline)
	if err == nil {
		err = isolate.ReadStatus(status, settled)
	}
	if err != nil {
		if r.group != nil {
			s.giveUp(r.proc, r.group, r.exited)
		}
		return errInterrupted
	}
	// A process that ends lets go of its program file before its descriptors
	// (kernel/exit.c, do_exit: exit_mm, exit_files): one that still has it here
	// has closed the pipe by executing.
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.proc.pid)); err == nil {
		return nil
	}
	select {
	case <-r.exited:
	case <-s.done:
		return errInterrupted
	}
	if r.exit.Signal == 0 && (r.exit.Code == isolate.ExitGateClosed || r.exit.Code == isolate.ExitFailed) {
		return errInterrupted
	}
	return nil
}

// killStrangers ends registered processes that belong to no run: hooks and exec
// sessions of the earlier supervisor. Their exits are acknowledged as they come.
func (s *Supervisor) killStrangers(registered map[uint64]reaper.Registration) {
	for _, r := range registered {
		_ = unix.PidfdSendSignal(int(r.PIDFD.Fd()), unix.SIGKILL, nil, 0)
		r.PIDFD.Close()
	}
}

// removeStrangers empties groups of ours that no unit has: what a daemon that
// ended without a reaper left behind.
func (s *Supervisor) removeStrangers() {
	names, err := s.tree.List()
	if err != nil {
		s.log.Warn("cannot list the groups", zap.Error(err))
		return
	}
	for _, name := range names {
		unit, ok := strings.CutSuffix(name, ".service")
		if !ok {
			continue
		}
		if u, known := s.state.Unit(unit); known && s.runs[u.Incarnation] != nil {
			continue
		}
		s.log.Warn("removing a group left by an earlier berthd", zap.String("group", name))
		s.enqueue(unit, func() { s.releaseRun(newRun(unit, 0, nil)) })
	}
}

// replyOutstanding ends the commands of clients that went with the earlier
// supervisor, re-arms timers and repeats the effects that may not have been done.
func (s *Supervisor) replyOutstanding() []core.Effect {
	effects := core.Resume(s.state, core.Input{Now: time.Now()})
	s.record()
	return effects
}
