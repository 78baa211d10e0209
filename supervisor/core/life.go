package core

import (
	"fmt"
	"math"
	"time"

	"berth/units"
)

// killAgain is how long to wait for a killed group before it is killed again:
// a process in uninterruptible sleep, or a group that was frozen, needs it.
const killAgain = 10 * time.Second

// maxBackoff bounds the back-off where max-delay does not.
const maxBackoff = 365 * 24 * time.Hour

func (st *step) spawned(u *Unit, pid int) {
	if u.MainPID != 0 || u.Phase != Starting && u.Phase != Stopping {
		return
	}
	u.MainPID, u.LastPID, u.StartedAt, u.Times.Executed = pid, pid, st.in.Now, st.in.Now
	st.touch(u)
	if u.Phase == Stopping { // the abort came too late
		st.stopStep(u)
		return
	}
	st.enter(u, Running, u.Rejection)
	st.startedNow(u)
	if u.Config.Ready.Set() {
		st.awaitReady(u)
		return
	}
	st.postStart(u)
}

// postStart runs the commands that belong to the start of a unit that is ready.
func (st *step) postStart(u *Unit) {
	if len(u.Config.Service.PostStart) > 0 {
		st.hook(u, HookPostStart)
		return
	}
	st.ready(u)
}

// ready tells that a unit in Running is up.
func (st *step) ready(u *Unit) {
	u.Ready, u.Good = true, nil
	if !u.task() {
		st.arrived(u)
	}
	st.touch(u)
	st.beginChecks(u)
	if u.Tries > 0 && u.Config.Restart.ResetAfter >= 0 && !u.group() {
		st.arm(u, TimerReset, time.Duration(u.Config.Restart.ResetAfter))
	}
	st.guard(u)
	st.reloadNext(u)
	st.reviveDependents(u)
}

func (st *step) spawnFailed(u *Unit, e SpawnFailed) {
	if u.MainPID != 0 || u.Phase != Starting && u.Phase != Stopping {
		return
	}
	reason := e.Reason
	then, why := u.Then, u.ThenReason
	switch {
	case u.Phase == Stopping:
	case e.Temporary:
		then, why = Waiting, reason
	default:
		then, why = st.afterFailure(u, reason)
	}
	if e.Temporary {
		u.PostStopDue = false
	}
	st.leave(u, Cleaning, then, reason)
	u.ThenReason = why
	st.clean(u)
}

func (st *step) exited(u *Unit, status ExitStatus) {
	then, why := u.Then, u.ThenReason
	switch u.Phase {
	case Starting, Running: // Starting: its Spawned was lost
		switch {
		case u.Halt:
		case u.Beside.heir():
			st.goOn(u, status)
			return
		case u.Awaits:
			then, why = st.afterFailure(u, status.String()+" before it was ready")
		default:
			then, why = st.afterExit(u, status)
		}
	case Stopping:
	default:
		return
	}
	u.LastExit, u.MainPID = &status, 0
	st.leave(u, Cleaning, then, status.String())
	u.ThenReason = why
	st.clean(u)
}

// afterExit decides what follows an end of the main process that nobody asked for.
func (st *step) afterExit(u *Unit, status ExitStatus) (Phase, string) {
	if !status.clean(u.task()) {
		return st.afterFailure(u, status.String())
	}
	policy := u.Config.Restart.Policy
	switch {
	case u.ReplaceDue != "":
		return Waiting, u.ReplaceDue
	case !u.Ready && u.Good != nil:
		return st.revert(u, status.String())
	case policy == "always" || policy == "on-success":
		return Backoff, status.String()
	case u.task():
		return Completed, status.String()
	}
	return Inactive, status.String()
}

// afterFailure decides what follows a failure.
func (st *step) afterFailure(u *Unit, reason string) (Phase, string) {
	policy := u.Config.Restart.Policy
	switch {
	case u.ReplaceDue != "":
		return Waiting, u.ReplaceDue
	case !u.Ready && u.Good != nil:
		return st.revert(u, reason)
	case policy == "always" || policy == "on-failure":
		return Backoff, reason
	}
	return Failed, reason
}

// revert puts the last version that was ready in the place of a changed one
// that did not get there. What still has to run of the changed one (post-stop)
// runs before the swap.
func (st *step) revert(u *Unit, reason string) (Phase, string) {
	old := *u.Good
	u.Rejected = u.newest()
	u.Rejection = fmt.Sprintf("the changed version did not become ready (%s): back to the last good one", reason)
	old.Unit = u.Rejected.Unit
	u.Next, u.Good = &old, nil
	st.inForce(u, false)
	st.inForce(u, false)
	return Waiting, u.Rejection
}

// stopStep does the next step of a stop.
func (st *step) stopStep(u *Unit) {
	st.nextStep(u, u.Incarnation, stopSteps(u.Config, u.StopSignal), &u.StopStep, TimerStop)
}

// nextStep does the next step of the stop of one instance; done counts them.
func (st *step) nextStep(u *Unit, i Incarnation, steps []units.StopStep, done *int, t Timer) {
	if *done < len(steps) {
		s := steps[*done]
		*done++
		u.sent(i, s.Signal, false)
		st.emit(Signal{u.Name, i, s.Signal, false})
		if s.Wait >= 0 { // not infinity
			st.arm(u, t, time.Duration(s.Wait))
		}
		st.touch(u)
		return
	}
	*done = len(steps) + 1
	u.sent(i, "KILL", true)
	st.emit(KillGroup{u.Name, i})
	st.arm(u, t, killAgain)
}

// stopSteps are those of the configuration, or a signal in their place.
func stopSteps(c *units.Unit, signal string) []units.StopStep {
	if signal != "" {
		return []units.StopStep{{Signal: signal, Wait: c.Stop.Timeout}}
	}
	if len(c.Stop.Steps) > 0 {
		return c.Stop.Steps
	}
	return []units.StopStep{{Signal: c.Stop.Signal, Wait: c.Stop.Timeout}}
}

// clean runs the post-stop commands if that is due, and else releases what is
// left of the incarnation.
func (st *step) clean(u *Unit) {
	if !st.postStop(u) {
		st.emit(Release{u.Name, u.Incarnation})
	}
}

// released goes on after Release, when no other instance of the unit is left. The post-stop commands may have become due in
// the meantime: a stop has come for a task that was to remain.
func (st *step) released(u *Unit) {
	if u.Beside != nil {
		u.Empty = true
		st.touch(u)
		return
	}
	if !st.postStop(u) {
		st.land(u)
	}
}

func (st *step) postStop(u *Unit) bool {
	if !u.PostStopDue || u.Then == Completed && u.Config.Service.Remain {
		return false
	}
	u.PostStopDue = false
	st.hook(u, HookPostStop)
	return true
}

func (st *step) hook(u *Unit, h Hook) {
	u.Hook = h
	st.emit(RunHook{u.Name, u.Incarnation, h, u.Config})
	st.touch(u)
}

func (st *step) hookDone(u *Unit, e HookDone) {
	u.Hook = ""
	st.touch(u)
	switch e.Hook {
	case HookPostStart:
		switch {
		case e.Err == "":
			st.ready(u)
		case !u.Halt: // with Halt it is about to be stopped anyway
			st.giveUp(u, "post-start failed: "+e.Err)
		}
	case HookReload:
		switch {
		case e.Err == "" && !u.ReloadSince.IsZero() && !u.ReloadEnded: // the program has the last word
			st.arm(u, TimerReload, reloadTimeout)
		case !u.ReloadSince.IsZero():
			st.endReload(u, e.Err)
		default:
			st.reloadDone(u, e.Err)
			st.reloadNext(u)
		}
	case HookPostStop:
		if e.Err != "" {
			u.ThenReason += "; post-stop failed: " + e.Err
		}
		st.emit(Release{u.Name, u.Incarnation})
	}
}

// giveUp stops a unit in Running because of a failure, and does what follows a failure.
func (st *step) giveUp(u *Unit, reason string) {
	if u.Beside.heir() {
		st.yield(u, reason, "")
		return
	}
	then, why := st.afterFailure(u, reason)
	st.leave(u, Stopping, then, reason)
	u.ThenReason = why
	st.stopStep(u)
}

// land takes a unit that is down and clean to the phase that was decided.
func (st *step) land(u *Unit) {
	then, why := u.Then, u.ThenReason
	if s := u.stopping(); s != nil {
		s.Ended = st.in.Now
	}
	st.swap(u)
	if then == Completed && !u.task() {
		then = Inactive
	}
	switch then {
	case Waiting:
		st.enter(u, Waiting, why)
		st.revive(u)
	case Backoff:
		st.backOff(u, why)
	case Completed:
		u.Up = u.Config.Service.Remain
		st.enter(u, Completed, why)
		st.reviveDependents(u)
	case Failed:
		st.fail(u, u.FailedBy, why)
	default:
		u.Up = false
		st.enter(u, Inactive, why)
		st.stopDependents(u)
	}
}

// swap takes up the configuration that waits.
func (st *step) swap(u *Unit) {
	if u.Next != nil {
		u.Config, u.Next = u.Next, nil
		st.touch(u)
	}
}

// backOff waits before an automatic restart, or fails when the limit does not
// allow another one at the time it would come.
func (st *step) backOff(u *Unit, why string) {
	delay := backoffDelay(u.Config.Restart, u.Tries, st.in.Rand)
	at := st.in.Now.Add(delay)
	if st.limited(u, at) {
		st.fail(u, "", fmt.Sprintf("%s (last: %s)", st.limitReason(u), why))
		return
	}
	st.enter(u, Backoff, why)
	u.RestartAt = at
	st.arm(u, TimerRestart, delay)
}

// backoffDelay is delay * factor^tries, at most max-delay, then spread by jitter.
func backoffDelay(r units.Restart, tries int, rand float64) time.Duration {
	d := float64(r.Delay) * math.Pow(max(r.Factor, 1), float64(tries))
	if r.MaxDelay > 0 {
		d = min(d, float64(r.MaxDelay))
	}
	d *= 1 + r.Jitter*(2*rand-1)
	return time.Duration(min(max(d, 0), float64(maxBackoff)))
}

func (st *step) timerFired(u *Unit, timer Timer) {
	st.forget(u, timer)
	if check, ok := timer.check(); ok {
		st.probe(u, check)
		return
	}
	st.touch(u)
	switch timer {
	case TimerStop:
		st.stopStep(u)
	case TimerReady:
		st.neverReady(u)
	case TimerWatchdog:
		st.silent(u)
	case TimerReload:
		st.reloadOverdue(u)
	case TimerBesideStop:
		st.stopBeside(u)
	case TimerBesideReady:
		st.besideNeverReady(u)
	case TimerReset:
		u.Tries = 0
	case TimerCalendar, TimerEvery:
		st.elapsed(u, timer)
	case TimerPath:
		st.pathAction(u, u.PathDue)
	case TimerRestart:
		u.Restarts++
		u.Tries++
		st.count(u)
		st.enter(u, Waiting, fmt.Sprintf("automatic restart %d", u.Restarts))
		st.revive(u)
	}
}
