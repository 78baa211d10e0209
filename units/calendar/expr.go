package calendar

import "time"

// Years that expressions can name, as systemd has them.
const (
	minYear = 1970
	maxYear = 2199
)

const (
	second    = 1_000_000 // in microseconds, the finest that an expression names
	minute    = 60 * second
	hour      = 60 * minute
	everyDay  = 0x7f
	maxSecond = minute - 1
)

// Expr is a calendar expression. Its zero value is none; they are made by Parse.
// An Expr is a value and never changes.
type Expr struct {
	weekdays uint8 // bit 0 is Monday
	year     set
	month    set
	day      set
	fromEnd  bool // day counts from the end of the month: 1 is its last day
	hour     set
	minute   set
	second   set // in microseconds
	zone     string
	either   bool   // a day matches by its date or by its weekday: crontab(5)
	cron     string // the text of a cron line; ""
}

// span is one element of a list: start, start..stop, start/step or start..stop/step.
type span struct {
	start int
	stop  int // -1: not given
	step  int // 0: not given
}

// set is a list of spans; nil is every value.
type set []span

// Zone is the name of the time zone that the expression is to be read in: "" is
// that of the machine, "UTC" needs no data.
func (e Expr) Zone() string { return e.zone }

// Next gives the first moment after the given one that the expression stands
// for, in microseconds, and false if there is none up to the year 2199. The
// expression is read in the Location of after, but for one that says UTC. See the
// package comment for days on which clocks are changed.
func (e Expr) Next(after time.Time) (time.Time, bool) {
	home := after.Location()
	if e.zone == "UTC" {
		after = after.UTC()
	}
	t := after.Truncate(time.Microsecond).Add(time.Microsecond)
	passes := e.hour.covers(0, 23)
	for {
		// The wall clock runs evenly from one change of it (from) to the next (to).
		from, to := t.ZoneBounds()
		low := wall(t, t)
		if !passes && !from.IsZero() {
			if before := wall(from, from.Add(-time.Second)); low.Before(before) {
				low = before // the clock was put back: these have been already
			}
		}
		next, ok := e.nextWall(low)
		if !ok {
			return time.Time{}, false
		}
		if to.IsZero() || next.Before(wall(to, t)) {
			return t.Add(next.Sub(wall(t, t))).In(home), true
		}
		if !passes && next.Before(wall(to, to)) {
			return to.In(home), true // the clock is put forward over it
		}
		// No zone is further than this from UTC.
		if t = next.Add(-26 * time.Hour).In(after.Location()); t.Before(to) {
			t = to
		}
	}
}

// wall is what a clock shows at the moment t if it is as far from UTC as at the
// moment like, as if it were UTC itself.
func wall(t, like time.Time) time.Time {
	_, offset := like.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// nextWall gives the first wall-clock time that matches, not before t.
func (e Expr) nextWall(t time.Time) (time.Time, bool) {
	year, month, day := t.Date()
	y, m, d := year, int(month), day
	clock := int(t.Sub(midnight(y, m, d)) / time.Microsecond)
	for {
		ny, nm, nd, ok := e.nextDay(y, m, d)
		if !ok {
			return time.Time{}, false
		}
		if ny != y || nm != m || nd != d {
			clock = 0
		}
		if clock, ok = e.nextClock(clock); ok {
			return midnight(ny, nm, nd).Add(time.Duration(clock) * time.Microsecond), true
		}
		y, m, d, clock = ny, nm, nd+1, 0
	}
}

func midnight(y, m, d int) time.Time {
	return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
}

// nextDay gives the first day that matches, not before the given one, whose day
// may be one beyond the end of its month.
func (e Expr) nextDay(y, m, d int) (int, int, int, bool) {
	for {
		year, ok := e.year.next(y, maxYear)
		if !ok {
			return 0, 0, 0, false
		}
		if year > y {
			y, m, d = year, 1, 1
		}
		month, ok := e.month.next(m, 12)
		if !ok {
			y, m, d = y+1, 1, 1
			continue
		}
		if month > m {
			m, d = month, 1
		}
		for days := midnight(y, m+1, 0).Day(); d <= days; d++ {
			if e.matchDay(y, m, d, days) {
				return y, m, d, true
			}
		}
		m, d = m+1, 1
	}
}

// matchDay looks at the day of the month, which has so many days, and the weekday.
func (e Expr) matchDay(y, m, d, days int) bool {
	date := e.day.has(d, days)
	if e.fromEnd {
		date = e.day.fromEnd(days).has(d, days)
	}
	if !date && !e.either {
		return false
	}
	monday := (int(midnight(y, m, d).Weekday()) + 6) % 7
	weekday := e.weekdays&(1<<monday) != 0
	if e.either {
		return date || weekday
	}
	return weekday
}

// nextClock gives the first time of a day that matches, not before the given
// one; in microseconds since midnight.
func (e Expr) nextClock(clock int) (int, bool) {
	h, m, s := clock/hour, clock%hour/minute, clock%minute
	for h < 24 {
		nh, ok := e.hour.next(h, 23)
		if !ok {
			return 0, false
		}
		if nh > h {
			h, m, s = nh, 0, 0
		}
		nm, ok := e.minute.next(m, 59)
		if !ok {
			h, m, s = h+1, 0, 0
			continue
		}
		if nm > m {
			m, s = nm, 0
		}
		if ns, ok := e.second.next(s, maxSecond); ok {
			return h*hour + m*minute + ns, true
		}
		m, s = m+1, 0
	}
	return 0, false
}

// next gives the smallest value of the set from v to top.
func (s set) next(v, top int) (int, bool) {
	if s == nil {
		return v, v <= top
	}
	best, found := 0, false
	for _, p := range s {
		x := p.start
		if v > x {
			if p.step == 0 && p.stop < 0 {
				continue
			}
			step := max(p.step, 1)
			x += (v - x + step - 1) / step * step
		}
		end := top
		if p.stop >= 0 {
			end = min(p.stop, top)
		}
		if x <= end && (!found || x < best) {
			best, found = x, true
		}
	}
	return best, found
}

func (s set) has(v, top int) bool {
	x, ok := s.next(v, top)
	return ok && x == v
}

// covers reports whether every value from low to high is in the set.
func (s set) covers(low, high int) bool {
	for v := low; v <= high; v++ {
		if !s.has(v, high) {
			return false
		}
	}
	return true
}

// fromEnd turns days that count from the end of a month of so many days into
// days of the month. What would lie before the first is not there.
func (s set) fromEnd(days int) set {
	out := make(set, len(s))
	for i, p := range s {
		p.start = days + 1 - p.start
		if p.stop >= 0 {
			p.stop = days + 1 - p.stop
			p.start, p.stop = p.stop, p.start
			if p.stop < 1 {
				p.start, p.stop = days+1, days+1
			}
		}
		out[i] = p
	}
	return out
}
