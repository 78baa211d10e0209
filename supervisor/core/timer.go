package core

import (
	"fmt"
	"time"

	"berth/units"
	"berth/units/calendar"
)

// The timers of [timer]. The shell measures TimerCalendar by the wall clock, and
// the others by one that nobody sets.
const (
	TimerCalendar Timer = "calendar"
	TimerEvery    Timer = "every"
)

const (
	// clockSlack is how early or late, by the wall clock, a timer may be without
	// that meaning that the clock was set.
	clockSlack = time.Second
	// clockWrong is how far the clock may be put back without runs that were made
	// being made again. Further back it is taken for one that was wrong.
	clockWrong = 25 * time.Hour
)

// Schedule is where a unit's timer stands.
type Schedule struct {
	// Text is the expression, or the interval, that the rest belongs to.
	Text string `json:"text,omitempty"`
	// Base: runs that were due up to here are done or left out. It is what has to
	// survive a boot.
	Base time.Time `json:"base,omitzero"`
	// Due is the run that the timer is set for, before jitter; zero: none.
	Due     time.Time `json:"due,omitzero"`
	LastRun time.Time `json:"last_run,omitzero"`
}

// schedule sets the unit's timer to its next run. It leaves a timer alone that
// is right already; anew repeats SetTimer for it, because the clock was set.
func (st *step) schedule(u *Unit, anew bool) {
	t := u.newest().Timer
	if !u.Triggers || u.Gone || st.s.Shutdown {
		t = units.Timer{}
	}
	if t.Calendar == "" {
		st.disarm(u, TimerCalendar)
	}
	if t.Every == 0 {
		st.disarm(u, TimerEvery)
	}
	switch {
	case t.Calendar != "":
		st.scheduleCalendar(u, t, anew)
	case t.Every != 0:
		st.scheduleEvery(u, t)
	}
}

func (st *step) scheduleCalendar(u *Unit, t units.Timer, anew bool) {
	expr, err := calendar.Parse(t.Calendar)
	zone, ok := st.zone(expr.Zone())
	if err != nil || !ok {
		st.disarm(u, TimerCalendar)
		if u.Schedule.Text != t.Calendar {
			u.Schedule = Schedule{Text: t.Calendar, LastRun: u.Schedule.LastRun}
			st.emit(Report{u.Name, u.Incarnation, fmt.Sprintf("the timer cannot run: there is no time zone %s here", expr.Zone())})
			st.touch(u)
		}
		return
	}
	s, now := &u.Schedule, wall(st.in.Now)
	fresh := s.Text != t.Calendar
	if fresh || s.Base.IsZero() || s.Base.After(now.Add(clockWrong)) {
		st.disarm(u, TimerCalendar)
		s.Text, s.Base, s.Due = t.Calendar, now.UTC(), time.Time{}
		st.stamp(u)
	}
	due, some := expr.Next(s.Base.In(zone))
	armed, isArmed := u.Timers[TimerCalendar]
	passed := some && !due.After(now)
	if isArmed {
		passed = anew && armed.At.Before(now.Add(-clockSlack))
		if !passed && some && due.Equal(s.Due) {
			if anew {
				st.emit(SetTimer{u.Name, TimerCalendar, armed.Seq, armed.At})
			}
			return
		}
	}
	if passed && t.Missed == "skip" {
		st.emit(Report{u.Name, u.Incarnation, fmt.Sprintf("the timer's run of %s was missed and is left out", due.Format(time.RFC3339))})
		s.Base = now.UTC()
		st.stamp(u)
		due, some = expr.Next(now.In(zone))
	} else if passed {
		st.emit(Report{u.Name, u.Incarnation, fmt.Sprintf("the timer's run of %s was missed and is made up for", due.Format(time.RFC3339))})
	}
	if !some {
		st.disarm(u, TimerCalendar)
		if fresh || isArmed {
			st.emit(Report{u.Name, u.Incarnation, "the timer has no further run: its calendar names none"})
		}
		s.Due = time.Time{}
		st.touch(u)
		return
	}
	s.Due = due.UTC()
	st.arm(u, TimerCalendar, max(due.Sub(now), 0)+st.spread(t))
}

func (st *step) scheduleEvery(u *Unit, t units.Timer) {
	s, text := &u.Schedule, "every "+t.Every.String()
	if _, armed := u.Timers[TimerEvery]; armed && s.Text == text {
		return
	}
	wait := time.Duration(0)
	if !u.StartedAt.IsZero() {
		wait = max(u.StartedAt.Add(time.Duration(t.Every)).Sub(st.in.Now), 0)
	}
	if u.Phase == Waiting || u.Phase == Starting { // it begins with this start
		wait = time.Duration(t.Every)
	}
	s.Text, s.Base = text, time.Time{}
	st.armEvery(u, wait, t)
}

func (st *step) armEvery(u *Unit, wait time.Duration, t units.Timer) {
	u.Schedule.Due = st.in.Now.Add(wait).UTC()
	st.arm(u, TimerEvery, wait+st.spread(t))
}

// wall is a time by the wall clock alone: one that has a reading of the monotonic
// clock too would be compared by that, as if nobody had set the other.
func wall(t time.Time) time.Time { return t.Round(0) }

// spread is the random delay of a run.
func (st *step) spread(t units.Timer) time.Duration {
	return time.Duration(st.in.Rand * float64(t.Jitter))
}

// zone gives the time zone that a calendar names.
func (st *step) zone(name string) (*time.Location, bool) {
	if name == "" || name == "UTC" {
		return st.in.Now.Location(), true
	}
	loc := st.in.Zones[name]
	return loc, loc != nil
}

func (st *step) stamp(u *Unit) {
	st.touch(u)
	st.emit(Stamp{u.Name, Run{u.Schedule.Text, u.Schedule.Base, u.Schedule.LastRun}})
}

// startedNow lets an interval count from this start.
func (st *step) startedNow(u *Unit) {
	t := u.newest().Timer
	if _, armed := u.Timers[TimerEvery]; armed && t.Every != 0 {
		st.armEvery(u, time.Duration(t.Every), t)
	}
}

// elapsed is the moment of a run.
func (st *step) elapsed(u *Unit, timer Timer) {
	s, t, now := &u.Schedule, u.newest().Timer, wall(st.in.Now)
	if timer == TimerCalendar && s.Due.After(now.Add(clockSlack)) { // the clock was put back
		st.schedule(u, true)
		return
	}
	due := s.Due
	s.Due = time.Time{}
	if timer == TimerCalendar {
		s.Base = now.UTC()
		if due.After(now) {
			s.Base = due
		}
	}
	if st.occasion(u, Cause{Kind: CauseTimer}, "the timer's run") {
		s.LastRun = now.UTC()
	}
	if timer == TimerCalendar {
		st.stamp(u)
		st.schedule(u, false)
	} else if _, armed := u.Timers[TimerEvery]; !armed && u.Triggers && t.Every != 0 {
		st.armEvery(u, time.Duration(t.Every), t)
	}
}

// clockChanged sets the timers of all calendars anew.
func (st *step) clockChanged() {
	for _, name := range sortedNames(st.s.Units) {
		if u := st.s.Units[name]; u.Triggers && u.newest().Timer.Calendar != "" {
			st.schedule(u, true)
		}
	}
}
