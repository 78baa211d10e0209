package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

const (
	memoryUnits = 100
	memoryBound = 20.0 // MB, of all three processes
)

// pss gives a process's proportional set size in MB (proc_pid_smaps(5)).
func pss(t testing.TB, pid int) float64 {
	t.Helper()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/smaps_rollup", pid))) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kb) * 1024 / 1e6
		}
	}
	t.Fatal("no Pss in smaps_rollup")
	return 0
}

// footprint is the memory of a daemon's processes in MB.
type footprint struct{ reaper, supervisor, launcher float64 }

func (f footprint) sum() float64 { return f.reaper + f.supervisor + f.launcher }

func (d *daemon) footprint() footprint {
	d.t.Helper()
	return footprint{pss(d.t, d.cmd.Process.Pid), pss(d.t, d.child("supervisor")), pss(d.t, d.child("launcher"))}
}

// hundred starts a berthd with 100 units and waits until all run.
func hundred(t testing.TB) (*daemon, time.Duration) {
	files := map[string]string{}
	for i := range memoryUnits {
		files[fmt.Sprintf("unit%d.toml", i)] = "[service]\ncommand = ['/bin/sleep', '1000']\n[rootfs]\nhost = true\n"
	}
	began := time.Now()
	d := start(t, files)
	d.eventually("all units run", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.Units[core.Running] == memoryUnits
	})
	return d, time.Since(began)
}

// settledFootprint waits for the processes to give back what the start took.
func (d *daemon) settledFootprint() footprint {
	d.t.Helper()
	var f footprint
	d.eventually(fmt.Sprintf("all processes together take less than %g MB", memoryBound), func() bool {
		f = d.footprint()
		return f.sum() < memoryBound
	}, func() string { return fmt.Sprintf("%+v", f) })
	return f
}

// TestMemory bounds what the daemon takes with 100 running units. It holds at
// once, or a little later: the daemon gives memory back every now and then.
func TestMemory(t *testing.T) {
	if raceDetector {
		t.Skip("BERTH_RACE: the race detector takes many times the memory")
	}
	d, took := hundred(t)
	t.Logf("%d units run after %s", memoryUnits, took)
	if took > patience/2 {
		t.Errorf("starting %d units took %s", memoryUnits, took)
	}
	at := d.footprint()
	t.Logf("right after the start: %.1f MB (reaper %.1f, supervisor %.1f, launcher %.1f)", at.sum(), at.reaper, at.supervisor, at.launcher)
	f := d.settledFootprint()
	t.Logf("settled: %.1f MB (reaper %.1f, supervisor %.1f, launcher %.1f)", f.sum(), f.reaper, f.supervisor, f.launcher)

	// It does not grow with use.
	for range 20 {
		d.ok("list")
		d.ok("restart", "unit0", "unit1", "unit2")
	}
	f = d.settledFootprint()
	t.Logf("after use: %.1f MB (reaper %.1f, supervisor %.1f, launcher %.1f)", f.sum(), f.reaper, f.supervisor, f.launcher)
}

// BenchmarkMemory100Units reports the memory of the daemon's processes with 100
// running units, once it has settled.
func BenchmarkMemory100Units(b *testing.B) {
	d, took := hundred(b)
	f := d.settledFootprint()
	// What is below the bound may still go down: look until it has been trimmed.
	for deadline := time.Now().Add(25 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		if now := d.footprint(); now.sum() < f.sum() {
			f = now
		}
	}
	d.stop()
	for b.Loop() {
		// The figures are states, not times: one look is enough.
	}
	b.ReportMetric(f.sum(), "MB")
	b.ReportMetric(f.reaper, "reaper-MB")
	b.ReportMetric(f.supervisor, "supervisor-MB")
	b.ReportMetric(f.launcher, "launcher-MB")
	b.ReportMetric(float64(took.Milliseconds()), "start-ms")
}
