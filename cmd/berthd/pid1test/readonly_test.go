package pid1test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// TestReadOnlyRoot boots on a root that cannot be written, with one unit as the
// target, and sends the signals that do not end anything.
func TestReadOnlyRoot(t *testing.T) {
	unit := func(text string) string {
		return "[service]\n" + text + "\n[rootfs]\nhost = true\n[stop]\ntimeout = '1s'\n"
	}
	g := vmtest.Boot(t, vmtest.System{
		Cmdline: "berth.target=wanted berth.units=/etc/berth/units,/srv/units",
		// The small init of the harness comes first, and makes the root read-only.
		Files: []vmtest.File{
			vmtest.Text("etc/machine-id", "uninitialized\n", 0o644),
			vmtest.Directory("srv/units", 0o755),
			vmtest.Text("srv/units/wanted.toml", "[unit]\nrequires = ['needed', 'vm-agent']\n"+unit("command = ['/bin/sleep', '100000']"), 0o644),
			vmtest.Text("srv/units/needed.toml", unit("command = ['/bin/sleep', '100000']"), 0o644),
			vmtest.Text("srv/units/other.toml", unit("command = ['/bin/sleep', '100000']"), 0o644),
			vmtest.Text("etc/fstab", "none / none ro,remount 0 0\n", 0o644),
		},
	})
	g.Up()
	if _, status, err := g.Exec("touch", "/etc/written"); err != nil || status == 0 {
		t.Fatalf("the root can be written (%v)", err)
	}
	list := g.Run("berth", "list")
	for name, state := range map[string]string{"wanted": "running", "needed": "running", "other": "inactive"} {
		if !strings.Contains(list, "\n"+name) || !strings.Contains(list[strings.Index(list, "\n"+name):], state) {
			t.Errorf("%s is not %s:\n%s", name, state, list)
		}
	}
	if id := strings.TrimSpace(g.Read("/etc/machine-id")); len(id) != 32 || id != strings.TrimSpace(g.Read("/run/machine-id")) {
		t.Errorf("the machine ID is %q", id)
	}
	const log = "/run/berth/state/berthd.log"
	text := g.Read(log)
	for _, want := range []string{"the state directory /var/lib/berth cannot be written", "by berth.target", "INFO  taking up a new generation"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	// What came before there was a file is in the kernel's log too.
	if kernel := g.Run("dmesg"); !strings.Contains(kernel, "cannot be written") || strings.Contains(kernel, "taking up a new generation") {
		t.Errorf("the kernel's log:\n%s", kernel)
	}

	pid := strings.TrimSpace(g.Run("pidof", "sleep"))
	g.Run("mv", log, log+".moved")
	g.Kill(1, syscall.SIGUSR1)
	g.Kill(1, syscall.SIGUSR2)
	g.Eventually("the state is in a new log", func() bool {
		text, status, err := g.Exec("cat", log)
		return err == nil && status == 0 && strings.Contains(text, `"unit": "needed"`)
	})
	g.Kill(1, syscall.Signal(34+22))
	g.Eventually("a signal without effect is told at the level debug", func() bool {
		g.Kill(1, syscall.SIGWINCH) // one that waits beside the other comes before it: signal(7)
		return strings.Contains(g.Read(log), `ignored a signal  {"signal": "SIGWINCH"}`)
	})
	g.Kill(1, syscall.SIGTERM)
	g.Eventually("another supervisor runs", func() bool {
		out, status, err := g.Exec("berth", "status")
		return err == nil && status == 0 && strings.Contains(out, "number 2")
	}, func() string { out, _, _ := g.Exec("berth", "status"); return out + g.Read(log) })
	if now := strings.TrimSpace(g.Run("pidof", "sleep")); now != pid {
		t.Errorf("SIGTERM has touched the units: %s before, %s now", pid, now)
	}
	if text := g.Read(log); strings.Count(text, "by berth.target") != 0 {
		t.Errorf("the second supervisor has booted again:\n%s", text)
	}
	// An emergency shell that a signal asks for is beside everything that runs.
	g.Kill(1, syscall.Signal(34+2))
	g.WaitConsole(`emergency \*\*\*`, 3*time.Minute)
	g.WaitConsole(`startup\):`, 3*time.Minute)
	if now := strings.TrimSpace(g.Run("pidof", "sleep")); now != pid {
		t.Errorf("the emergency shell has touched the units: %s before, %s now", pid, now)
	}
	g.Type("\x04")
	g.Eventually("the emergency shell ends", func() bool {
		_, status, err := g.Exec("pidof", "sulogin")
		return err == nil && status != 0
	})
	// After a soft reboot the duties are done again.
	record := g.Read("/run/berth/boot.json")
	g.Rebooted(func() { g.Run("berth", "soft-reboot", "--no-wait") })
	if now := g.Read("/run/berth/boot.json"); now == record || !strings.Contains(now, `"done":true`) {
		t.Errorf("the record after a soft reboot:\n%s", now)
	}
	g.Kill(1, syscall.Signal(34+14))
	g.Ended(3 * time.Minute)
}

// TestRebootFromEmergency: ctrl-alt-del works while the boot waits for a person.
func TestRebootFromEmergency(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{Cmdline: "berth.emergency"})
	g.WaitConsole(`\(berth\.emergency\)`, 3*time.Minute)
	g.CtrlAltDel()
	g.WaitConsole(`reboot`, 3*time.Minute)
	g.Ended(3 * time.Minute)
}
