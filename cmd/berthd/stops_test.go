package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// stubborn does not act on TERM, and says when it does not.
const stubborn = `trap "" TERM; echo ready; while :; do sleep 0.2; done`

// TestStopTells stops a unit that does not act on the signal, and one that waits
// for it: it is told what is waited for, and at the end what it took.
func TestStopTells(t *testing.T) {
	d := start(t, map[string]string{
		"db.toml":  sh(sleeper),
		"web.toml": "[unit]\nrequires = ['db']\n[stop]\ntimeout = '6s'\n" + sh(stubborn),
	})
	d.wait("web", core.Running)
	d.eventually("web does not act on TERM any more", func() bool { return slices.Contains(d.logs("web"), "ready") })
	r := d.record()
	began := time.Now()
	type answer struct {
		out, errs string
		code      int
	}
	done := make(chan answer, 1)
	go func() {
		out, errs, code := d.berth("stop", "-o", "json", "db")
		done <- answer{out, errs, code}
	}()
	d.eventually("the API tells what is waited for", func() bool {
		list, err := d.api.Stops(context.Background(), []string{"db"})
		return err == nil && len(list) == 2 && slices.Equal(list[0].WaitsFor, []string{"web"}) &&
			list[1].Signal == "TERM" && list[1].Next == "KILL" && list[1].Until.After(began) && len(list[1].Processes) > 0
	}, func() string {
		list, err := d.api.Stops(context.Background(), []string{"db"})
		text, _ := json.Marshal(list)
		return string(text) + " " + errorText(err)
	})
	if out, _, _ := d.berth("status", "web"); !strings.Contains(out, "sent TERM, KILL to all its processes at") {
		t.Errorf("status of web:\n%s", out)
	}
	if out := d.ok("status"); !strings.Contains(out, "until web is down") {
		t.Errorf("status of the daemon:\n%s", out)
	}
	a := <-done
	if a.code != 0 {
		t.Fatalf("exit code %d: %s", a.code, a.errs)
	}
	for _, want := range []string{"waiting for db: until web is down", "waiting for web: sent TERM, KILL to all its processes at", " sh"} {
		if !strings.Contains(a.errs, want) {
			t.Errorf("berth stop does not tell %q:\n%s", want, a.errs)
		}
	}
	var result api.Result
	if err := json.Unmarshal([]byte(a.out), &result); err != nil {
		t.Fatal(err)
	}
	web, db := result.Stopped["web"], result.Stopped["db"]
	if took := web.Ended.Sub(web.Began); !web.Killed || took < 6*time.Second || !web.Empty || web.Signal != "KILL" {
		t.Errorf("the stop of web was %+v", web)
	}
	if db.Killed || !db.Empty || db.Signal != "TERM" || len(db.Left) > 0 {
		t.Errorf("the stop of db was %+v", db)
	}
	if st := d.status("web"); st.Stop != nil || st.LastStop == nil || !st.LastStop.Killed {
		t.Errorf("status of web: %+v %+v", st.Stop, st.LastStop)
	}
	d.eventually("the events tell the steps", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		told := func(text string) bool {
			return slices.ContainsFunc(r.events, func(e api.Event) bool { return e.Unit == "web" && strings.Contains(e.Reason, text) })
		}
		return told("sent TERM; KILL follows at") && told("killed all its processes")
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestStopLeaves stops a unit that leaves a process behind.
func TestStopLeaves(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh("setsid sleep 1000 & echo ready; "+sleeper, "[namespaces]\npid = 'host'")})
	d.wait("web", core.Running)
	d.eventually("both sleep", func() bool {
		list := d.status("web").Processes
		return len(list) == 2 && !slices.ContainsFunc(list, func(p api.Process) bool { return !strings.HasPrefix(p.Command, "sleep") })
	})
	out, errs, code := d.berth("stop", "web")
	if code != 0 || out != "" || !strings.Contains(errs, "left behind and killed:") || !strings.Contains(errs, "sleep; no process is left") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	last := d.status("web").LastStop
	if last == nil || last.Killed || len(last.Left) != 1 || last.Left[0].Name != "sleep" || !last.Empty {
		t.Fatalf("the stop was %+v", last)
	}
	d.eventually("it is reaped", func() bool { return !alive(last.Left[0].PID) })
}

// TestShutdownLimit ends a daemon whose units take longer than that may.
func TestShutdownLimit(t *testing.T) {
	d := startSet(t, "shutdown-timeout = '12s'\n", map[string]string{
		"db.toml":   sh(sleeper),
		"web.toml":  "[unit]\nrequires = ['db']\n[stop]\ntimeout = 'infinity'\n" + sh(stubborn),
		"late.toml": "[stop]\ntimeout = '1s'\n" + strings.Replace(sh(sleeper), "[rootfs]", "post-stop = [['/bin/sleep', '1000']]\n[rootfs]", 1),
	})
	for _, name := range []string{"web", "late"} {
		d.wait(name, core.Running)
	}
	d.eventually("web does not act on TERM any more", func() bool { return slices.Contains(d.logs("web"), "ready") })
	began := time.Now()
	d.stop()
	if took := time.Since(began); took < 12*time.Second || took > 50*time.Second {
		t.Errorf("the daemon ended after %v", took)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{`killing what is left  {"unit": "web"`, `killing what is left  {"unit": "db"`, `{"unit": "late", "hook": "post-stop"`,
		`waiting for the unit to stop  {"unit": "web", "phase": "stopping", "sent": "TERM"`, `"name":"sh"`} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log does not tell %s", want)
		}
	}
}
