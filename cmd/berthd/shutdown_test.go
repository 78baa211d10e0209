package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// Beside another init berthd switches nothing off, and says whose business it is.
func TestShutdownOfServiceRefused(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh("exec sleep 1000")})
	d.wait("web", core.Running)
	for _, action := range []string{"poweroff", "reboot", "halt", "kexec", "soft-reboot"} {
		out, errs, code := d.berth(action)
		if code != 1 || out != "" || !strings.Contains(errs, "not PID 1") || !strings.Contains(errs, "systemctl "+action) {
			t.Errorf("berth %s: exit code %d\n%s%s", action, code, out, errs)
		}
	}
	if _, err := d.api.Shutdown(context.Background(), api.Shutdown{Action: "explode"}); err == nil || !strings.Contains(err.Error(), `no action "explode"`) {
		t.Errorf("an action that there is not: %v", err)
	}
	if d.status("web").Phase != core.Running {
		t.Error("a refused shutdown has stopped the unit")
	}
}

// The end of the exit unit is the daemon's, with its exit code; what else runs is
// stopped in order first.
func TestExitUnit(t *testing.T) {
	for _, c := range []struct {
		name, script string
		code         int
	}{
		{"exit code", "exit 7", 7},
		{"success", "exit 0", 0},
		{"signal", "exec sleep 1000", 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			settings := filepath.Join(dir, "berthd.toml")
			if err := os.WriteFile(settings, []byte("[daemon]\nexit-unit = \"job\"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			shared := []string{"[[mount]]", "source = '" + dir + "'", "target = '/run/shared'"}
			d := start(t, map[string]string{
				"job.toml": sh("until [ -e /run/shared/go ]; do sleep 0.05; done; "+c.script,
					append(shared, "[restart]", "policy = 'never'", "[unit]", "after = ['other']")...),
				"other.toml": sh("trap 'echo yes > /run/shared/stopped; exit 0' TERM; while :; do sleep 0.05; done", shared...),
			}, "--config", settings)
			d.wait("job", core.Running)
			d.wait("other", core.Running)
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.name == "signal" {
				d.ok("kill", "--signal", "KILL", "job")
			}
			select {
			case <-d.ended:
			case <-time.After(patience):
				t.Fatalf("berthd goes on without its unit\n%s", d.log)
			}
			if got := d.cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			if _, err := os.Stat(filepath.Join(dir, "stopped")); err != nil {
				t.Errorf("the other unit was not stopped in order: %v", err)
			}
		})
	}
}
