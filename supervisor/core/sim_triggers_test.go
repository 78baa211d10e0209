package core

import (
	"slices"
	"time"

	"berth/units"
)

// drawTriggers gives a unit a timer, sockets or a watched path, by the dice: roll
// is from 0 to 1.
func drawTriggers(u *units.Unit, roll float64) {
	switch {
	case roll < 0.05:
		u.Timer.Calendar = "*:0/1"
		if roll < 0.02 {
			u.Timer.Missed = "skip"
		}
	case roll < 0.1:
		u.Timer.Every = units.Duration(90 * time.Second)
	case roll < 0.15 && u.Service.Type != "group":
		u.Sockets = []units.Socket{{Name: "a", Activate: true}, {Name: "b"}}
	case roll < 0.18 && u.Service.Type != "group":
		u.Sockets = []units.Socket{{Name: "b"}}
	case roll < 0.25:
		u.Path.Changed = []string{"/p"}
		switch {
		case roll < 0.2:
			u.Path.Action = "start"
		case roll < 0.22 && u.Service.Reload != nil:
			u.Path.Action = "reload"
		default:
			u.Path.Action = "restart"
		}
	}
	if u.Timer.Set() {
		u.Service.Remain = false
	}
}

// opened is what the world has open for a unit.
type opened struct {
	seq     uint64
	sockets []units.Socket
	listen  bool
}

// outside is what comes from outside: traffic, changed files, a clock that is set.
func (w *sim) outside() {
	name := w.someUnit()
	switch o := w.open[name]; {
	case w.chance(0.1):
		w.step(ClockChanged{})
	case o.listen && w.chance(0.05):
		w.step(Activated{name, o.seq, "a", "cannot listen"})
	case o.listen:
		w.step(Activated{name, o.seq, "a", ""})
	case w.chance(0.3):
		w.step(Activated{name, 0, "a", ""}) // of a time when somebody listened
	default:
		w.step(PathChanged{name, "/p"})
	}
}

// sockets opens and closes.
func (w *sim) sockets(x Sockets) {
	if x.Listen && (len(w.holds[x.Unit]) > 0 || w.ended) {
		w.fatalf("%s is listened for while it is there: %+v", x.Unit, x)
	}
	w.open[x.Unit] = opened{x.Seq, x.Sockets, x.Listen}
	if len(x.Sockets) == 0 {
		delete(w.open, x.Unit)
	}
}

// checkOpen demands that a program that is started has its sockets, and nobody
// else listens on them.
func (w *sim) checkOpen(x Spawn) {
	o := w.open[x.Unit]
	for _, s := range x.Config.Sockets {
		if !slices.Contains(o.sockets, s) {
			o.listen = true
		}
	}
	if o.listen {
		w.fatalf("%s is spawned with the sockets %v, open are %+v", x.Unit, x.Config.Sockets, o)
	}
}

// checkTriggers demands, at rest, that a unit's triggers are what they should be.
func (w *sim) checkTriggers(u *Unit) {
	c, o := u.newest(), w.open[u.Name]
	down := u.Phase.down()
	if wanted := u.Triggers && down && slices.ContainsFunc(u.Config.Sockets, func(s units.Socket) bool { return s.Activate }); o.listen != wanted {
		w.fatalf("%s is listened for: %v, in %s", u.Name, o.listen, brief(u))
	}
	if down && !o.listen && len(o.sockets) > 0 {
		w.fatalf("%s is down and has open sockets", u.Name)
	}
	_, calendar := u.Timers[TimerCalendar]
	_, every := u.Timers[TimerEvery]
	if calendar != (u.Triggers && c.Timer.Calendar != "") || every != (u.Triggers && c.Timer.Every != 0) {
		w.fatalf("%s has the timers %v, with %+v and triggers %v", u.Name, u.Timers, c.Timer, u.Triggers)
	}
	if (len(u.Watched) > 0) != (u.Triggers && len(c.Path.Changed) > 0) {
		w.fatalf("%s watches %v", u.Name, u.Watched)
	}
	if u.Up && !down && !u.Triggers && triggers(c) {
		w.fatalf("%s is up, and its triggers are not in force", u.Name)
	}
}
