package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// TestProcessThatCannotBeKilled stops a unit whose process does not end by SIGKILL:
// here it is frozen in a v1 group of the test's, as one in uninterruptible sleep
// would be. Who asks is told, nothing is started beside it, other units go on, and
// when it ends after all the unit is as any other.
func TestProcessThatCannotBeKilled(t *testing.T) {
	needRoot(t)
	ice := fmt.Sprintf("/sys/fs/cgroup/freezer/berthd-test-ice-%d", os.Getpid())
	if err := os.Mkdir(ice, 0o755); err != nil {
		skip(t, "no v1 freezer: "+err.Error())
	}
	state := func(s string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(ice, "freezer.state"), []byte(s), 0); err != nil {
			t.Error(err)
		}
	}
	nothingLeft(t)
	defer func() {
		state("THAWED")
		for deadline := time.Now().Add(patience); os.Remove(ice) != nil; time.Sleep(time.Millisecond) { // until it is empty
			if time.Now().After(deadline) {
				t.Errorf("%s is not empty", ice)
				return
			}
		}
	}()
	d := start(t, map[string]string{
		"db.toml":    sh("exec sleep 300", "[stop]\ntimeout = '100ms'"),
		"web.toml":   sh("exec sleep 300", "[unit]\nrequires = ['db']\nafter = ['db']\n[stop]\ntimeout = '100ms'"),
		"other.toml": sh("exec sleep 300"),
	})
	pid := d.wait("web", core.Running).MainPID
	if err := os.WriteFile(filepath.Join(ice, "cgroup.procs"), []byte(fmt.Sprint(pid)), 0); err != nil {
		t.Fatal(err)
	}
	state("FROZEN")
	defer state("THAWED")
	told := fmt.Sprintf("were killed and do not end: %d (sleep, ", pid)
	for _, c := range []struct{ verb, unit, want string }{ // what is asked for last is to be
		{"stop", "db", "it waits for web: its processes " + told}, {"restart", "web", told},
	} {
		if _, errs, code := d.berth(c.verb, c.unit); code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s %s: exit code %d, %s", c.verb, c.unit, code, errs)
		}
	}
	if st := d.status("web"); st.MainPID != pid || st.Phase != core.Stopping {
		t.Errorf("web is %s, process %d", st.Phase, st.MainPID)
	}
	d.ok("restart", "other")
	state("THAWED")
	if again := d.wait("web", core.Running).MainPID; again == pid {
		t.Error("web is still the old one")
	}
	d.ok("stop", "web")
	d.ok("stop", "db")
}
