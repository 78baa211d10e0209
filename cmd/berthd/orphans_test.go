package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// zombies counts the reaper's children that have ended and were not waited for.
func (d *daemon) zombies() int {
	d.t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	n := 0
	for _, list := range lists {
		for _, field := range strings.Fields(readFileOr(list)) {
			if pid, _ := strconv.Atoi(field); state(pid) == 'Z' {
				n++
			}
		}
	}
	return n
}

// TestOrphans has a service leave 10,000 processes behind, which become the
// reaper's children, while other units are started and stopped.
func TestOrphans(t *testing.T) {
	const orphans = 10000
	d := start(t, map[string]string{
		// Each (true &) is a fork that forks and ends: what it leaves is an orphan.
		"breeder.toml": sh(fmt.Sprintf(`n=0; while [ $n -lt %d ]; do (true &); n=$((n+1)); done; echo bred; `+sleeper, orphans),
			"[namespaces]\npid = 'host'", "[cgroup]\npids-max = 4000"),
		"other.toml": "[unit]\nstart = 'demand'\n" + sh(sleeper),
	})
	d.wait("breeder", core.Running)
	longest := time.Duration(0)
	during, bred := 0, false
	for !bred || during < 3 {
		bred = strings.Contains(strings.Join(d.logs("breeder"), "\n"), "bred")
		began := time.Now()
		d.ok("start", "other")
		d.ok("stop", "other")
		longest = max(longest, time.Since(began))
		during++
	}
	t.Logf("%d starts and stops of another unit meanwhile, the longest took %s", during, longest)
	if longest > 10*time.Second {
		t.Errorf("the start and stop of another unit took %s", longest)
	}
	d.eventually("no zombie is left", func() bool { return d.zombies() == 0 })
	d.eventually("the orphans are counted", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.Orphans >= orphans
	}, func() string { return d.ok("status") })
	if out := d.ok("status"); !strings.Contains(out, "Orphans:") {
		t.Errorf("berth status does not show the orphans:\n%s", out)
	}
	if st := d.status("breeder"); st.Restarts != 0 || st.Phase != core.Running {
		t.Errorf("breeder is %s (%s) with %d restarts", st.Phase, st.Reason, st.Restarts)
	}
}

// TestInit has zombies reaped inside the container by service.init, which also
// passes signals on and gives the program's exit status as its own.
func TestInit(t *testing.T) {
	script := `for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.01 &); done; trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done`
	d := start(t, map[string]string{
		"init.toml": strings.Replace(sh(script, "[restart]\npolicy = 'never'"), "[rootfs]", "init = true\n[rootfs]", 1),
	})
	st := d.wait("init", core.Running)
	d.eventually("its children have been made", func() bool { return strings.Contains(strings.Join(d.logs("init"), " "), "ready") })
	zombies := func() int {
		n := 0
		for _, p := range d.status("init").Processes {
			if state(p.PID) == 'Z' {
				n++
			}
		}
		return n
	}
	d.eventually("no zombie is left in the container", func() bool { return zombies() == 0 })
	// The main process is the init, and the program its child.
	comm := readFile(t, fmt.Sprintf("/proc/%d/comm", st.MainPID))
	if comm == "sh" {
		t.Errorf("the main process is the program itself")
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", st.MainPID)); err == nil && strings.Contains(exe, "berthd") && !strings.Contains(exe, "memfd") {
		t.Errorf("the init's executable is the daemon's file: %s", exe)
	}
	d.ok("kill", "-s", "USR1", "init")
	st = d.wait("init", core.Failed)
	if st.LastExit == nil || st.LastExit.Code != 7 {
		t.Errorf("the last exit is %+v, want status 7", st.LastExit)
	}
}
