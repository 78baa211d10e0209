package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"berth/units"
)

// HealthState is what the checks of a unit say.
type HealthState string

// The states.
const (
	HealthStarting HealthState = "starting"  // no check has succeeded yet, and not enough have failed
	Healthy        HealthState = "healthy"   // the last one succeeded, or too few have failed since
	Unhealthy      HealthState = "unhealthy" // as many have failed in a row as retries says
)

// Check is what is known of one health check, [health.NAME]. It begins with the
// unit's being ready and ends with Running; what was seen last is kept for people.
// In Running either its timer is armed or a probe is under way.
type Check struct {
	State  HealthState `json:"state"`
	Failed int         `json:"failed,omitempty"` // checks in a row
	// The last result: Err is "" on success.
	At     time.Time     `json:"at,omitzero"`
	Took   time.Duration `json:"took,omitempty"`
	Err    string        `json:"err,omitempty"`
	Output string        `json:"output,omitempty"`
	// Seq numbers the probe that is under way; 0: none.
	Seq uint64 `json:"seq,omitempty"`
}

// FailedCheck is a health check that did not succeed.
type FailedCheck struct {
	Check  string    `json:"check"`
	Failed int       `json:"failed"` // times in a row
	At     time.Time `json:"at"`     // the last of them
	Err    string    `json:"err"`
	Output string    `json:"output,omitempty"`
}

// failing returns, by name, the checks that failed when they were made last, and
// the one that made the unit unhealthy last, be it in a former life.
func (u *Unit) failing() []FailedCheck {
	var all []FailedCheck
	for _, name := range sortedNames(u.Checks) {
		if c := u.Checks[name]; c.Err != "" {
			all = append(all, FailedCheck{name, c.Failed, c.At, c.Err, c.Output})
		}
	}
	told := func(f FailedCheck) bool { return f.Check == u.Ill.Check }
	if u.Ill != nil && (u.Restarts > 0 || !u.checked()) && !slices.ContainsFunc(all, told) {
		all = append(all, *u.Ill)
	}
	return all
}

// maxSpread bounds by how much first checks are spread, so that many units which
// become ready at once are not probed at once. It is the pause between checks of
// a unit in its start-period too.
const maxSpread = time.Second

const healthPrefix = "health/"

func healthTimer(check string) Timer { return Timer(healthPrefix + check) }

// check returns the name of the check that the timer is for.
func (t Timer) check() (name string, ok bool) { return strings.CutPrefix(string(t), healthPrefix) }

// checked reports whether the unit's health checks are made now.
func (u *Unit) checked() bool { return u.Phase == Running && u.Ready && !u.task() && !u.group() }

// Health is the state of the worst of the unit's checks; "" if it has none, or
// does not run. Before it is ready it is starting.
func (u *Unit) Health() HealthState {
	state := HealthState("")
	switch {
	case u.checked():
	case u.Phase == Running && len(u.Config.Health) > 0 && !u.task() && !u.group():
		return HealthStarting
	default:
		return state
	}
	for _, c := range u.Checks {
		switch {
		case c.State == Unhealthy:
			return Unhealthy
		case c.State == HealthStarting || state == "":
			state = c.State
		}
	}
	return state
}

// NextCheck is when the check is made next; not ok: it is under way, or the
// unit is not up.
func (u *Unit) NextCheck(name string) (at time.Time, ok bool) {
	t, ok := u.Timers[healthTimer(name)]
	return t.At, ok
}

// healthy reports whether a unit that is ready counts as healthy: without checks
// it does.
func (u *Unit) healthy() bool { h := u.Health(); return h == "" || h == Healthy }

// beginChecks begins the health checks of a unit that has become ready.
func (st *step) beginChecks(u *Unit) {
	u.Checks = nil
	if u.checked() {
		st.syncChecks(u, nil)
	}
}

// syncChecks makes the checks those of the unit's configuration, where was is
// what they were before. A check that was changed is made soon; what is known
// of it stays, unless it probes something else now.
func (st *step) syncChecks(u *Unit, was map[string]units.Probe) {
	if !u.checked() {
		return
	}
	for _, name := range sortedNames(u.Checks) {
		if _, ok := u.Config.Health[name]; !ok {
			delete(u.Checks, name)
			st.disarm(u, healthTimer(name))
		}
	}
	if len(u.Config.Health) == 0 {
		u.Checks = nil // as it comes back from JSON
	}
	for _, name := range sortedNames(u.Config.Health) {
		is, c := u.Config.Health[name], u.Checks[name]
		if old, ok := was[name]; ok && c != nil && sameProbe(old, is) {
			if sameTimes(old, is) || c.Seq != 0 {
				continue // its next check takes up what has changed
			}
		} else {
			if u.Checks == nil {
				u.Checks = map[string]*Check{}
			}
			u.Checks[name] = &Check{State: HealthStarting}
		}
		spread := min(time.Duration(is.Interval)/10, maxSpread)
		st.arm(u, healthTimer(name), time.Duration(st.in.Rand*float64(spread)))
	}
}

func sameProbe(a, b units.Probe) bool {
	return a.TCP == b.TCP && a.HTTP == b.HTTP && a.File == b.File && slices.Equal(a.Exec, b.Exec)
}

func sameTimes(a, b units.Probe) bool {
	return a.Interval == b.Interval && a.Timeout == b.Timeout && a.StartPeriod == b.StartPeriod
}

// endChecks lets no result of the present checks count any more.
func (u *Unit) endChecks() {
	for _, c := range u.Checks {
		c.Seq = 0
	}
}

// probe makes a check whose time has come.
//
// This and the result of a check that says nothing new change the unit without
// marking it as changed: thousands of checks would else fill the snapshot. After
// a lost supervisor it is then as if the last of them had not been made.
func (st *step) probe(u *Unit, name string) {
	c, ok := u.Checks[name]
	if !ok || !u.checked() {
		return
	}
	st.s.TimerSeq++
	c.Seq = st.s.TimerSeq
	st.emit(Probe{u.Name, u.Incarnation, name, c.Seq, u.Config.Health[name]})
}

// probed takes the result of a check.
func (st *step) probed(u *Unit, e Probed) {
	c, p := u.Checks[e.Check], u.Config.Health[e.Check]
	c.Seq = 0
	wait := time.Duration(p.Interval)
	starting := c.State == HealthStarting && st.in.Now.Before(u.StartedAt.Add(time.Duration(p.StartPeriod)))
	switch {
	case e.Skipped:
	case e.Err == "":
		c.At, c.Took, c.Err, c.Output = st.in.Now, e.Took, "", e.Output
		if c.Failed > 0 {
			c.Failed = 0
			st.touch(u)
		}
		st.healthIs(u, e.Check, Healthy)
	default:
		c.At, c.Took, c.Err, c.Output = st.in.Now, e.Took, e.Err, e.Output
		if starting { // it does not count yet
			wait = min(wait, maxSpread)
			break
		}
		c.Failed++
		if c.Failed <= p.Retries {
			st.touch(u)
		}
		if c.Failed >= p.Retries {
			st.healthIs(u, e.Check, Unhealthy)
			// With Halt it is about to be stopped anyway; none is told of already.
			if !u.Halt && p.OnFailure != "none" {
				st.unwell(u, p.OnFailure, "", c.reason(e.Check))
			}
			if u.Phase != Running || u.Checks[e.Check] != c {
				return
			}
		}
	}
	st.set(u, healthTimer(e.Check), wait)
}

// healthIs notes the state of a check, and tells it when it is new.
func (st *step) healthIs(u *Unit, check string, state HealthState) {
	c := u.Checks[check]
	if c.State == state {
		return
	}
	c.State = state
	reason := ""
	if state == Unhealthy {
		reason = c.reason(check)
		u.Ill = &FailedCheck{check, c.Failed, c.At, c.Err, c.Output}
	}
	st.emit(HealthChanged{u.Name, u.Incarnation, check, state, reason})
	st.touch(u)
}

// reason tells of a check that has failed often enough.
func (c *Check) reason(name string) string {
	if c.Failed == 1 {
		return fmt.Sprintf("health check %s failed: %s", name, c.Err)
	}
	return fmt.Sprintf("health check %s failed %d times: %s", name, c.Failed, c.Err)
}
