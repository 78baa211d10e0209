package core

import (
	"fmt"
	"slices"
	"time"

	"berth/units"
)

// A unit's timer, sockets and watched paths are its triggers. They are in force
// from the time when the unit is first started, at boot for one with start =
// "boot", until it is stopped, and whether it runs meanwhile or not. A unit that
// something starts when it is due (units.Unit.Activated) is not started at boot
// itself: only its triggers are.

const (
	// activationBurst starts by sockets within activationWithin are too many: a
	// program that ends without taking what came would be started for ever.
	activationBurst  = 20
	activationWithin = 10 * time.Second
)

// Listening is what is open of a unit's sockets.
type Listening struct {
	Seq     uint64         `json:"seq"`
	Sockets []units.Socket `json:"sockets,omitempty"`
	// Listen: the unit is down, and traffic on one with activate starts it.
	Listen bool `json:"listen,omitempty"`
}

func triggers(c *units.Unit) bool {
	return c.Timer.Set() || len(c.Sockets) > 0 || len(c.Path.Changed) > 0
}

// activate puts the unit's triggers in force.
func (st *step) activate(u *Unit) {
	if !u.Triggers {
		u.Triggers = true
		st.touch(u)
	}
	st.trigger(u)
}

// deactivate puts them out of force.
func (st *step) deactivate(u *Unit) {
	if !u.Triggers {
		return
	}
	u.Triggers = false
	// What falls due from here on is not missed: nobody wants it.
	u.Schedule.Base, u.PathAt, u.PathDue = time.Time{}, time.Time{}, ""
	st.touch(u)
	st.trigger(u)
}

// trigger lets timer, sockets and watched paths be what they have to be now.
func (st *step) trigger(u *Unit) {
	st.schedule(u, false)
	st.listen(u)
	st.watch(u)
}

// inForce decides, for a unit of a new generation, whether its triggers are in
// force: asked are those with start = "boot" whose time that is.
func (st *step) inForce(u *Unit, asked bool) {
	switch has := triggers(u.newest()); {
	case !has || u.Gone:
		st.deactivate(u)
	case asked || u.Up:
		st.activate(u)
	case u.Triggers:
		st.trigger(u)
	}
}

// occasion starts a unit because something has come that it is started for,
// unless it is up from before.
func (st *step) occasion(u *Unit, c Cause, what string) bool {
	if st.s.Shutdown {
		return false
	}
	if !u.Phase.down() || u.Halt || u.remains() {
		st.emit(Report{u.Name, u.Incarnation, fmt.Sprintf("%s: left out, the unit is still %s from before", what, u.Phase)})
		return false
	}
	st.under(c, func() { st.startOne(u, manual) })
	return true
}

// listen opens and closes the unit's sockets: they are open from its start until
// it is down for good, and beyond if traffic is to start it again.
func (st *step) listen(u *Unit) {
	want := Listening{Sockets: u.Listening.Sockets}
	switch {
	case u.Phase == Waiting: // what is open stays; the rest is opened with the start
	case !u.Phase.down():
		want.Sockets = u.Config.Sockets
		if u.Beside.heir() {
			want.Sockets = slices.Clone(want.Sockets)
			for _, s := range u.Beside.Config.Sockets {
				if !slices.Contains(want.Sockets, s) {
					want.Sockets = append(want.Sockets, s)
				}
			}
		}
	case u.Triggers && !u.Gone && !st.s.Shutdown && slices.ContainsFunc(u.Config.Sockets, func(s units.Socket) bool { return s.Activate }):
		want = Listening{Sockets: u.Config.Sockets, Listen: true}
	default:
		want.Sockets = nil
	}
	if slices.Equal(want.Sockets, u.Listening.Sockets) && want.Listen == u.Listening.Listen {
		return
	}
	st.s.TimerSeq++
	want.Seq = st.s.TimerSeq
	u.Listening = want
	st.touch(u)
	st.emit(Sockets{u.Name, want.Seq, want.Sockets, want.Listen})
}

// activated is the first traffic on a socket of a unit that is down.
func (st *step) activated(u *Unit, e Activated) {
	if e.Err != "" {
		st.deactivate(u)
		st.fail(u, "", e.Err)
		return
	}
	since := st.in.Now.Add(-activationWithin)
	u.Activations = slices.DeleteFunc(u.Activations, func(t time.Time) bool { return !t.After(since) })
	if len(u.Activations) >= activationBurst {
		u.Activations = nil
		st.deactivate(u)
		st.fail(u, "", fmt.Sprintf("started %d times in %v by its sockets, which nobody listens on any more: does the program take what comes?", activationBurst, activationWithin))
		return
	}
	u.Activations = append(u.Activations, st.in.Now)
	st.occasion(u, Cause{Kind: CauseSocket, By: e.Socket}, "socket "+e.Socket)
}
