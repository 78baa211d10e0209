package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/core"
)

// TestLauncherHangs stops the launcher, so that it answers nothing. A start that
// has time waits for another launcher; one that has not fails, and the next is
// made by another launcher too.
func TestLauncherHangs(t *testing.T) {
	late := "[unit]\nstart = 'demand'\n"
	d := start(t, map[string]string{
		"web.toml":     sh("exec sleep 1000"),
		"patient.toml": sh("exec sleep 1000", late),
		"hasty.toml":   strings.Replace(sh("exec sleep 1000", late, "[restart]\npolicy = 'never'"), "[service]\n", "[service]\nstart-timeout = '1s'\n", 1),
	})
	web := d.wait("web", core.Running)
	hang := func() int {
		pid := 0
		d.eventually("there is a launcher", func() bool { pid = d.child("launcher"); return pid != 0 })
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	replaced := func(pid int) {
		t.Helper()
		d.eventually("another launcher is there", func() bool { now := d.child("launcher"); return now != 0 && now != pid })
	}
	pid := hang()
	d.ok("start", "patient")
	d.wait("patient", core.Running)
	replaced(pid)

	pid = hang()
	if _, errs, code := d.berth("start", "hasty"); code == 0 || !strings.Contains(errs, "did not start within 1s") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	replaced(pid)
	d.ok("start", "hasty")
	if st := d.wait("hasty", core.Running); st.Restarts != 0 {
		t.Errorf("%d restarts", st.Restarts)
	}
	if st := d.status("web"); st.MainPID != web.MainPID || st.Restarts != 0 {
		t.Errorf("web: %+v", st)
	}
	if !strings.Contains(d.log.String(), "the launcher hangs") {
		t.Error("the log does not tell")
	}
}

// TestSupervisorHangs stops the supervisor. The reaper ends it and starts
// another; units do not notice. The limit is one that was set while it ran.
func TestSupervisorHangs(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":    sh("exec sleep 1000"),
		"mortal.toml": sh("exec sleep 1000", "[restart]\npolicy = 'always'\ndelay = '10ms'"),
	})
	web, mortal := d.wait("web", core.Running), d.wait("mortal", core.Running)
	if err := os.WriteFile(filepath.Join(d.dir, "berthd.toml"), []byte("[daemon]\nsupervisor-watchdog = '3s'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.ok("reload")
	before, err := d.api.Daemon(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// It has told of the new limit when it answers a request made after it.
	d.ok("list")
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(mortal.MainPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("another supervisor answers", func() bool {
		now, err := d.api.Daemon(context.Background())
		return err == nil && now.PID != before.PID
	})
	if st := d.status("web"); st.MainPID != web.MainPID || st.Restarts != 0 || !st.Since.Equal(web.Since) {
		t.Errorf("web: %+v, was %+v", st, web)
	}
	d.eventually("the end that nobody was there for is noticed", func() bool {
		st := d.status("mortal")
		return st.Phase == core.Running && st.Restarts == 1
	})
	if log := d.log.String(); !strings.Contains(log, "SIGABRT: abort") || !strings.Contains(log, "supervisor.(*Supervisor).loop") {
		t.Error("the log does not tell what it hung on")
	}
}
