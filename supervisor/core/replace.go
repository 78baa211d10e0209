package core

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/units"
)

// A replace ([restart] mode = "replace") gives a unit that is up a second
// instance beside its own. The unit itself stays in Running all the while, so
// nobody who depends on it notices.
//
//	               ready                       main process gone         Released
//	heir: Starting → Running ──┐
//	                           ├ change places
//	unit: Running ─────────────┘→ old: Stopping ────────────→ Cleaning ──────────→ none
//
// There are two places: the unit's own fields, and Unit.Beside. What lies beside
// in Starting or Running is the heir, which shall take the unit's place; in
// Stopping or Cleaning it is on its way out, be it the old instance after the
// change of places or an heir that failed or was given up. As long as somebody
// is there no further instance begins, and the unit does not leave Cleaning: so
// there are never more than two, and a unit that is down has none.
//
// An heir lives only beside a unit that is up and shall stay up. When that ends
// by itself, or is given up as unhealthy, while the heir is starting, they change
// places too, and what goes on is an ordinary start.

// Life is the instance of a unit beside its own one.
type Life struct {
	Incarnation Incarnation `json:"incarnation"`
	Side        Side        `json:"side,omitempty"`
	Config      *units.Unit `json:"config"`
	Phase       Phase       `json:"phase"`
	Since       time.Time   `json:"since"` // of Phase
	// Reason tells why it is in this phase, and Asked what it was started for.
	Reason string    `json:"reason,omitempty"`
	Asked  string    `json:"asked,omitempty"`
	Begun  time.Time `json:"begun"` // when it was asked to start
	// Old: it has been the unit's own. Else it is, or was to be, the heir.
	// Replaced: it is stopped because its heir was ready.
	Old      bool `json:"old,omitempty"`
	Replaced bool `json:"replaced,omitempty"`

	// As those of Unit.
	MainPID     int       `json:"main_pid,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	Awaits      bool      `json:"awaits,omitempty"`
	NotReady    string    `json:"not_ready,omitempty"`
	StopStep    int       `json:"stop_step,omitempty"`
	Hook        Hook      `json:"hook,omitempty"`
	PostStopDue bool      `json:"post_stop_due,omitempty"`
	StopSignal  string    `json:"stop_signal,omitempty"`
	Applied     []string  `json:"applied,omitempty"`
	Notice      Notice    `json:"notice,omitzero"`

	WatchdogInterval units.Duration `json:"watchdog_interval,omitempty"`
	// Reload: the unit was reloaded after this heir had begun.
	Reload bool `json:"reload,omitempty"`
}

// Side is one of the two places in the system that a unit's instances have:
// the control group above all. Two instances at a time have different ones, and
// a unit that is started from nothing has the first.
type Side uint8

// The sides.
const (
	First  Side = 0
	Second Side = 1
)

// Side tells where that incarnation of the unit is: First for one that is over.
func (s *State) Side(unit string, i Incarnation) Side {
	if l := s.Life(unit, i); l != nil {
		return l.Side
	}
	return First
}

// Life gives that incarnation of the unit, nil for one that is over. The caller
// may read it until the next Step, and must not write it.
func (s *State) Life(unit string, i Incarnation) *Life {
	switch u := s.Units[unit]; {
	case u == nil || i == 0:
		return nil
	case u.Incarnation == i:
		return u.life()
	case u.Beside != nil && u.Beside.Incarnation == i:
		return u.Beside
	}
	return nil
}

// Lives gives the instances of the unit of which there may be something in the
// system: its own one first. The caller may read them as those of State.Life.
func (u *Unit) Lives() []*Life {
	var all []*Life
	switch u.Phase {
	case Starting, Running, Stopping, Cleaning:
		if u.Incarnation != 0 {
			all = append(all, u.life())
		}
	}
	if u.Beside != nil {
		all = append(all, u.Beside)
	}
	return all
}

// heir reports whether it is to take the unit's place. A nil Life is none.
func (l *Life) heir() bool { return l != nil && !l.Old && (l.Phase == Starting || l.Phase == Running) }

// life gives the unit's own instance, as one beside it has it.
func (u *Unit) life() *Life {
	return &Life{
		Incarnation: u.Incarnation, Side: u.Side, Config: u.Config, Phase: u.Phase, Since: u.Since,
		MainPID: u.MainPID, StartedAt: u.StartedAt, Awaits: u.Awaits, NotReady: u.NotReady,
		StopStep: u.StopStep, Hook: u.Hook, PostStopDue: u.PostStopDue, Applied: u.Applied,
		StopSignal: u.StopSignal, Notice: u.Notice,
	}
}

// replaceable reports whether a restart of the unit is a replace now: there must
// be something that is up, and the newest version must ask for it.
func (u *Unit) replaceable() bool {
	c := u.newest()
	return c.Restart.Mode == "replace" && c.Service.Type == "service" && u.Config.Service.Type == "service" &&
		u.Phase == Running && u.Ready && !u.Halt
}

// replace asks for a new instance in the place of the unit's own. One that is
// being started already is started anew: it may have read what has changed since.
func (st *step) replace(u *Unit, reason string) {
	st.asked(u)
	st.refresh(u, manual)
	u.ReplaceDue = reason
	if u.Beside.heir() {
		st.endBeside(u, "another one was asked for")
	}
	st.touch(u)
}

// refurbish restarts a unit that is up in the way that its [restart] says. It is
// not for a restart that takes those that require the unit with it.
func (st *step) refurbish(u *Unit, reason string) {
	if u.replaceable() {
		st.replace(u, reason)
	} else {
		st.renew(u, reason)
	}
}

// tryReplace keeps the heir's rule, and begins the replace that is due as soon
// as there is room for it and the unit could be started now.
func (st *step) tryReplace(u *Unit) {
	up := u.Phase == Running && u.Ready && !u.Halt
	if u.Beside.heir() && !up {
		if u.Phase == Running {
			u.ReplaceDue = u.Beside.Asked // should it stay up after all
		}
		st.endBeside(u, "the unit is stopped")
	}
	if !up || u.ReplaceDue == "" || u.Beside != nil {
		return
	}
	n := st.s.graph[u.Name]
	for _, name := range n.requires {
		d := st.s.Units[name]
		if d == nil || !d.provides() && (d.Phase == Failed || d.Phase == Inactive) {
			u.ReplaceDue = ""
			u.Replaces++
			st.heirFailed(u, fmt.Sprintf("dependency %s is not up", name))
			return
		}
		if !d.provides() {
			return
		}
	}
	if !st.conflictsDown(u, n) || u.Halt || u.ReplaceDue == "" || st.delayed(n) {
		return
	}
	st.s.Incarnation++
	u.Replaces++
	l := &Life{
		Incarnation: st.s.Incarnation, Side: Second - u.Side, Config: u.newest(), Phase: Inactive, Asked: u.ReplaceDue, Begun: st.in.Now,
	}
	l.PostStopDue = len(l.Config.Service.PostStop) > 0
	u.ReplaceDue, u.Beside = "", l
	st.move(u, Starting, l.Asked)
	st.emit(Spawn{u.Name, l.Incarnation, l.Config})
}

// move takes the instance beside to another phase, and tells so.
func (st *step) move(u *Unit, to Phase, reason string) {
	l := u.Beside
	st.emit(Beside{u.Name, l.Incarnation, l.Phase, to, reason})
	l.Phase, l.Since, l.Reason = to, st.in.Now, reason
	l.Awaits, l.NotReady, l.Hook, l.StopStep = false, "", "", 0
	st.disarm(u, TimerBesideReady)
	st.disarm(u, TimerBesideStop)
	st.listen(u)
	st.touch(u)
}

// takeBeside gives an event to the instance beside, if it is that one's.
func (st *step) takeBeside(e Event) bool {
	of := func(name string, i Incarnation) *Unit {
		if u := st.s.Units[name]; u != nil && u.Beside != nil && u.Beside.Incarnation == i {
			return u
		}
		return nil
	}
	var u *Unit
	switch e := e.(type) {
	case Spawned:
		if u = of(e.Unit, e.Incarnation); u != nil {
			st.besideSpawned(u, e.PID)
		}
	case SpawnFailed:
		if u = of(e.Unit, e.Incarnation); u != nil {
			st.besideSpawnFailed(u, e)
		}
	case Exited:
		if u = of(e.Unit, e.Incarnation); u != nil {
			st.besideExited(u, e.Status)
		}
	case Released:
		if u = of(e.Unit, e.Incarnation); u != nil && u.Beside.Phase == Cleaning && u.Beside.Hook == "" {
			st.besideReleased(u)
		}
	case HookDone:
		if u = of(e.Unit, e.Incarnation); u != nil && u.Beside.Hook == e.Hook {
			st.besideHookDone(u, e)
		}
	case Notified:
		if u = of(e.Unit, e.Incarnation); u != nil {
			st.besideNotified(u, e.Message)
		}
	case Readiness:
		if u = of(e.Unit, e.Incarnation); u != nil && u.Beside.Awaits {
			st.besideReadiness(u, e)
		}
	}
	return u != nil
}

func (st *step) besideSpawned(u *Unit, pid int) {
	l := u.Beside
	if l.MainPID != 0 || l.Phase != Starting && l.Phase != Stopping {
		return
	}
	l.MainPID, l.StartedAt = pid, st.in.Now
	st.touch(u)
	if l.Phase == Stopping { // the abort came too late
		st.stopBeside(u)
		return
	}
	st.move(u, Running, "")
	if !l.Config.Ready.Set() {
		st.besidePostStart(u)
		return
	}
	l.Awaits = true
	st.emit(AwaitReady{u.Name, l.Incarnation, l.Config})
	if limit := l.Config.Ready.Timeout; limit != units.Infinity {
		st.arm(u, TimerBesideReady, time.Duration(limit))
	}
}

func (st *step) besideReadiness(u *Unit, e Readiness) {
	st.touch(u)
	if !e.Ready {
		u.Beside.NotReady = e.Why
		return
	}
	u.Beside.Awaits, u.Beside.NotReady = false, ""
	st.disarm(u, TimerBesideReady)
	st.besidePostStart(u)
}

// besideNotified takes what the program has told. Its word for a reload means
// nothing yet, and its watchdog begins with its time as the unit's own.
func (st *step) besideNotified(u *Unit, m Message) {
	l := u.Beside
	if l.Phase != Running && l.Phase != Stopping || l.MainPID == 0 {
		return
	}
	st.touch(u)
	if m.MainPID != 0 {
		l.MainPID = m.MainPID
	}
	l.Notice.take(m)
	if m.Interval > 0 {
		l.WatchdogInterval = units.Duration(m.Interval)
	}
	killed := l.StopStep > len(stopSteps(l.Config, l.StopSignal))
	for _, t := range []Timer{TimerBesideReady, TimerBesideStop} {
		armed, ok := u.Timers[t]
		if d := min(m.Extend, maxExtend); d > 0 && ok && !(t == TimerBesideStop && killed) && armed.At.Before(st.in.Now.Add(d)) {
			st.arm(u, t, d)
		}
	}
	switch {
	case !l.Awaits || !l.Config.Ready.Notify:
	case m.Ready:
		st.besideReadiness(u, Readiness{Ready: true})
	case m.Status != nil:
		l.NotReady = l.Notice.Status
	}
}

func (st *step) besideNeverReady(u *Unit) {
	l := u.Beside
	reason := neverReadyReason(st.in.Now.Sub(l.StartedAt), l.NotReady)
	st.heirFailed(u, reason)
	st.endBeside(u, reason)
}

func (st *step) besidePostStart(u *Unit) {
	l := u.Beside
	if len(l.Config.Service.PostStart) == 0 {
		st.takeOver(u)
		return
	}
	l.Hook = HookPostStart
	st.emit(RunHook{u.Name, l.Incarnation, HookPostStart, l.Config})
	st.touch(u)
}

// takeOver makes the heir, which is ready, the unit's own instance, and has the
// old one stopped.
func (st *step) takeOver(u *Unit) {
	why := u.Beside.Asked
	st.changePlaces(u, u.Rejection, "")
	u.Beside.Replaced = true
	st.ready(u)
	st.endBeside(u, "replaced: "+why)
}

// goOn has an heir take the place of an instance that has ended by itself: it
// goes on as an ordinary start.
func (st *step) goOn(u *Unit, status ExitStatus) {
	u.LastExit, u.MainPID = &status, 0
	st.changePlaces(u, fmt.Sprintf("the old instance ended (%s): the new one goes on", status), "it ended before it was reloaded")
	st.cleanBeside(u, status.String())
}

// yield has an heir take the place of an instance that is to be given up.
// signal, if any, takes the place of the steps of [stop].
func (st *step) yield(u *Unit, reason, signal string) {
	st.changePlaces(u, reason+": the new instance goes on", "it was stopped before it was reloaded")
	u.Beside.StopSignal = signal
	st.endBeside(u, reason)
}

// changePlaces makes the heir the unit's own instance, in the phase it is in,
// and what was the unit's own the old one beside it. reloaded is the outcome of a
// reload that was under way, "" for success.
func (st *step) changePlaces(u *Unit, reason, reloaded string) {
	l, old := u.Beside, u.life()
	old.Old, old.Reason, old.Asked = true, u.Reason, l.Asked
	if u.reloading() {
		st.reloadDone(u, reloaded)
	}
	again := u.ReloadAgain || l.Reload
	limit, limited := u.Timers[TimerBesideReady]
	st.disarm(u, TimerBesideReady)
	u.Beside = old
	u.Incarnation, u.Side, u.Config, u.Next, u.Applied = l.Incarnation, l.Side, l.Config, nil, l.Applied
	u.MainPID, u.LastPID, u.StartedAt, u.PostStopDue = l.MainPID, l.MainPID, l.StartedAt, l.PostStopDue
	u.Times = Times{Waiting: l.Begun, Starting: l.Begun}
	st.enter(u, l.Phase, reason)
	u.Awaits, u.NotReady, u.Hook, u.ReloadAgain = l.Awaits, l.NotReady, l.Hook, again
	u.Checks = nil
	u.Notice, u.WatchdogInterval, u.WatchdogAt = l.Notice, l.WatchdogInterval, time.Time{}
	if limited {
		st.arm(u, TimerReady, limit.At.Sub(st.in.Now))
	}
}

// heirFailed tells that there will be no new instance. If it was to bring a
// changed version, that is rejected: it is not tried again until it is changed.
func (st *step) heirFailed(u *Unit, reason string) {
	what := "instance"
	if u.Next != nil {
		what = "version"
	}
	text := fmt.Sprintf("the new %s did not become ready (%s): the old one stays", what, reason)
	if u.Next != nil {
		old := *u.Config
		old.Unit = u.Next.Unit // the graph is that of the newest generation
		u.Rejected, u.Rejection = u.Next, text
		u.Config, u.Next, u.Good = &old, nil, nil
		st.inForce(u, false)
	}
	u.Reason = text
	st.emit(Transition{u.Name, u.Incarnation, Running, Running, text})
	st.pass(u, Running, text)
	st.settleReplaces(u, text)
	st.touch(u)
}

// settleReplaces answers the restarts for whose sake the replaces so far were begun.
func (st *step) settleReplaces(u *Unit, err string) {
	for _, id := range slices.Sorted(maps.Keys(st.s.waiters[u.Name])) {
		p := st.s.Commands[id]
		if n := p.Units[u.Name]; p.Verb != VerbRestart || n == 0 || n > u.Replaces {
			continue
		}
		if err == "" {
			p.Replaced = append(p.Replaced, u.Name)
		}
		st.settled(p, u.Name, err)
	}
}

func (st *step) besideSpawnFailed(u *Unit, e SpawnFailed) {
	l := u.Beside
	switch {
	case l.MainPID != 0 || l.Phase != Starting && l.Phase != Stopping:
		return
	case l.Phase == Stopping:
	case e.Temporary:
		u.ReplaceDue = l.Asked
	default:
		st.heirFailed(u, e.Reason)
	}
	if e.Temporary {
		l.PostStopDue = false
	}
	st.cleanBeside(u, e.Reason)
}

func (st *step) besideExited(u *Unit, status ExitStatus) {
	switch u.Beside.Phase {
	case Starting, Running: // Starting: its Spawned was lost
		st.heirFailed(u, status.String()+" before it was ready")
	case Stopping:
	default:
		return
	}
	u.LastExit, u.Beside.MainPID = &status, 0
	st.cleanBeside(u, status.String())
}

// endBeside stops the instance beside.
func (st *step) endBeside(u *Unit, reason string) {
	st.move(u, Stopping, reason)
	if u.Beside.MainPID == 0 {
		st.emit(Abort{u.Name, u.Beside.Incarnation})
		return
	}
	st.stopBeside(u)
}

func (st *step) stopBeside(u *Unit) {
	l := u.Beside
	st.nextStep(u, l.Incarnation, stopSteps(l.Config, l.StopSignal), &l.StopStep, TimerBesideStop)
}

// cleanBeside does what follows the end of the main process of the instance beside.
func (st *step) cleanBeside(u *Unit, reason string) {
	st.move(u, Cleaning, reason)
	l := u.Beside
	if !l.PostStopDue {
		st.emit(Release{u.Name, l.Incarnation})
		return
	}
	l.PostStopDue, l.Hook = false, HookPostStop
	st.emit(RunHook{u.Name, l.Incarnation, HookPostStop, l.Config})
}

func (st *step) besideHookDone(u *Unit, e HookDone) {
	l := u.Beside
	l.Hook = ""
	st.touch(u)
	switch {
	case e.Hook == HookPostStop:
		if e.Err != "" {
			l.Reason += "; post-stop failed: " + e.Err
		}
		st.emit(Release{u.Name, l.Incarnation})
	case e.Hook != HookPostStart:
	case e.Err == "":
		st.takeOver(u)
	default:
		reason := "post-start failed: " + e.Err
		st.heirFailed(u, reason)
		st.endBeside(u, reason)
	}
}

func (st *step) besideReleased(u *Unit) {
	l := u.Beside
	st.emit(Beside{u.Name, l.Incarnation, l.Phase, Inactive, l.Reason})
	u.Beside = nil
	st.touch(u)
	if l.Replaced && u.Phase == Running && u.Ready && !u.Halt {
		st.settleReplaces(u, "")
	}
	if u.Phase == Cleaning && u.Empty {
		st.released(u)
	}
}

// follow brings a change that needs no restart to an heir of that version too.
func (st *step) follow(u *Unit, class units.Class, keys []string) {
	l := u.Beside
	if !l.heir() {
		return
	}
	l.Config = u.newest()
	if class != units.None {
		l.Applied = slices.Compact(slices.Sorted(slices.Values(slices.Concat(l.Applied, keys))))
		st.emit(ApplyLive{u.Name, l.Incarnation, l.Config, keys})
	}
}
