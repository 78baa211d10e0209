package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/supervisor/core"
)

// TestNameReserved refuses a unit whose group would be the daemon's own.
func TestNameReserved(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh(sleeper)})
	d.wait("web", core.Running)
	d.write("berthd.toml", sh(sleeper))
	out, errs, code := d.berth("check", d.units)
	if code != 5 || !strings.Contains(out+errs, "daemon's own name") || !strings.Contains(out+errs, "C001") {
		t.Errorf("berth check: exit code %d\n%s%s", code, out, errs)
	}
	if out := d.ok("explain", "C001"); !strings.Contains(out, "unit name") {
		t.Errorf("berth explain C001: %s", out)
	}
	d.remove("berthd.toml")
	d.write("web.toml", "[unit]\nafter = ['berthd']\n"+sh(sleeper))
	out, errs, code = d.berth("check", d.units)
	if code != 5 || !strings.Contains(out+errs, "daemon's own name") {
		t.Errorf("berth check of a unit that names it: exit code %d\n%s%s", code, out, errs)
	}
}

// hog is a shell function that takes 128 MiB of memory in a child of the shell.
const hog = `hog() { head -c 134217728 /dev/zero | tail -c 134217728 >/dev/null; }; `

// TestOOM has a child of the main process killed by the kernel. With oom-group
// that ends all of the unit, without it the main process goes on.
func TestOOM(t *testing.T) {
	once := "[restart]\npolicy = 'never'"
	d := start(t, map[string]string{
		"alone.toml": sh(hog+`hog; echo survived; `+sleeper, once, "[cgroup]\nmemory-max = '32M'\nmemory-swap-max = '0'"),
		"all.toml":   sh(`sleep 1000 & `+hog+`hog; echo survived; `+sleeper, once, "[cgroup]\nmemory-max = '32M'\nmemory-swap-max = '0'\noom-group = true"),
		"main.toml": sh(`x=$(head -c 134217728 /dev/zero | tr '\0' a); echo survived`, "[restart]\npolicy = 'on-failure'\ndelay = '50ms'\nlimit = { burst = 2, within = '1m' }",
			"[cgroup]\nmemory-max = '32M'\nmemory-swap-max = '0'"),
		"other.toml": sh(sleeper),
	})
	other := d.wait("other", core.Running).MainPID
	st := d.wait("all", core.Failed)
	if st.LastExit == nil || !st.LastExit.OOM || !strings.Contains(st.Reason, "out of memory") {
		t.Errorf("all: the last exit is %+v, the reason %q", st.LastExit, st.Reason)
	}
	d.eventually("alone outlives the kill of its child", func() bool {
		return strings.Contains(strings.Join(d.logs("alone"), "\n"), "survived")
	})
	if st := d.status("alone"); st.Phase != core.Running {
		t.Errorf("alone is %s (%s)", st.Phase, st.Reason)
	}
	st = d.wait("main", core.Failed)
	if st.Restarts != 2 || st.LastExit == nil || !st.LastExit.OOM {
		t.Errorf("main: %d restarts, last exit %+v", st.Restarts, st.LastExit)
	}
	if out, _, code := d.berth("status", "main"); code != 3 || !strings.Contains(out, "out of memory") {
		t.Errorf("berth status main: exit code %d\n%s", code, out)
	}
	if got := d.status("other").MainPID; got != other {
		t.Errorf("other has pid %d, had %d", got, other)
	}
}

// groupsOf lists the directories of the daemon's units' groups in all hierarchies.
func (d *daemon) groupsOf(unit string) []string {
	d.t.Helper()
	var out []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == unit+".service" && filepath.Base(filepath.Dir(path)) == d.cgroup {
			out = append(out, path)
		}
		return nil // a group that went away meanwhile
	})
	return out
}

// TestGroupsGoAndCome looks at a unit's groups while it runs and after it.
func TestGroupsGoAndCome(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh("sleep 1000 & " + sleeper)})
	st := d.wait("web", core.Running)
	groups := d.groupsOf("web")
	if len(groups) == 0 {
		t.Fatal("there is no group")
	}
	d.eventually("both processes are shown", func() bool { st = d.status("web"); return len(st.Processes) == 2 },
		func() string { return fmt.Sprint(st.Processes) })
	for _, group := range groups {
		if text := readFile(t, filepath.Join(group, "cgroup.procs")); len(strings.Fields(text)) != 2 {
			t.Errorf("%s holds the processes %q", group, text)
		}
	}
	d.ok("stop", "web")
	if groups := d.groupsOf("web"); len(groups) > 0 {
		t.Errorf("after the stop there are %v", groups)
	}
	for _, p := range st.Processes {
		if alive(p.PID) {
			t.Errorf("after the stop process %d (%s) is there", p.PID, p.Command)
		}
	}
}
