package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

func task(command string, more ...string) string {
	return with(sh(command, more...), "type = 'task'")
}

// stamped gives what is kept of the timers over a boot.
func (d *daemon) stamped() map[string]core.Run {
	var s struct {
		Timers map[string]core.Run `json:"timers"`
	}
	text, err := os.ReadFile(filepath.Join(d.dir, "state", "timers.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return nil
	}
	return s.Timers
}

// TestTimers: units are started by the calendar and in intervals, the supervisor
// may be lost meanwhile, and what was missed while the machine was off is told
// from what was not.
func TestTimers(t *testing.T) {
	d := start(t, map[string]string{
		"second.toml": task("echo run", "[timer]\ncalendar = '*:*:*'"),
		"often.toml":  task("echo run", "[timer]\nevery = '1s'"),
		"daily.toml":  task("echo run", "[timer]\ncalendar = 'Fri *-*-13 03:00:00 Europe/Berlin'"),
		"skip.toml":   task("echo run", "[timer]\ncalendar = '0 3 13 * *'\nmissed = 'skip'"),
		"demand.toml": "[unit]\nstart = 'demand'\n" + task("echo run", "[timer]\ncalendar = '*:*:*'"),
		"long.toml":   sh(sleeper, "[timer]\nevery = '1s'"),
		"plain.toml":  task("echo run"),
	})
	runs := func(unit string, n int) {
		t.Helper()
		d.eventually(unit+" has run", func() bool { return len(d.logs(unit)) >= n })
	}
	runs("second", 2)
	runs("often", 2)
	runs("plain", 1)
	d.killSupervisor(func() {})
	runs("second", 4)
	runs("often", 4)
	long := d.wait("long", core.Running).MainPID
	d.eventually("a run is left out", func() bool { return strings.Contains(d.log.String(), "left out, the unit is still running") })
	if d.status("long").MainPID != long {
		t.Error("the timer restarted what ran")
	}
	for _, unit := range []string{"daily", "skip", "demand"} {
		if st := d.status(unit); st.Phase != core.Inactive || len(d.logs(unit)) != 0 {
			t.Errorf("%s: %s, it has written %q", unit, st.Phase, d.logs(unit))
		}
	}

	list := d.ok("list", "--timers")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 7 || !strings.HasPrefix(lines[0], "NEXT") || !strings.HasSuffix(lines[6], " demand") || strings.Contains(list, "plain") {
		t.Errorf("berth list --timers:\n%s", list)
	}
	if out, _, _ := d.berth("status", "daily"); !strings.Contains(out, "Timer: Fri *-*-13 03:00:00 Europe/Berlin, next Fri ") {
		t.Errorf("berth status:\n%s", out)
	}
	if out, _, _ := d.berth("status", "second"); !strings.Contains(out, ", last ") {
		t.Errorf("berth status:\n%s", out)
	}

	// Stopped, it is left alone, until somebody starts it again.
	d.ok("stop", "second")
	had := len(d.logs("second"))
	if st := d.status("second"); st.Timer == nil || st.Timer.Next != nil {
		t.Errorf("the timer of a stopped unit: %+v", st.Timer)
	}
	runs("often", len(d.logs("often"))+2)
	if n := len(d.logs("second")); n != had {
		t.Errorf("a stopped unit has run %d times", n-had)
	}
	d.ok("start", "second")
	runs("second", had+2)

	// The next boot: what fell due meanwhile is made up for, once, where that is wanted.
	d.eventually("what is kept is there", func() bool { s := d.stamped(); return !s["daily"].Base.IsZero() && !s["skip"].Base.IsZero() })
	d.stop()
	stamps := d.stamped()
	for _, unit := range []string{"daily", "skip"} {
		r := stamps[unit]
		r.Base = time.Now().AddDate(-3, 0, 0)
		stamps[unit] = r
	}
	text, err := json.Marshal(map[string]any{"timers": stamps})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "state", "timers.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	d.fresh()
	d.run()
	runs("daily", 1)
	d.wait("daily", core.Completed)
	if st := d.status("skip"); st.Phase != core.Inactive || !strings.Contains(d.log.String(), "was missed and is left out") {
		t.Errorf("skip: %+v", st)
	}
	d.eventually("the run is written down", func() bool { return time.Since(d.stamped()["daily"].Base) < time.Hour })
	d.stop()

	// What cannot be read is told, and nothing is made up for.
	if err := os.WriteFile(filepath.Join(d.dir, "state", "timers.json"), []byte(`{"timers": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.fresh()
	d.run()
	runs("often", 1)
	if len(d.logs("daily")) != 1 || !strings.Contains(d.log.String(), "cannot use what is known of the timers") {
		t.Errorf("daily has written %q", d.logs("daily"))
	}
}

// TestTimerZone: a zone that the machine does not have makes the generation invalid.
func TestTimerZone(t *testing.T) {
	d := start(t, map[string]string{"a.toml": task("true", "[timer]\ncalendar = 'daily'")})
	d.write("a.toml", task("true", "[timer]\ncalendar = 'daily Europe/Atlantis'"))
	d.eventually("it is told", func() bool {
		out, _, _ := d.berth("status")
		return strings.Contains(out, `C008`) && strings.Contains(out, `cannot use the time zone "Europe/Atlantis"`)
	})
	d.write("a.toml", task("true", "[timer]\ncalendar = 'daily Europe/Berlin'"))
	d.eventually("it is mended", func() bool { _, _, code := d.berth("status"); return code == 0 })
}
