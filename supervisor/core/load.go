package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth/units"
)

// load takes up a new generation: first the configurations and the graph, then
// what is desired, stops before restarts before starts.
func (st *step) load(e Load) {
	if st.s.Shutdown {
		return
	}
	st.s.Generation = e.Generation
	l := &loading{st: st, boot: e.Boot, was: map[string]units.Section{}, activated: map[*Unit]bool{}}
	for _, name := range sortedNames(st.s.Units) {
		if u := st.s.Units[name]; e.Units[name] == nil && !u.Gone {
			u.Gone = true
			st.touch(u)
			l.gone = append(l.gone, u)
		}
	}
	for _, name := range sortedNames(e.Units) {
		if e.Units[name] != nil {
			l.take(name, e)
		}
	}
	st.s.graph = buildGraph(st.s.Units)
	l.propagate()
	l.try(e.Generation)
}

// loading collects what a new generation asks for.
type loading struct {
	st      *step
	was     map[string]units.Section // the former [unit] of changed units
	gone    []*Unit
	renewed []renewal
	started []*Unit
	mended  []*Unit // failed, and changed
	boot    bool

	activated map[*Unit]bool // whose triggers begin, and not they themselves
}

// renewal is a unit that the new generation restarts.
type renewal struct {
	unit *Unit
	keys []string
}

func (l *loading) take(name string, e Load) {
	cfg, boot := e.Units[name], e.Units[name].Unit.Start == "boot"
	if e.Boot && e.Only != "" {
		boot = name == e.Only
	}
	u := l.st.s.Units[name]
	switch change, changed := e.Changes[name]; {
	case u == nil:
		u = &Unit{Name: name, Config: cfg, Phase: Inactive, Since: l.st.in.Now, Good: e.Good[name]}
		l.st.s.Units[name] = u
	case u.Gone:
		u.Gone = false
		l.change(u, cfg, Change{Class: units.RestartClass})
	case u.Rejected != nil:
		boot = boot && e.Boot
		if e.Retry || len(units.Diff(u.Rejected, cfg)) > 0 {
			l.change(u, cfg, difference(u.newest(), cfg))
		}
	case changed:
		l.change(u, cfg, change)
		boot = boot && e.Boot
	default:
		boot = boot && e.Boot
	}
	l.st.touch(u)
	switch {
	case boot && cfg.Activated():
		l.activated[u] = true
		if r, ok := e.Runs[name]; ok && e.Boot {
			u.Schedule.Text, u.Schedule.Base, u.Schedule.LastRun = r.Text, r.Base, r.LastRun
		}
	case boot:
		l.started = append(l.started, u)
	}
}

// difference compares two versions where Changes cannot: it is told against
// what the previous generation said, and that is not what runs.
func difference(from, to *units.Unit) Change {
	diff := units.Diff(from, to)
	c := Change{Class: units.Heaviest(diff)}
	for _, k := range diff {
		c.Keys = append(c.Keys, k.Key)
	}
	return c
}

// change gives the unit a new configuration in the way its class asks for.
func (l *loading) change(u *Unit, cfg *units.Unit, c Change) {
	l.was[u.Name] = u.newest().Unit
	class := c.Class
	if u.Next != nil || class == units.ReloadClass && (cfg.Service.Reload == nil || u.group()) {
		class = units.RestartClass
	}
	if u.Rejected != nil {
		if u.Reason == u.Rejection {
			u.Reason = ""
		}
		u.Rejected, u.Rejection = nil, ""
	}
	if u.Next != nil && u.Beside.heir() && (c.Class == units.None || c.Class == units.Live) {
		u.Next = cfg
		l.st.follow(u, c.Class, c.Keys)
		return
	}
	switch u.Phase {
	case Starting, Running, Stopping, Cleaning:
		if class == units.RestartClass {
			l.replace(u, cfg, c.Keys)
			return
		}
		was := u.Config.Health
		u.Config = cfg
		l.st.syncChecks(u, was)
		l.apply(u, class, c.Keys)
	case Backoff:
		u.Config = cfg
		if class == units.RestartClass {
			l.renewed = append(l.renewed, renewal{u, c.Keys})
		}
	case Failed:
		u.Config = cfg
		if u.Up && class != units.None {
			l.mended = append(l.mended, u)
		}
	case Completed:
		if class == units.RestartClass && u.remains() {
			l.replace(u, cfg, c.Keys)
			return
		}
		u.Config = cfg
		if u.binds() && !u.Up { // its completion says nothing about what it is now
			l.st.enter(u, Inactive, changeReason(c.Keys))
		}
	default:
		u.Config = cfg
	}
}

// replace has a configuration wait until the present incarnation is down.
func (l *loading) replace(u *Unit, cfg *units.Unit, keys []string) {
	if u.Phase == Running && u.Ready {
		u.Good = u.Config
	}
	u.Next = cfg
	switch {
	case u.Phase == Starting, (u.Phase == Running || u.Phase == Completed) && !u.Halt:
		l.renewed = append(l.renewed, renewal{u, keys})
	case (u.Phase == Stopping || u.Phase == Cleaning) && u.Then == Backoff:
		u.Then, u.ThenReason = Waiting, changeReason(keys)
	}
}

func changeReason(keys []string) string {
	if len(keys) == 0 {
		return "configuration changed"
	}
	return "configuration changed: " + strings.Join(keys, ", ")
}

// apply brings changes that need no restart to the incarnation that runs.
func (l *loading) apply(u *Unit, class units.Class, keys []string) {
	l.st.follow(u, class, keys)
	if class == units.None || u.Phase == Cleaning || u.group() {
		return
	}
	u.Applied = append(u.Applied, keys...)
	slices.Sort(u.Applied)
	u.Applied = slices.Compact(u.Applied)
	l.st.emit(ApplyLive{u.Name, u.Incarnation, u.Config, keys})
	if class == units.ReloadClass && u.Phase != Stopping {
		u.ReloadAgain = true
		l.st.reloadNext(u)
	}
}

func (l *loading) propagate() {
	st := l.st
	st.cause = Cause{Kind: CauseRemoved, Generation: st.s.Generation}
	for _, u := range l.gone {
		if st.stoppable(u) {
			st.stop(u, "unit file removed")
		}
	}
	for _, r := range l.renewed {
		if r.unit.Up {
			st.cause = Cause{Kind: CauseChange, Keys: r.keys, Generation: st.s.Generation}
			st.refurbish(r.unit, changeReason(r.keys))
		}
	}
	for _, name := range sortedNames(l.was) {
		l.pullNew(st.s.Units[name])
		l.pullBound(st.s.Units[name])
	}
	st.cause = Cause{Kind: CauseChange, Generation: st.s.Generation}
	for _, u := range l.mended {
		l.mend(u)
	}
	st.cause.Kind = CauseNew
	if l.boot {
		st.cause.Kind = CauseBoot
	}
	for _, u := range l.started {
		st.startOne(u, manual)
	}
	for _, name := range sortedNames(st.s.Units) {
		u := st.s.Units[name]
		_, changed := l.was[name]
		st.inForce(u, l.activated[u] || changed && l.activates(u))
	}
}

// activates reports whether a changed unit begins to be started by something,
// and is one that would have been from boot on.
func (l *loading) activates(u *Unit) bool {
	c := u.newest()
	return !u.Triggers && c.Activated() && c.Unit.Start == "boot" && !u.Stopped
}

// pullNew starts what a unit that is up requires or wants since this generation.
func (l *loading) pullNew(u *Unit) {
	if !u.Up || u.Phase == Failed || u.Phase == Completed && !u.remains() {
		return
	}
	was, n := l.was[u.Name], l.st.s.graph[u.Name]
	for _, name := range n.requires {
		if !slices.Contains(was.Requires, name) {
			l.pull(name, Cause{Kind: CauseRequired, Unit: u.Name})
		}
	}
	for _, name := range n.wants {
		if !slices.Contains(was.Wants, name) && !slices.Contains(was.Requires, name) {
			l.pull(name, Cause{Kind: CauseWanted, Unit: u.Name})
		}
	}
}

func (l *loading) pull(name string, why Cause) {
	if d := l.st.s.Units[name]; d != nil && d.Phase != Completed {
		l.st.under(why, func() { l.st.startOne(d, manual) })
	}
}

// pullBound starts a changed unit that is down, if it did not bind those that
// require it before, and now does, and one of them is up.
func (l *loading) pullBound(u *Unit) {
	if !u.binds() || u.Gone || !u.Phase.down() || u.provides() {
		return
	}
	for _, name := range l.st.s.graph[u.Name].requiredBy {
		if v := l.st.s.Units[name]; v != nil && v.Up && v.Phase != Failed {
			l.st.under(Cause{Kind: CauseRequired, Unit: name}, func() { l.st.startOne(u, manual) })
			return
		}
	}
}

// mend starts a failed unit again, and those that failed because of it.
func (l *loading) mend(u *Unit) {
	if u.Phase != Failed {
		return
	}
	l.st.startOne(u, manual)
	for _, name := range l.st.s.graph[u.Name].requiredBy {
		if v := l.st.s.Units[name]; v != nil && v.Up && v.Phase == Failed && v.FailedBy == u.Name {
			l.mend(v)
		}
	}
}

// reloadNext begins the reload that is asked for, as soon as the unit is ready
// and no other hook runs.
func (st *step) reloadNext(u *Unit) {
	if !u.ReloadAgain || u.Phase != Running || !u.Ready || u.Hook != "" || u.reloading() {
		return
	}
	u.ReloadAgain = false
	u.Reloads++
	if u.Beside.heir() {
		u.Beside.Reload = true
	}
	st.touch(u)
	switch r := u.reload(); {
	case r == nil:
		st.reloadDone(u, "the unit no longer has a [service] reload")
	case len(r.Command) > 0:
		if r.Notify {
			st.awaitReload(u)
		}
		st.hook(u, HookReload)
	default:
		st.emit(Signal{u.Name, u.Incarnation, r.Signal, false})
		if r.Notify {
			st.awaitReload(u)
			st.arm(u, TimerReload, reloadTimeout)
			return
		}
		st.reloadDone(u, "")
	}
}

// reloadDone answers those who wait for the reload that has ended.
func (st *step) reloadDone(u *Unit, err string) {
	for _, id := range slices.Sorted(maps.Keys(st.s.waiters[u.Name])) {
		p := st.s.Commands[id]
		if p.Verb == VerbReload && p.Units[u.Name] == u.Reloads {
			st.settled(p, u.Name, err)
		}
	}
	if err != "" {
		st.doubt(u, "reload failed: "+err)
		u.Reason = fmt.Sprintf("reload failed: %s", err)
	} else {
		u.Reason = u.Rejection
	}
	st.touch(u)
}
