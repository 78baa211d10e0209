package core

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// legalBeside: the instance beside a unit lives by the same table, from Inactive
// to Inactive. It never waits, and is never ready for long.
func legalBeside(x Beside) bool {
	switch [2]Phase{x.From, x.To} {
	case [2]Phase{Inactive, Starting}, [2]Phase{Cleaning, Inactive}:
		return true
	}
	return legal[[2]Phase{x.From, x.To}] && x.From != Inactive && !x.To.down() && x.To != Waiting && x.To != Backoff && x.From != x.To
}

// replaceRule tells what is wrong with a unit's two instances.
func replaceRule(u *Unit) string {
	up := u.Phase == Running && u.Ready && !u.Halt
	switch l := u.Beside; {
	case u.ReplaceDue != "" && u.Phase != Running:
		return "is to be replaced, but does not run"
	case u.Empty && (u.Phase != Cleaning || l == nil):
		return "waits for nobody"
	case l == nil:
		return ""
	case u.Phase != Running && u.Phase != Starting && u.Phase != Stopping && u.Phase != Cleaning:
		return "is down and has an instance beside it"
	case l.heir() && !up:
		return "has an heir and is not up"
	case l.heir() && u.ReplaceDue != "":
		return "has an heir and wants another"
	case l.Side == u.Side:
		return "has two instances on one side"
	case l.Incarnation == u.Incarnation:
		return "has one instance twice"
	case l.Old && l.Phase != Stopping && l.Phase != Cleaning:
		return "has an old instance that does not end"
	}
	return ""
}

func (w *sim) hold(unit string, i Incarnation) {
	if !slices.Contains(w.holds[unit], i) {
		w.holds[unit] = append(w.holds[unit], i)
	}
}

func (w *sim) letGo(unit string, i Incarnation) {
	w.holds[unit] = slices.DeleteFunc(w.holds[unit], func(h Incarnation) bool { return h == i })
	if len(w.holds[unit]) == 0 {
		delete(w.holds, unit)
	}
}

// checkPlace demands that nothing of a unit is there when it is spawned, but for
// the one instance, up and alive on the other side, that a replace is about.
func (w *sim) checkPlace(x Spawn) {
	held := w.holds[x.Unit]
	if len(held) == 0 {
		return
	}
	old, u := w.inc[held[0]], w.s.Units[x.Unit]
	if len(held) > 1 || w.phase[x.Unit] != Running || !old.live || u.Incarnation != held[0] || !u.Ready || x.Config.Restart.Mode != "replace" {
		w.fatalf("%s#%d is spawned while %v are there: %s", x.Unit, x.Incarnation, held, brief(u))
	}
	if old.side == w.s.Side(x.Unit, x.Incarnation) {
		w.fatalf("%s#%d is spawned on the side of #%d", x.Unit, x.Incarnation, held[0])
	}
}

// beside demands that an old instance is stopped for the sake of a new one only
// when that one is there.
func (w *sim) beside(x Beside) {
	if !legalBeside(x) {
		w.fatalf("no such transition: %+v", x)
	}
	what, _, _ := strings.Cut(x.Reason, ":")
	w.heirs[string(x.From)+" to "+string(x.To)+" "+what]++
	u := w.s.Units[x.Unit]
	if x.To == Stopping && what == "replaced" && (!u.Ready || !w.inc[u.Incarnation].live) {
		w.fatalf("#%d is stopped, and the new instance is not up: %s", x.Incarnation, brief(u))
	}
}

// TestSimulatedReplaces: the simulation gets to every end that a replace has.
func TestSimulatedReplaces(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(16) {
		w := runSim(t, simPlan{seed: 1000 + seed, units: 3, events: 6000, users: 0.4 * float64(seed%2)})
		for what, n := range w.heirs {
			seen[what] += n
		}
	}
	for _, want := range []string{
		"inactive to starting restarted", "inactive to starting configuration changed", "running to stopping replaced",
		"starting to stopping another one was asked for", "running to stopping another one was asked for",
		"starting to stopping the unit is stopped", "running to stopping the unit is stopped",
		"starting to cleaning no such file", "starting to cleaning launcher lost", "running to cleaning exited",
		"running to stopping post-start failed", "running to stopping not ready after",
	} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(what string) bool { return strings.HasPrefix(what, want) }) {
			t.Errorf("never: %s", want)
		}
	}
	if t.Failed() {
		t.Log(seen)
	}
}
