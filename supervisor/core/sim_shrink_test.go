package core

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A simulation's randomness does not run on from one decision to the next: each
// is thrown anew from the seed and from what it is about. So one stimulus (what
// users, editors and faults do) or one unit can be left out, and all the others
// stay what they were. That is what makes a failed run small enough to read.

// throw sets the randomness for the next decision, by what it is about and how
// often there was such a one.
func (w *sim) throw(about string) {
	w.throws[about]++
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(about) {
		h = (h ^ uint64(about[i])) * 1099511628211
	}
	w.dice.Seed(w.seed, h+w.throws[about]*0x9e3779b97f4a7c15)
}

// simFault is what fatalf panics with: the first demand that was not met.
type simFault struct {
	kind string // the same for all faults of one demand
	text string
}

// simPlan is what a whole run is made from.
type simPlan struct {
	seed          uint64
	units, events int
	users         float64 // how much more users do than in a common world, 0 to 1
}

// simStage is a part of a run: after each chaos the world is settled, and after
// the last one it is finished.
type simStage int

const (
	simChaos simStage = iota
	simSettle
	simFinish
)

// simCut is what is left of a whole run, and what is left out of it.
type simCut struct {
	turns   []int           // of each chaos of the whole run; nil: it is the whole run
	stage   simStage        // where the fault was, after the last of them
	given   map[string]bool // its stimuli
	stimuli map[string]bool // left out, by the names of their turns
	units   map[string]bool // left out
}

// try runs a simulation and gives the fault that ended it, nil for none.
func trySim(t testing.TB, p simPlan, cut simCut, traced bool) (w *sim, fault *simFault) {
	w = emptySim(t, p.seed)
	w.users, w.cut, w.traced = p.users, cut, traced
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(*simFault)
			if !ok {
				f = &simFault{"panic", fmt.Sprint("panic: ", r)}
			}
			fault = f
		}
	}()
	w.begin(p.units)
	if cut.turns == nil {
		for w.events < p.events {
			w.chaos(p.events / 5)
			w.settle()
		}
		w.chaos(p.events / 20)
	} else {
		for i := range cut.turns {
			w.chaos(0)
			if i < len(cut.turns)-1 || cut.stage == simSettle {
				w.settle()
			}
		}
		if cut.stage != simFinish {
			return w, nil
		}
	}
	w.finish()
	return w, nil
}

// shrinkTime is how long a failed run is made smaller.
const shrinkTime = time.Minute

// shrink leaves out as much as it can of a run that ended with a fault, as long
// as it ends with one of the same kind.
func shrink(t testing.TB, p simPlan, w *sim, fault *simFault) simCut {
	cut := simCut{turns: slices.Clone(w.turns), stage: w.stage, given: map[string]bool{}, stimuli: map[string]bool{}, units: map[string]bool{}}
	for _, s := range w.stimuli {
		cut.given[s] = true
	}
	if w.stage == simChaos {
		cut.turns[len(cut.turns)-1]++ // the one that it ended in
	}
	until := time.Now().Add(shrinkTime)
	same := func(c simCut) (*sim, bool) {
		again, f := trySim(t, p, c, false)
		return again, f != nil && f.kind == fault.kind
	}
	if _, ok := same(cut); !ok {
		return simCut{}
	}
	// without tries to leave out more of what a run had.
	without := func(of func(*sim) []string, set func(*simCut) *map[string]bool) {
		last, _ := same(cut)
		list := of(last)
		for size := (len(list) + 1) / 2; size > 0 && time.Now().Before(until); size /= 2 {
			for at := 0; at < len(list) && time.Now().Before(until); {
				c := cut
				m := maps.Clone(*set(&cut))
				*set(&c) = m
				end := min(at+size, len(list))
				for _, name := range list[at:end] {
					m[name] = true
				}
				if _, ok := same(c); ok {
					cut = c
					list = slices.Delete(slices.Clone(list), at, end)
				} else {
					at = end
				}
			}
		}
	}
	for range 3 {
		before := len(cut.stimuli) + len(cut.units)
		without(func(w *sim) []string { return w.made }, func(c *simCut) *map[string]bool { return &c.units })
		without(func(w *sim) []string { return w.stimuli }, func(c *simCut) *map[string]bool { return &c.stimuli })
		for len(cut.turns) > 1 { // whole rounds at the end
			c := cut
			c.turns = cut.turns[:len(cut.turns)-1]
			if _, ok := same(c); !ok {
				break
			}
			cut = c
		}
		if len(cut.stimuli)+len(cut.units) == before {
			break
		}
	}
	return cut
}

// story tells a run that ended with a fault.
func story(t testing.TB, p simPlan, cut simCut) string {
	w, fault := trySim(t, p, cut, true)
	var b strings.Builder
	fmt.Fprintf(&b, "units: %s; stimuli: %s\n", strings.Join(w.made, " "), strings.Join(w.stimuli, " "))
	for _, line := range w.history[max(0, len(w.history)-100):] {
		fmt.Fprintln(&b, line)
	}
	if fault != nil {
		fmt.Fprintln(&b, fault.text)
	}
	return b.String()
}

func runSim(t testing.TB, p simPlan) *sim {
	t.Helper()
	w, fault := trySim(t, p, simCut{}, *simTraced)
	if fault != nil {
		t.Log(fault.text)
		t.Fatalf("%+v, made as small as it goes:\n%s", p, story(t, p, shrink(t, p, w, fault)))
	}
	return w
}

// TestShrink plants a fault that needs two stimuli and one unit out of many, and
// demands that no more of them is left.
func TestShrink(t *testing.T) {
	planted = func(w *sim, e Event) {
		if c, ok := e.(Command); ok && c.Verb == VerbStop && slices.Contains(c.Units, simName(3)) {
			w.planted++
			if w.planted == 2 {
				w.fatalf("the planted fault")
			}
		}
	}
	defer func() { planted = nil }()
	for seed := range uint64(50) {
		p := simPlan{seed: seed, units: 12, events: 4000}
		w, fault := trySim(t, p, simCut{}, false)
		if fault == nil {
			continue
		}
		cut := shrink(t, p, w, fault)
		small, again := trySim(t, p, cut, false)
		if again == nil || again.kind != fault.kind {
			t.Fatalf("seed %d: the small run ends with %v", seed, again)
		}
		if len(small.stimuli) > 2 || len(small.made) > 2 {
			t.Errorf("seed %d: %d stimuli of %d and %d units are left: %v %v", seed, len(small.stimuli), len(w.stimuli), len(small.made), small.stimuli, small.made)
		}
		t.Logf("seed %d: %d stimuli of %d, units %v", seed, len(small.stimuli), len(w.stimuli), small.made)
		if text := story(t, p, cut); !strings.Contains(text, "the planted fault") {
			t.Errorf("the story does not tell the fault:\n%s", text)
		}
		return
	}
	t.Fatal("no run meets the planted fault")
}

// planted is called before each event where a test has set it.
var planted func(*sim, Event)

// covered are the pairs of a unit's phase and an event about it that a run met.
type covered map[[2]string]int

func (w *sim) cover(e Event) {
	names := []string{eventUnit(e)}
	if c, ok := e.(Command); ok {
		names = c.Units
	}
	for _, name := range names {
		if u := w.s.Units[name]; u != nil {
			w.covered[[2]string{string(u.Phase), eventKind(e)}]++
		}
	}
}

func eventKind(e Event) string { return strings.TrimPrefix(fmt.Sprintf("%T", e), "core.") }

// eventUnit is the unit that an event is about, "" for none.
func eventUnit(e Event) string {
	if f := reflect.ValueOf(e).FieldByName("Unit"); f.IsValid() {
		return f.String()
	}
	return ""
}

// missed gives how many pairs there are, and those that were not met.
func (c covered) missed() (pairs int, missed []string) {
	for _, phase := range Phases() {
		for _, e := range []Event{
			Command{}, Spawned{}, SpawnFailed{}, Exited{}, Released{}, HookDone{}, Readiness{}, Probed{}, Notified{}, TimerFired{}, Activated{}, PathChanged{},
		} {
			pairs++
			if c[[2]string{string(phase), eventKind(e)}] == 0 {
				missed = append(missed, fmt.Sprintf("%s in %s", eventKind(e), phase))
			}
		}
	}
	return pairs, missed
}
