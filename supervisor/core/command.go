package core

import (
	"fmt"
	"slices"
	"time"
)

// command takes what a user asked for. A command that names a unit which cannot
// take it changes nothing.
func (st *step) command(c Command) {
	st.s.LastCommand = max(st.s.LastCommand, c.ID)
	names := slices.Compact(slices.Sorted(slices.Values(c.Units)))
	if err := st.refuse(c, names); err != "" {
		st.emit(Reply{ID: c.ID, Err: err})
		return
	}
	p := &Pending{ID: c.ID, Verb: c.Verb, Units: map[string]uint64{}}
	for _, name := range names {
		p.Units[name] = 0
	}
	switch c.Verb {
	case VerbKill:
		for _, name := range names {
			st.emit(Signal{name, st.s.Units[name].Incarnation, c.Signal, c.Whole})
		}
		st.emit(Reply{ID: c.ID})
		return
	case VerbReset:
		for _, name := range names {
			st.reset(st.s.Units[name])
		}
		st.emit(Reply{ID: c.ID})
		return
	}
	if c.NoBlock {
		st.emit(Reply{ID: c.ID})
	} else {
		st.s.Commands[c.ID] = p
		for _, name := range names {
			st.s.await(name, c.ID)
		}
	}
	st.under(Cause{Kind: CauseCommand, Verb: c.Verb, By: c.By}, func() { st.carryOut(c.Verb, names, p) })
	if len(names) == 0 && !c.NoBlock {
		st.answer(p)
	}
}

func (st *step) carryOut(verb Verb, names []string, p *Pending) {
	seen := map[string]bool{}
	for _, name := range names {
		u := st.s.Units[name]
		st.touch(u)
		switch verb {
		case VerbStart:
			st.start(u, manual, seen)
		case VerbStop:
			st.stop(u, "stopped")
		case VerbRestart:
			if st.restart(u) {
				p.Units[name] = u.Replaces + 1
			}
		case VerbReload:
			p.Units[name] = u.Reloads + 1
			u.ReloadAgain = true
		}
	}
	if verb == VerbReload {
		for _, name := range names {
			st.reloadNext(st.s.Units[name])
		}
	}
}

// refuse tells why a command cannot be carried out.
func (st *step) refuse(c Command, names []string) string {
	if st.s.Commands[c.ID] != nil {
		return fmt.Sprintf("cannot %s: command %d is pending already", c.Verb, c.ID)
	}
	if st.s.Shutdown {
		return fmt.Sprintf("cannot %s: shutting down", c.Verb)
	}
	for _, name := range names {
		u := st.s.Units[name]
		if why := refuseUnit(c.Verb, u); why != "" {
			return fmt.Sprintf("cannot %s %s: %s", c.Verb, name, why)
		}
	}
	return ""
}

// NotRunning is the reason, in Reply.Failed, of a command that needs a running unit.
const NotRunning = "it is not running"

func refuseUnit(verb Verb, u *Unit) string {
	if u == nil {
		return "no such unit"
	}
	switch verb {
	case VerbStop, VerbReset:
	case VerbStart, VerbRestart:
		if u.Gone {
			return "its unit file was removed"
		}
	case VerbReload:
		if u.reload() == nil {
			return "it has no [service] reload; restart it instead"
		}
		if u.Phase != Running || u.Halt {
			return NotRunning
		}
	case VerbKill:
		if u.MainPID == 0 {
			return NotRunning
		}
	default:
		return "no such command"
	}
	return ""
}

// reset forgets a failure, and what counts towards the next one.
func (st *step) reset(u *Unit) {
	u.Starts, u.Tries, u.Restarts = nil, 0, 0
	st.touch(u)
	if u.Phase == Failed {
		u.Up = false
		st.enter(u, Inactive, "failure reset")
	}
}

// settle takes the units that have got where the command wants them off its
// list; with the last one it is answered.
func (st *step) settle(p *Pending) {
	for _, name := range sortedNames(p.Units) {
		u := st.s.Units[name]
		if done, err := st.outcome(p.Verb, u); done {
			st.settled(p, name, err)
		}
	}
}

// settled takes one unit off the command's list.
func (st *step) settled(p *Pending, name, err string) {
	delete(p.Units, name)
	delete(st.s.waiters[name], p.ID)
	if len(st.s.waiters[name]) == 0 {
		delete(st.s.waiters, name)
	}
	if err != "" {
		if p.Failed == nil {
			p.Failed = map[string]string{}
		}
		p.Failed[name] = err
	}
	if len(p.Units) == 0 {
		st.answer(p)
	}
}

func (st *step) answer(p *Pending) {
	delete(st.s.Commands, p.ID)
	st.emit(Reply{p.ID, p.summary(), p.Failed, p.Replaced})
}

// outcome tells whether the unit has got where the verb wants it, or why it
// will not.
func (st *step) outcome(verb Verb, u *Unit) (done bool, err string) {
	switch {
	case u == nil:
		return true, "its unit file was removed"
	case verb == VerbReload:
		return u.Phase != Running, "it stopped before it was reloaded"
	case verb == VerbStop:
		if u.Up && u.Phase != Failed {
			return true, "superseded by start"
		}
		return u.Phase.down() && !u.Halt, ""
	case u.Stopped:
		return true, "superseded by stop"
	case u.Halt:
		return false, ""
	}
	switch u.Phase {
	case Running:
		return u.Ready && !u.task() && !(verb == VerbRestart && u.replacing()), ""
	case Completed:
		return true, ""
	case Failed, Inactive:
		return true, u.Reason
	case Backoff:
		return true, fmt.Sprintf("%s; next try in %v", u.Reason, u.RestartAt.Sub(st.in.Now).Round(time.Millisecond))
	}
	return false, ""
}

func (p *Pending) summary() string {
	if len(p.Failed) == 0 {
		return ""
	}
	first := sortedNames(p.Failed)[0]
	s := fmt.Sprintf("cannot %s %s: %s", p.Verb, first, p.Failed[first])
	if n := len(p.Failed) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}
