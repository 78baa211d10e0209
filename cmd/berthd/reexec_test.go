package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/core"
)

// TestReexec replaces the daemon under running units by berth daemon-reexec.
func TestReexec(t *testing.T) {
	files := map[string]string{}
	for i := range 5 {
		files[fmt.Sprintf("counter%d.toml", i)] = sh(`n=0; while :; do echo line $n; n=$((n+1)); sleep 0.01; done`)
	}
	d := start(t, files)
	for name := range files {
		d.wait(strings.TrimSuffix(name, ".toml"), core.Running)
	}
	pids := d.pids()
	before, err := d.api.Daemon(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		was := d.child("supervisor")
		d.ok("daemon-reexec")
		if now := d.child("supervisor"); now == was {
			t.Errorf("daemon-reexec left supervisor %d in place", was)
		}
		if d.cmd.Process.Pid != before.ReaperPID {
			t.Errorf("the reaper is %d, was %d", d.cmd.Process.Pid, before.ReaperPID)
		}
	}
	for name, pid := range pids {
		st := d.status(name)
		if st.MainPID != pid || st.Restarts != 0 || st.Phase != core.Running {
			t.Errorf("%s: pid %d, was %d; %d restarts, %s", name, st.MainPID, pid, st.Restarts, st.Phase)
		}
		// Logs go on, without a gap.
		lines := len(d.logs(name))
		d.eventually(name+" goes on logging", func() bool { return len(d.logs(name)) > lines+10 })
		for i, line := range d.logs(name) {
			if line != "line "+strconv.Itoa(i) {
				t.Errorf("%s: line %d is %q", name, i, line)
				break
			}
		}
	}
	// An end is still noticed, and so are files.
	if err := syscall.Kill(pids["counter0"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.renewed("counter0", pids["counter0"])
	if st := d.status("counter0"); st.Restarts != 1 {
		t.Errorf("counter0: %d restarts", st.Restarts)
	}
	d.change(func() { d.write("new.toml", sh(sleeper)) })
	d.wait("new", core.Running)
	if out, errs, code := d.berth("exec", "new", "--", "/bin/echo", "hello"); code != 0 || out != "hello\n" {
		t.Errorf("berth exec after it: exit code %d, %q %q", code, out, errs)
	}
}

// TestReaperKilled takes the reaper itself away. Supervisor and launcher end,
// and a new daemon clears what is left and starts its units anew.
func TestReaperKilled(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":  sh("sleep 1000 & " + sleeper),
		"db.toml":   sh("trap '' TERM; sleep 1000 & wait", "[stop]\ntimeout = '300ms'"),
		"gone.toml": sh(sleeper),
	})
	old := map[string]int{}
	for _, name := range []string{"web", "db", "gone"} {
		old[name] = d.wait(name, core.Running).MainPID
	}
	processes := d.status("web").Processes
	supervisor, launcher := d.child("supervisor"), d.child("launcher")
	if supervisor == 0 || launcher == 0 {
		t.Fatalf("supervisor %d, launcher %d", supervisor, launcher)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	for _, pid := range []int{supervisor, launcher} {
		d.eventually("the reaper's children end", func() bool { return gone(pid) })
	}
	d.remove("gone.toml")

	again := &daemon{t: t, dir: d.dir, units: d.units, cgroup: d.cgroup}
	again.fresh()
	again.run()
	for _, name := range []string{"web", "db"} {
		if pid := again.wait(name, core.Running).MainPID; pid == old[name] {
			t.Errorf("%s still has pid %d", name, pid)
		}
	}
	for name, pid := range old {
		again.eventually("the old process of "+name+" is gone", func() bool { return gone(pid) })
	}
	for _, p := range processes {
		again.eventually(fmt.Sprintf("process %d (%s) of the old web is gone", p.PID, p.Command), func() bool { return gone(p.PID) })
	}
	again.eventually("the group of a unit that is no more is gone", func() bool { return len(again.groupsOf("gone")) == 0 })
	again.stop()
}

// gone tells whether a process has ended: it is not there, or nobody has waited
// for it yet (the killed reaper's children are the machine's init's).
func gone(pid int) bool {
	state := state(pid)
	return state == 0 || state == 'Z'
}

// state gives a process's state letter of proc_pid_stat(5), 0 if there is none.
func state(pid int) byte {
	text := readFileOr(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(text, ") ")
	if !ok || rest == "" {
		return 0
	}
	return rest[0]
}
