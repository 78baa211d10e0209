package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"berth/isolate/cgroup/nsinit"
	"berth/supervisor/core"
)

// TestPause freezes a unit, over a restart of the supervisor too, and lets it
// run on, or ends it as it is.
func TestPause(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":   sh("trap 'echo ended; exit 0' TERM; trap 'echo told' USR1; while :; do echo beat; sleep 0.02; done", "[stop]\ntimeout = '60s'", "[restart]\npolicy = 'never'"),
		"again.toml": sh(sleeper),
		"down.toml":  onDemand + sh(sleeper),
	})
	d.wait("web", core.Running)
	d.wait("again", core.Running)
	beats := func() int { return strings.Count(strings.Join(d.logs("web"), "\n"), "beat") }
	d.eventually("the unit beats", func() bool { return beats() > 2 })

	d.ok("pause", "web")
	if st := d.status("web"); !st.Paused || st.Phase != core.Running {
		t.Errorf("after pause it is %s, paused %v", st.Phase, st.Paused)
	}
	if out := d.ok("status", "web"); !strings.Contains(out, "running, paused") {
		t.Errorf("berth status does not tell that it is paused:\n%s", out)
	}
	d.ok("pause", "web") // twice is no error
	if _, stderr, code := d.berth("exec", "web", "/bin/true"); code == 0 || !strings.Contains(stderr, "paused") {
		t.Errorf("exec in a paused unit exits with %d: %s", code, stderr)
	}
	d.ok("daemon-reexec")
	if st := d.status("web"); !st.Paused {
		t.Error("with the new supervisor it is not paused any more")
	}
	d.ok("kill", "-s", "USR1", "web")
	// What was on its way is in the log when that of another unit's next look is.
	frozen := beats()
	d.ok("restart", "again")
	if now := beats(); now != frozen || strings.Contains(strings.Join(d.logs("web"), "\n"), "told") {
		t.Errorf("a paused unit has beaten %d times, and then %d", frozen, now)
	}
	d.ok("resume", "web")
	if st := d.status("web"); st.Paused {
		t.Error("after resume it is paused")
	}
	d.eventually("it beats on and has got the signal", func() bool {
		return beats() > frozen && strings.Contains(strings.Join(d.logs("web"), "\n"), "told")
	})
	d.ok("resume", "web")

	// A stop lets it end by itself.
	d.ok("pause", "web")
	began := time.Now()
	d.ok("stop", "web")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the stop of a paused unit took %v", took)
	}
	d.eventually("it has ended by itself", func() bool { return strings.Contains(strings.Join(d.logs("web"), "\n"), "ended") })

	// And one that is killed is restarted as any other.
	before := d.status("again").MainPID
	d.ok("pause", "again")
	d.ok("kill", "-s", "KILL", "again")
	d.eventually("it is restarted", func() bool {
		st := d.status("again")
		return st.Phase == core.Running && st.MainPID != before && !st.Paused
	})
	for _, verb := range []string{"pause", "resume"} {
		if _, stderr, code := d.berth(verb, "down"); code != 3 || !strings.Contains(stderr, "not running") {
			t.Errorf("%s of a unit that does not run exits with %d: %s", verb, code, stderr)
		}
		if _, stderr, code := d.berth(verb, "nothing"); code != 4 {
			t.Errorf("%s of no unit exits with %d: %s", verb, code, stderr)
		}
	}
}

// TestNsinitStats gives statistics in the shape that nsinit prints.
func TestNsinitStats(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh(sleeper, "[cgroup]\npids-max = 77"), "other.toml": sh(sleeper, "[namespaces]\nnetwork = 'host'")})
	d.wait("web", core.Running)
	d.wait("other", core.Running)
	var c nsinit.Container
	out := d.ok("stats", "-o", "nsinit", "web")
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if c.Cgroup.CPU.Usage.Total == 0 || c.Cgroup.Pids.Current == 0 || c.Cgroup.Pids.Limit != 77 || c.Cgroup.Memory.Usage.Usage == 0 {
		t.Errorf("the figures are\n%s", out)
	}
	for _, key := range []string{`"interfaces"`, `"cgroup_stats"`, `"cpu_stats"`, `"usage_in_kernelmode"`, `"memory_stats"`, `"pids_stats"`, `"blkio_stats"`, `"hugetlb_stats"`} {
		if !strings.Contains(out, key) {
			t.Errorf("%s is not in\n%s", key, out)
		}
	}
	var all map[string]*nsinit.Container
	if err := json.Unmarshal([]byte(d.ok("stats", "-o", "nsinit")), &all); err != nil || all["web"] == nil || all["other"] == nil {
		t.Errorf("all units: %v, %v", all, err)
	} else if n := len(all["other"].Interfaces); n != 0 {
		t.Errorf("a unit in the host's network has %d interfaces of its own", n)
	}
	if _, stderr, code := d.berth("list", "-o", "nsinit"); code != 2 {
		t.Errorf("list -o nsinit exits with %d: %s", code, stderr)
	}
}
