package core

import "time"

// TimerShutdown is the one of the whole: its unit is "".
const TimerShutdown Timer = "shutdown"

// Overdue tells that the time of a shutdown is over: these units are not down,
// and are killed now; or, when Abandoned, could not even be killed, and nobody
// waits for them any more. No answer.
type Overdue struct {
	Units     []string
	Abandoned bool
}

func (Overdue) effect() {}

// shutdown stops everything.
func (st *step) shutdown() {
	if st.s.Shutdown {
		return
	}
	st.s.Shutdown = true
	st.cause = Cause{Kind: CauseShutdown}
	if st.s.ShutdownLimit > 0 {
		st.deadline(st.s.ShutdownLimit)
	}
	for _, name := range sortedNames(st.s.Units) {
		u := st.s.Units[name]
		st.deactivate(u)
		if st.stoppable(u) {
			st.stop(u, "shutdown")
		}
	}
}

// deadline arms the timer of the shutdown.
func (st *step) deadline(wait time.Duration) {
	st.s.TimerSeq++
	st.s.Deadline = &Armed{st.s.TimerSeq, st.in.Now.Add(wait)}
	st.emit(SetTimer{Timer: TimerShutdown, Seq: st.s.TimerSeq, At: st.s.Deadline.At})
}

// overdue kills what is left when the time of the shutdown is over. What is
// there even then, a process in uninterruptible sleep, is left to its fate: a
// machine that cannot be reached has to go down.
func (st *step) overdue(seq uint64) {
	if d := st.s.Deadline; d == nil || d.Seq != seq || st.s.Done {
		return
	}
	st.s.Deadline = nil
	var left []string
	for _, name := range sortedNames(st.s.Units) {
		if u := st.s.Units[name]; !u.Phase.down() || u.Halt {
			left = append(left, name)
		}
	}
	if st.s.Overdue {
		st.s.Done = true
		st.emit(Overdue{Units: left, Abandoned: true})
		st.emit(Done{})
		return
	}
	st.s.Overdue = true
	st.emit(Overdue{Units: left})
	for _, name := range left {
		st.killNow(st.s.Units[name])
	}
	st.deadline(killAgain)
}

// killNow ends a unit without waiting for anything: its stop steps, its
// post-stop commands, the units that have to be down before.
func (st *step) killNow(u *Unit) {
	u.PostStopDue = false
	st.killBeside(u)
	switch u.Phase {
	case Running, Completed:
		if u.Phase == Completed || u.group() {
			st.land(u)
			return
		}
		st.leave(u, Stopping, u.Then, "the time of the shutdown is over")
		st.kill(u)
	case Stopping:
		if u.MainPID == 0 {
			st.emit(Abort{u.Name, u.Incarnation})
			return
		}
		st.kill(u)
	case Cleaning: // its post-stop commands, or what they left
		st.emit(KillGroup{u.Name, u.Incarnation})
	}
	st.touch(u)
}

// killBeside does so with the other instance of a unit.
func (st *step) killBeside(u *Unit) {
	l := u.Beside
	if l == nil {
		return
	}
	l.PostStopDue = false
	if l.Phase == Starting || l.Phase == Running {
		st.endBeside(u, "the time of the shutdown is over")
	}
	switch {
	case l.Phase == Cleaning:
		st.emit(KillGroup{u.Name, l.Incarnation})
	case l.MainPID != 0:
		l.StopStep = len(stopSteps(l.Config, l.StopSignal))
		st.stopBeside(u)
	}
}

// kill skips what is left of the stop steps.
func (st *step) kill(u *Unit) {
	u.StopStep = len(stopSteps(u.Config, u.StopSignal))
	st.stopStep(u)
}
