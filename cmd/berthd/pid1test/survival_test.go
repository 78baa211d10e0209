package pid1test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"berth/isolate/vmtest"
)

// service is a unit that counts, so that a gap would be seen.
const service = `[service]
command = ["/bin/sh", "-c", "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.2; done"]
[rootfs]
host = true
`

// role gives the pid of berthd's process in that role; 0: there is none.
func role(g *vmtest.Guest, name string) int {
	out, _, err := g.Exec("/bin/sh", "-c", `for p in $(cat /proc/1/task/*/children); do
	tr '\0' ' ' </proc/$p/cmdline | grep -q -e '--role=`+name+`' && grep -q "^NSpid:[[:space:]]*$p$" /proc/$p/status && echo $p && exit; done`)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(out))
	return pid
}

// lives gives the pid, the start time and the restarts of each service's main
// process.
func lives(g *vmtest.Guest, units []string) string {
	var b strings.Builder
	for _, u := range units {
		var list []struct {
			PID      int `json:"main_pid"`
			Restarts int `json:"restarts"`
		}
		g.Eventually(u+" has a status", func() bool {
			out, status, err := g.Exec("berth", "status", "-o", "json", u)
			return err == nil && status == 0 && json.Unmarshal([]byte(out), &list) == nil && len(list) == 1 && list[0].PID > 0
		})
		began := g.Shell(fmt.Sprintf("cut -d' ' -f22 /proc/%d/stat", list[0].PID))
		fmt.Fprintf(&b, "%s: pid %d, %d restarts, began at %s", u, list[0].PID, list[0].Restarts, began)
	}
	return b.String()
}

// TestHardwareWatchdog has a machine with the kernel's watchdog in software. It
// is fed over the end of the supervisor, can be switched off and on, and resets
// the machine when nobody feeds it.
func TestHardwareWatchdog(t *testing.T) {
	settings := func(supervisor, hardware string) string {
		return "[daemon]\nsupervisor-watchdog = '" + supervisor + "'\nhardware-watchdog = '" + hardware + "'\n"
	}
	g := vmtest.Boot(t, vmtest.System{
		Modules: []string{"softdog"}, Reboots: true,
		Files: []vmtest.File{
			vmtest.Text("etc/berth/berthd.toml", settings("60s", "14500ms"), 0o600),
			vmtest.Text(vmtest.Units+"/a.toml", service, 0o644),
		},
	})
	g.Up()
	logged := func(text string) {
		t.Helper()
		g.Eventually("the log says "+text, func() bool {
			out, _, err := g.Exec("cat", "/var/lib/berth/berthd.log")
			return err == nil && strings.Contains(out, text)
		})
	}
	logged(`"timeout": "15s", "asked for": "14.5s", "watchdog": "Software Watchdog"`)
	before := lives(g, []string{"a"})
	t.Log(before)
	uptime := func() float64 {
		up, _ := strconv.ParseFloat(strings.Fields(g.Read("/proc/uptime"))[0], 64)
		return up
	}
	for range 2 {
		old := role(g, "supervisor")
		g.Kill(old, syscall.SIGKILL)
		g.Eventually("another supervisor has it", func() bool {
			now := role(g, "supervisor")
			if now == 0 || now == old {
				return false
			}
			out, _, err := g.Exec("/bin/sh", "-c", fmt.Sprintf("ls -l /proc/%d/fd", now))
			return err == nil && strings.Contains(out, "/dev/watchdog0")
		})
	}
	began := uptime()
	g.Eventually("the timeout is over", func() bool { return uptime() > began+16 })
	if now := lives(g, []string{"a"}); now != before {
		t.Errorf("the service is\n%swas\n%s", now, before)
	}

	g.Write("/etc/berth/berthd.toml", settings("", ""))
	g.Run("berth", "reload")
	logged("the machine's watchdog is stopped")
	if out := g.Shell("ls -l /proc/1/fd"); strings.Contains(out, "watchdog") {
		t.Errorf("PID 1 still has it:\n%s", out)
	}
	g.Write("/etc/berth/berthd.toml", settings("", "5s"))
	g.Run("berth", "reload")
	logged(`"timeout": "5s"`)
	if strings.Contains(g.Console(), "watchdog did not stop") {
		t.Error("it was not stopped the magic way")
	}
	reset := func(how string, by func()) {
		t.Helper()
		said := len(g.Console())
		g.Rebooted(by)
		if !strings.Contains(g.Console()[said:], "softdog: Initiating system reboot") {
			t.Errorf("%s: it was not the watchdog that reset the machine", how)
		}
	}
	reset("a supervisor that hangs", func() { g.Kill(role(g, "supervisor"), syscall.SIGSTOP) })
	// This boot has the settings of the beginning.
	logged(`"watchdog": "Software Watchdog"`)
	reset("a crash loop", func() {
		go g.Exec("/bin/sh", "-c", `while :; do for p in $(pidof berthd); do [ $p != 1 ] && kill -9 $p; done; sleep 0.2; done`)
	})
	g.Quit()
}
