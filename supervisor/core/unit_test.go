package core

import (
	"fmt"
	"testing"
	"time"

	"berth/units"
)

func TestBackoffDelay(t *testing.T) {
	r := svc("x").Restart
	for _, c := range []struct {
		tries int
		rand  float64
		want  time.Duration
	}{
		{0, 0.5, 500 * time.Millisecond}, {1, 0.5, time.Second}, {5, 0.5, 16 * time.Second},
		{6, 0.5, 30 * time.Second}, {5000, 0.5, 30 * time.Second},
		{0, 0, 450 * time.Millisecond}, {6, 0, 27 * time.Second}, {6, 1, 33 * time.Second},
	} {
		if got := backoffDelay(r, c.tries, c.rand); got != c.want {
			t.Errorf("after %d tries with %v: %v, want %v", c.tries, c.rand, got, c.want)
		}
	}
	r.MaxDelay, r.Jitter = units.Infinity, 0
	if got := backoffDelay(r, 5000, 0.5); got != maxBackoff {
		t.Errorf("without a maximum: %v", got)
	}
	r.Factor, r.Delay = 0, 0
	if got := backoffDelay(r, 3, 0.5); got != 0 {
		t.Errorf("without a delay: %v", got)
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		st            ExitStatus
		service, task bool
		text          string
	}{
		{ExitStatus{}, true, true, "exited with status 0"},
		{ExitStatus{Code: 3}, false, false, "exited with status 3"},
		{ExitStatus{Signal: 15}, true, false, "killed by SIGTERM"},
		{ExitStatus{Signal: 13}, true, false, "killed by SIGPIPE"},
		{ExitStatus{Signal: 6, Core: true}, false, false, "killed by SIGABRT, core dumped"},
		{ExitStatus{Signal: 9, OOM: true}, false, false, "killed by SIGKILL (out of memory)"},
		{ExitStatus{OOM: true}, false, false, "exited with status 0 (out of memory)"},
		{ExitStatus{Signal: 64}, false, false, "killed by signal 64"},
	} {
		if s, k := c.st.clean(false), c.st.clean(true); s != c.service || k != c.task {
			t.Errorf("%v: clean %v for a service, %v for a task", c.st, s, k)
		}
		if c.st.String() != c.text {
			t.Errorf("%q, want %q", c.st, c.text)
		}
	}
}

// TestGroupCycle: a group waits for none of its members that wait for it, and of
// two groups that want each other only one waits.
func TestGroupCycle(t *testing.T) {
	all := map[string]*Unit{}
	for _, c := range []*units.Unit{
		svc("g", kind("group"), wants("a", "b", "c")), svc("a", after("ready", "g")), svc("b", requires("a")), svc("c"),
		svc("h", kind("group"), wants("i")), svc("i", kind("group"), wants("h")),
	} {
		all[c.Name] = &Unit{Name: c.Name, Config: c}
	}
	g := buildGraph(all)
	if got := fmt.Sprint(g["g"].members, g["h"].members, g["i"].members); got != "[c] [i] []" {
		t.Errorf("members: %s", got)
	}
}

// TestDirty: what Step changes is told once, and what it forgets is not found.
func TestDirty(t *testing.T) {
	s, now := New(), time.Unix(0, 0)
	files := map[string]*units.Unit{"a": svc("a"), "b": svc("b", demand)}
	Step(s, Input{now, 0.5, Load{Generation: 1, Units: files, Boot: true}, nil})
	if got := fmt.Sprint(s.Dirty(), s.Dirty(), s.Names(), s.Idle()); got != "[a b] [] [a b] false" {
		t.Error(got)
	}
	Step(s, Input{now, 0.5, Spawned{"a", 1, 7}, nil})
	if got := fmt.Sprint(s.Dirty(), s.Idle()); got != "[a] true" {
		t.Error(got)
	}
	delete(files, "b")
	Step(s, Input{now, 0.5, Load{Generation: 2, Units: files}, nil})
	if _, ok := s.Unit("b"); ok {
		t.Error("b is still there")
	}
	if got := fmt.Sprint(s.Dirty(), s.Generation); got != "[a b] 2" {
		t.Error(got)
	}
	Step(s, Input{now, 0.5, Exited{"a", 1, ExitStatus{Code: 1}}, nil})
	Step(s, Input{now, 0.5, Released{"a", 1}, nil})
	if got := s.Timers(); len(got) != 1 || got[0] != (SetTimer{"a", TimerRestart, 1, now.Add(500 * time.Millisecond)}) {
		t.Errorf("timers: %v", got)
	}
}

// TestWaitsFor tells users why a unit does not start.
func TestWaitsFor(t *testing.T) {
	p := play(t, "unit db;unit cache;unit web requires=db after=cache,job;unit job type=task;unit alt conflicts=web demand;load boot;spawned db;spawned cache;spawned job")
	if got := fmt.Sprint(p.s.WaitsFor("web"), p.s.WaitsFor("db"), p.s.WaitsFor("nobody")); got != "[job] [] []" {
		t.Error(got)
	}
	act(p, "exited job 0;released job;spawned web;cmd 1 stop db")
	if got := fmt.Sprint(p.s.WaitsFor("db"), p.s.WaitsFor("web")); got != "[web] []" {
		t.Error(got)
	}
	act(p, "cmd 2 start alt")
	if got := fmt.Sprint(p.s.WaitsFor("alt")); got != "[web]" {
		t.Error(got)
	}
}

// BenchmarkStep is a crash and its automatic restart in one of 5000 units.
func BenchmarkStep(b *testing.B) {
	const n = 5000
	s, now := New(), time.Unix(0, 0)
	files := map[string]*units.Unit{}
	for i := range n {
		u := svc(simName(i))
		u.Restart.Limit.Burst = 0
		if i > 0 {
			u.Unit.Requires = []string{simName(i / 10)}
		}
		files[u.Name] = u
	}
	out := Step(s, Input{now, 0.5, Load{Generation: 1, Units: files, Boot: true}, nil})
	for len(out) > 0 {
		var next []Effect
		for _, x := range out {
			if x, ok := x.(Spawn); ok {
				next = append(next, Step(s, Input{now, 0.5, Spawned{x.Unit, x.Incarnation, 1}, nil})...)
			}
		}
		out = next
	}
	b.ReportAllocs()
	for b.Loop() {
		u := s.Units[simName(n-1)]
		Step(s, Input{now, 0.5, Exited{u.Name, u.Incarnation, ExitStatus{Code: 1}}, nil})
		Step(s, Input{now, 0.5, Released{u.Name, u.Incarnation}, nil})
		Step(s, Input{now, 0.5, TimerFired{u.Name, TimerRestart, u.Timers[TimerRestart].Seq}, nil})
		Step(s, Input{now, 0.5, Spawned{u.Name, u.Incarnation, 1}, nil})
	}
}
