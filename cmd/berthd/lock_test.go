package main

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// TestSecondDaemon starts a berthd on what another one uses, one thing at a
// time: it has to go, and the first does not notice.
func TestSecondDaemon(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh(sleeper)})
	pid := d.wait("web", core.Running).MainPID
	other := t.TempDir()
	own := map[string]string{
		"--config": filepath.Join(other, "berthd.toml"), "--units": d.units, "--slice": "other-" + d.cgroup,
		"--runtime-dir": filepath.Join(other, "run"), "--state-dir": filepath.Join(other, "state"),
	}
	for _, test := range []struct{ flag, value, want string }{
		{"--runtime-dir", filepath.Join(d.dir, "run"), "(pid " + strconv.Itoa(d.cmd.Process.Pid) + ")"},
		{"--state-dir", filepath.Join(d.dir, "state"), "state directory"},
		{"--slice", d.cgroup, "control group"},
	} {
		var args []string
		for flag, value := range own {
			if flag == test.flag {
				value = test.value
			}
			args = append(args, flag, value)
		}
		var text bytes.Buffer
		cmd := exec.Command(binary(t, "berthd"), args...)
		cmd.Stdout, cmd.Stderr = &text, &text
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: a second berthd ended with %v", test.flag, err)
		}
		if !strings.Contains(text.String(), "another berthd") || !strings.Contains(text.String(), test.want) {
			t.Errorf("%s: it says\n%s", test.flag, text.String())
		}
	}
	if st := d.status("web"); st.MainPID != pid || st.Phase != core.Running {
		t.Errorf("web of the first daemon is %s with pid %d, had %d", st.Phase, st.MainPID, pid)
	}
	d.ok("restart", "web")
}
