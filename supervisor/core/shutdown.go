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

// Action is what follows once a shutdown has brought everything down.
type Action string

// The actions. An Exit is the end of the daemon alone; the others are the
// machine's, or the container's that berthd is PID 1 of.
const (
	ActionExit       Action = "exit"
	ActionPowerOff   Action = "poweroff"
	ActionReboot     Action = "reboot"
	ActionHalt       Action = "halt"
	ActionKexec      Action = "kexec"
	ActionSoftReboot Action = "soft-reboot"
)

// Ending tells what a shutdown is for.
type Ending struct {
	Action Action    `json:"action"`
	By     string    `json:"by,omitempty"` // who or what asked for it, for people
	Since  time.Time `json:"since"`
	// Force: the units are not stopped in order; what follows comes at once.
	Force bool `json:"force,omitempty"`
	// Unit is the State's ExitUnit if its end is the reason, and Code the exit code
	// that its end stands for: its own, 128 and the signal, or 1 if it has failed
	// without either.
	Unit string `json:"unit,omitempty"`
	Code int    `json:"code,omitempty"`
}

// shutdown stops everything. The first one stands: a later one can only
// strengthen it, by Force.
func (st *step) shutdown(e Ending) {
	if st.s.Done {
		return
	}
	first := st.s.Ending == nil
	if first {
		e.Since = st.in.Now
		st.s.Ending = &e
		st.cause = Cause{Kind: CauseShutdown}
	}
	if e.Force {
		st.s.Shutdown, st.s.Done = true, true
		st.s.Ending.Force, st.s.Deadline = true, nil
		st.emit(Done{})
		return
	}
	if !first || st.s.Shutdown {
		return
	}
	st.s.Shutdown = true
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

// exitUnit shuts everything down if this step has brought the State's ExitUnit to
// its end for good: it ended by itself and will not be started again, by its
// restart policy or by a trigger. A stop that was asked for is none.
func (st *step) exitUnit() {
	u := st.s.Units[st.s.ExitUnit]
	if u == nil || st.s.Shutdown || !st.touched[u.Name] || u.Stopped || u.Triggers {
		return
	}
	code := 1
	if u.LastExit != nil && !u.Times.Executed.IsZero() {
		code = u.LastExit.Code
		if u.LastExit.Signal != 0 {
			code = 128 + u.LastExit.Signal
		}
	}
	switch u.Phase {
	case Failed:
		code = max(code, 1)
	case Completed:
	case Inactive:
		if u.LastExit == nil { // it has not been started yet
			return
		}
	default:
		return
	}
	st.shutdown(Ending{Action: ActionExit, By: "the end of unit " + u.Name, Unit: u.Name, Code: code})
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
