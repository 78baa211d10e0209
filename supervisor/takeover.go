package supervisor

import (
	"context"
	"fmt"
	"os"
	"strconv"
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
		s.state = s.relapses.take(files[0], s.cfg.StateDir, s.log)
		files[0].Close()
		delete(stored, snapshotName)
	}
	fresh := s.state == nil
	if fresh {
		s.state = core.New()
	}
	s.generation, s.stopping = s.state.Generation, s.state.Shutdown
	// A state that was lost, in part or whole, must not give numbers out again
	// that the reaper still knows: an old end would be taken for a new one.
	s.state.Incarnation = max(s.state.Incarnation, lastIncarnation(hand))
	var err error
	keep := func(f *os.File) error { return s.reaper.Store(snapshotName, f) }
	if s.snap, err = newSnapshot(keep, s.state); err != nil {
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
		s.adoptFDs(u, stored)
		for _, l := range u.Lives() {
			s.adopt(name, l, registered, stored)
		}
		for _, l := range u.Lives() {
			if r := s.runs[l.Incarnation]; l.Awaits || !r.settled {
				s.watchLog(r)
			}
			s.beginLog(s.runs[l.Incarnation])
		}
	}
	for _, name := range s.state.Names() {
		u, _ := s.state.Unit(name)
		s.adoptSockets(u, stored)
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
	s.missLost()
	// The children of these have ended at their gates, or do so now.
	for _, id := range hand.Intents {
		if err := s.reaper.Abandon(id); err != nil {
			return fmt.Errorf("cannot abandon an earlier start: %w", err)
		}
	}
	return nil
}

// takeStored takes the one descriptor that the reaper kept under the name; nil:
// there is none. What is not taken is closed and dropped at the end of takeOver.
func takeStored(stored map[string][]*os.File, name string) *os.File {
	files := stored[name]
	if len(files) != 1 {
		return nil
	}
	delete(stored, name)
	return files[0]
}

// lastIncarnation gives the highest that the reaper has heard of.
func lastIncarnation(hand *reaper.Handover) core.Incarnation {
	var last uint64
	see := func(id uint64) {
		if id < firstExecution {
			last = max(last, id)
		}
	}
	for _, r := range hand.Registered {
		see(r.ID)
	}
	for _, e := range hand.Exits {
		see(e.ID)
	}
	for _, id := range hand.Intents {
		see(id)
	}
	for name := range hand.Stored {
		if _, number, ok := strings.Cut(name, "/"); ok {
			if id, err := strconv.ParseUint(number, 10, 64); err == nil {
				see(id)
			}
		}
	}
	return core.Incarnation(last)
}

// missLost ends units whose main process the reaper does not know: the state
// holds what it was at a time before its end was acknowledged. That takes a
// snapshot that could not be written; a unit that nobody waits for would run on
// for ever in name.
func (s *Supervisor) missLost() {
	for _, name := range s.state.Names() {
		u, _ := s.state.Unit(name)
		for _, l := range u.Lives() {
			if r := s.runs[l.Incarnation]; l.MainPID != 0 && (r == nil || r.proc == nil) {
				s.log.Error("the unit's main process is gone and nobody knows how it ended", zap.String("unit", name), zap.Int("pid", l.MainPID))
				s.step(core.Exited{Unit: name, Incarnation: l.Incarnation, Status: core.ExitStatus{Signal: int(unix.SIGKILL)}})
			}
		}
	}
}

// adopt takes over an instance of a unit.
func (s *Supervisor) adopt(unit string, l *core.Life, registered map[uint64]reaper.Registration, stored map[string][]*os.File) {
	r := newRun(unit, l.Incarnation, l.Side, l.Config)
	s.runs[r.id] = r
	if g, err := s.tree.Group(groupName(unit, l.Side)); err == nil {
		r.group = g
	}
	// The group has the limits of the configuration, unless a change of it is not
	// known to have arrived there: the core has it made again (core.Resume).
	limits, err := container.Limits(l.Config)
	if err == nil {
		limits, err = s.supported(unit, limits)
	}
	r.limits, r.distrusted = limits, err != nil || len(l.Applied) > 0
	if name := storeName("log", uint64(r.id)); len(stored[name]) > 0 {
		streams, err := s.logs.Adopt(unit, uint64(r.id), stored[name])
		if err != nil {
			s.log.Error("cannot take over the unit's log", zap.String("unit", unit), zap.Error(err))
		}
		r.streams = streams
		delete(stored, name)
	}
	reg, ok := registered[uint64(r.id)]
	if ok {
		delete(registered, uint64(r.id))
		r.proc = &process{pid: reg.PID, pidfd: reg.PIDFD}
	}
	s.adoptNotify(r, l, stored)
	s.adoptReadyPipe(r, stored)
	status := storeName("status", uint64(r.id))
	files := stored[status]
	delete(stored, status)
	// A start was under way in Starting, and in Stopping when it was to be given up.
	if l.Phase != core.Starting && (l.Phase != core.Stopping || l.MainPID != 0) {
		r.settled, r.spawned = true, true
		close(r.known)
		s.adoptMain(r, l, stored)
		s.listening(r)
		if l.Config.Cgroup.OOMGroup && ok && r.group != nil {
			s.killOnOOM(r, r.group, r.oomKills)
		}
		for _, f := range files {
			f.Close()
		}
		return
	}
	// Its gate has closed with the earlier supervisor: either the child had passed
	// it and executes, or it ends by itself.
	ctx, cancel := startContext(l.Config)
	r.cancel = cancel
	s.enqueue(r, func() {
		err := errInterrupted
		if ok {
			err = s.settleStart(ctx, r, files)
		}
		cancel()
		for _, f := range files {
			f.Close()
		}
		s.post(func() { s.spawnEnded(r, err) })
	})
}

// beginLog goes on with a log that was taken over, once those of all of the
// unit's instances are.
func (s *Supervisor) beginLog(r *run) {
	if r.streams == nil {
		return
	}
	if err := r.streams.Begin(r.cfg.Log); err != nil {
		s.log.Error("cannot go on with the unit's log", zap.String("unit", r.unit), zap.Error(err))
		r.streams = nil
	}
}

// settled stands for the program of a start that nobody knows any more: whatever
// step failed, the start is made again.
var settled = &program.Program{Name: "taken over"}

// settleStart waits for what becomes of a start that an earlier supervisor
// began: its child executes its program, or ends at the gate, which closed with
// that supervisor. The end of the status pipe comes with either, and how far the
// earlier supervisor had read it nobody knows; so the process itself is asked.
// When ctx ends first, or the status pipe was not kept, the child is killed.
func (s *Supervisor) settleStart(ctx context.Context, r *run, status []*os.File) error {
	err := errInterrupted
	if len(status) > 0 {
		stop := context.AfterFunc(ctx, func() { _ = status[0].SetReadDeadline(time.Unix(1, 0)) })
		err = isolate.ReadStatus(status[0], settled)
		stop()
	}
	if err != nil {
		s.giveUp(r.proc, r.group, r.exited)
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
	if r.first.Signal == 0 && (r.first.Code == isolate.ExitGateClosed || r.first.Code == isolate.ExitFailed) {
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
		unit, side, ok := unitOfGroup(name)
		if !ok || s.occupied(unit, side) {
			continue
		}
		s.log.Warn("removing a group left by an earlier berthd", zap.String("group", name))
		stranger := newRun(unit, 0, side, nil)
		s.enqueue(stranger, func() { s.releaseRun(stranger) })
	}
}

// occupied tells whether a run of the unit that was taken over has that side.
func (s *Supervisor) occupied(unit string, side core.Side) bool {
	for _, r := range s.runs {
		if r.unit == unit && r.side == side {
			return true
		}
	}
	return false
}

// replyOutstanding ends the commands of clients that went with the earlier
// supervisor, re-arms timers and repeats the effects that may not have been done.
func (s *Supervisor) replyOutstanding() []core.Effect {
	for _, name := range s.state.Names() {
		u, _ := s.state.Unit(name)
		s.learnZones(u.Config, u.Next)
	}
	effects := core.Resume(s.state, s.input(nil, 0))
	s.record()
	return effects
}
