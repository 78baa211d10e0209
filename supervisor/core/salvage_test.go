package core

import (
	"encoding/json"
	"testing"
	"time"

	"berth/units"
)

// TestSalvage takes a state with a unit in every phase, some of it under way, and
// goes on with what is salvaged of it: what runs is not started again, what was on
// its way is, and what is down stays so.
func TestSalvage(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	set := map[string]*units.Unit{
		"runs": svc("runs", check("up"), watched(units.Duration(time.Minute), "restart"), postStop), "starts": svc("starts"), "waits": svc("waits", notifies),
		"back": svc("back", policy("always")), "failed": svc("failed", policy("never")), "off": svc("off", demand), "done": svc("done", remain),
		"stops": svc("stops"), "group": svc("group", kind("group")), "after": svc("after", requires("waits")), "task": svc("task", kind("task")),
	}
	s := New()
	step := func(e Event) []Effect {
		now = now.Add(time.Millisecond)
		return Step(s, Input{Now: now, Event: e})
	}
	step(Load{Generation: 1, Units: set, Boot: true})
	for pid, name := range []string{"runs", "waits", "back", "failed", "done", "stops", "task"} {
		step(Spawned{Unit: name, Incarnation: s.Units[name].Incarnation, PID: 100 + pid})
	}
	for _, name := range []string{"back", "failed", "done"} {
		i := s.Units[name].Incarnation
		status := ExitStatus{Code: 1}
		if name == "done" {
			status.Code = 0
		}
		step(Exited{Unit: name, Incarnation: i, Status: status})
		step(Released{Unit: name, Incarnation: i})
	}
	step(Command{ID: 5, Verb: VerbStop, Units: []string{"stops"}})
	want := map[string]Phase{"runs": Running, "starts": Starting, "waits": Running, "back": Backoff, "failed": Failed, "off": Inactive, "done": Completed,
		"stops": Stopping, "group": Running, "after": Waiting, "task": Running}
	for name, phase := range want {
		if got := s.Units[name].Phase; got != phase {
			t.Fatalf("%s is %s, want %s", name, got, phase)
		}
	}

	before := s.Incarnation
	s = Salvage(s, Input{Now: now})
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	s = &State{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	salvaged := map[string]Phase{"runs": Running, "starts": Waiting, "waits": Waiting, "back": Waiting, "failed": Failed, "off": Inactive, "done": Completed,
		"stops": Inactive, "group": Running, "after": Waiting, "task": Running}
	for name, phase := range salvaged {
		u := s.Units[name]
		if u.Phase != phase || (u.MainPID != 0) != (phase == Running && name != "group") || phase == Running && !u.Ready {
			t.Errorf("%s is salvaged as %s, process %d, ready %v; want %s", name, u.Phase, u.MainPID, u.Ready, phase)
		}
	}
	if len(s.Commands) != 0 || s.Incarnation != before || len(s.Units["runs"].Checks) != 1 {
		t.Errorf("commands %v, incarnation %d, checks %v", s.Commands, s.Incarnation, s.Units["runs"].Checks)
	}
	armed := map[Timer]bool{}
	for _, e := range Resume(s, Input{Now: now}) {
		switch e := e.(type) {
		case SetTimer:
			armed[e.Timer] = e.Unit == "runs"
		case Spawn, Release, KillGroup, Signal:
			t.Errorf("resumed with %#v", e)
		}
	}
	if len(armed) != 2 {
		t.Errorf("the timers are %v, want those of the check and the watchdog of runs", armed)
	}
	spawned := map[string]bool{}
	for _, e := range Rouse(s, Input{Now: now}) {
		switch e := e.(type) {
		case Spawn:
			spawned[e.Unit] = e.Incarnation > before
		case Signal, KillGroup:
			t.Errorf("%#v", e)
		}
	}
	if len(spawned) != 3 || !spawned["starts"] || !spawned["waits"] || !spawned["back"] {
		t.Errorf("started: %v", spawned)
	}
	// Once is enough.
	for _, e := range append(Rouse(s, Input{Now: now}), step(Load{Generation: 2, Units: set})...) {
		if e, ok := e.(Spawn); ok {
			t.Errorf("%s is started again", e.Unit)
		}
	}
	// What runs goes on in every way.
	i := s.Units["runs"].Incarnation
	step(Command{ID: 6, Verb: VerbStop, Units: []string{"runs"}})
	step(Exited{Unit: "runs", Incarnation: i, Status: ExitStatus{Signal: 15}})
	if u := s.Units["runs"]; u.Hook != HookPostStop {
		t.Errorf("after its stop runs is %s, hook %q", u.Phase, u.Hook)
	}
}
