package core

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth/units"
)

// TestAnything gives the core events in any order whatever, also those that a
// correct shell never posts: it must not panic, make no transition that there is
// not, answer no command twice, and do the same after a round trip through JSON.
func TestAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		name := rapid.SampledFrom(append(names, "nobody"))
		files := map[string]*units.Unit{}
		for i, n := range names {
			files[n] = drawUnit(t, n, names[:i], names)
		}
		s, now, next := New(), time.Unix(0, 0).UTC(), uint64(0)
		answered := map[uint64]bool{}
		event := func() Event {
			n := name.Draw(t, "unit")
			var inc Incarnation
			if u := s.Units[n]; u != nil {
				inc = max(u.Incarnation, 1) - Incarnation(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "stale"))
				if u.Beside != nil && rapid.Bool().Draw(t, "beside") {
					inc = u.Beside.Incarnation
				}
			}
			switch rapid.IntRange(0, 17).Draw(t, "kind") {
			case 15:
				return PathChanged{n, "/p"}
			case 16:
				return ClockChanged{}
			case 17:
				if u := s.Units[n]; u != nil {
					return Activated{n, u.Listening.Seq, "a", rapid.SampledFrom([]string{"", "", "bad"}).Draw(t, "err")}
				}

			case 12:
				return Notified{n, inc, drawMessage(t, now)}
			case 0:
				return Load{Generation: 1, Units: files, Changes: map[string]Change{n: {units.Class(rapid.IntRange(0, 3).Draw(t, "class")), []string{"k"}}}, Boot: true, Retry: rapid.Bool().Draw(t, "retry")}
			case 1, 2, 3:
				next++
				verb := rapid.SampledFrom([]Verb{VerbStart, VerbStop, VerbRestart, VerbReload, VerbKill, VerbReset}).Draw(t, "verb")
				return Command{ID: next, Verb: verb, Units: []string{n}}
			case 4, 5:
				return Spawned{n, inc, 1}
			case 6:
				return SpawnFailed{n, inc, "reason", rapid.Bool().Draw(t, "lost")}
			case 7:
				return Exited{n, inc, ExitStatus{Code: rapid.IntRange(0, 1).Draw(t, "code")}}
			case 8, 9:
				return Released{n, inc}
			case 13, 14:
				check := rapid.SampledFrom([]string{"up", "other"}).Draw(t, "check")
				seq := uint64(3)
				if u := s.Units[n]; u != nil && u.Checks[check] != nil && rapid.IntRange(0, 3).Draw(t, "stale") > 0 {
					seq = u.Checks[check].Seq
				}
				return Probed{n, inc, check, seq, rapid.SampledFrom([]string{"", "no answer", "no answer"}).Draw(t, "err"), "output", time.Second, rapid.IntRange(0, 5).Draw(t, "skipped") == 0}
			case 11:
				return Readiness{n, inc, rapid.Bool().Draw(t, "ready"), "no answer"}
			case 10:
				return HookDone{n, inc, rapid.SampledFrom([]Hook{HookPostStart, HookPostStop, HookReload}).Draw(t, "hook"), rapid.SampledFrom([]string{"", "bad"}).Draw(t, "err")}
			}
			if u := s.Units[n]; u != nil && u.Timers != nil {
				t := rapid.SampledFrom(u.timers()).Draw(t, "timer")
				now = t.At
				return TimerFired{n, t.Timer, t.Seq}
			}
			return Spawned{n, inc, 1}
		}
		if rapid.Bool().Draw(t, "reduced") {
			delete(files, "d")
		}
		in := Input{now, 0.5, Load{Generation: 1, Units: files, Boot: true}, nil}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var twin State
			if err := json.Unmarshal(b, &twin); err != nil {
				t.Fatal(err)
			}
			out := Step(s, in)
			if other := Step(&twin, in); !reflect.DeepEqual(out, other) {
				t.Fatalf("%T %+v: a decoded state does\n%+v\ninstead of\n%+v", in.Event, in.Event, other, out)
			}
			if a, b := encode(t, s), encode(t, &twin); a != b {
				t.Fatalf("%T: states differ:\n%s\n%s", in.Event, a, b)
			}
			for _, x := range out {
				switch x := x.(type) {
				case Transition:
					if !legal[[2]Phase{x.From, x.To}] {
						t.Fatalf("no such transition: %+v", x)
					}
				case Beside:
					if !legalBeside(x) {
						t.Fatalf("no such transition: %+v", x)
					}
				case Reply:
					if answered[x.ID] || x.ID > next {
						t.Fatalf("answered twice, or unasked: %+v", x)
					}
					answered[x.ID] = true
				}
			}
			for _, u := range s.Units {
				if err := replaceRule(u); err != "" {
					t.Fatalf("%T %+v: %s %s", in.Event, in.Event, u.Name, err)
				}
			}
			now = now.Add(time.Second)
			in = Input{now, 0.5, event(), nil}
		}
		for id := uint64(1); id < next; id++ {
			if !answered[id] && s.Commands[id] == nil {
				t.Fatalf("command %d is neither answered nor pending", id)
			}
		}
	})
}

func drawMessage(t *rapid.T, now time.Time) Message {
	status, number := "busy", 2
	return rapid.SampledFrom([]Message{
		{Ready: true}, {Reloading: now}, {Reloading: now.Add(-time.Hour)}, {Stopping: true, Status: &status}, {Errno: &number, BusError: &status},
		{MainPID: 77}, {Extend: time.Minute}, {Watchdog: now}, {Trigger: true}, {Interval: time.Minute}, {Ready: true, Watchdog: now, Extend: time.Hour},
	}).Draw(t, "message")
}

func encode(t *rapid.T, s *State) string {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func drawUnit(t *rapid.T, name string, lower, all []string) *units.Unit {
	u := svc(name)
	some := func(from []string, what string) []string {
		var l []string
		for _, n := range from {
			if n != name && rapid.IntRange(0, 3).Draw(t, fmt.Sprint(what, name, n)) == 0 {
				l = append(l, n)
			}
		}
		return l
	}
	u.Unit.Requires = some(lower, "requires")
	u.Unit.Wants = some(all, "wants")
	u.Unit.OnFailure = some(all, "on-failure")
	if rapid.IntRange(0, 5).Draw(t, "conflict") == 0 {
		u.Unit.Conflicts = some(all, "conflicts")
	}
	after(rapid.SampledFrom([]string{"ready", "healthy"}).Draw(t, "is"), some(lower, "after")...)(u)
	for _, name := range []string{"up", "other"} {
		if rapid.IntRange(0, 2).Draw(t, "check") == 0 {
			check(name, func(p *units.Probe) {
				p.Retries = rapid.IntRange(1, 2).Draw(t, "retries")
				p.OnFailure = rapid.SampledFrom([]string{"restart", "none", "stop", "restart", "shutdown"}).Draw(t, "action")
				p.StartPeriod = units.Duration(rapid.IntRange(0, 1).Draw(t, "start-period")) * units.Duration(20*time.Second)
			})(u)
		}
	}
	u.Service.Type = rapid.SampledFrom([]string{"service", "service", "task", "group"}).Draw(t, "type")
	u.Service.Remain = u.Service.Type == "task" && rapid.Bool().Draw(t, "remain")
	u.Restart.Policy = rapid.SampledFrom([]string{"always", "on-failure", "on-success", "never"}).Draw(t, "policy")
	u.Restart.Limit.Burst = rapid.IntRange(0, 3).Draw(t, "burst")
	for _, o := range []func(*units.Unit){postStart, postStop, reloads, notifies, replaces, reloadNotify, watched(1, "restart"), watched(1, "none"), watched(1, "shutdown")} {
		if rapid.Bool().Draw(t, "option") {
			o(u)
		}
	}
	drawTriggers(u, rapid.Float64Range(0, 0.5).Draw(t, "triggers"))
	return u
}
