package pid1test

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// gettyUnit is that of docs/howto.md.
const gettyUnit = `[unit]
description = "login on the serial console"

[service]
command = [
  "/bin/nsenter", "--target=1", "--mount",
  "/bin/sh", "-c", "echo 0 >/sys/fs/cgroup/cgroup.procs && exec /bin/getty 0 -",
]
terminal = "/dev/ttyS0"

[restart]
policy = "always"
delay = "100ms"

[stop]
signal = "HUP"
timeout = "2s"

[rootfs]
host = true

[namespaces]
pid = "host"
network = "host"
uts = "host"
ipc = "host"
cgroup = "host"

[capabilities]
keep = [
  "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE",
  "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN",
  "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID",
  "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT",
  "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
]

[security]
no-new-privileges = false
seccomp = "unconfined"
`

// TestGetty logs in on the serial console, as a person would, and looks whether
// what is typed there does what it should.
func TestGetty(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{
		Cmdline: "quiet",
		Files: []vmtest.File{
			vmtest.Text("etc/shadow", "root:"+rootPassword+":1::::::\n", 0o600),
			vmtest.Text("etc/issue", "berth on \\l\n", 0o644),
			vmtest.Text(vmtest.Units+"/getty.toml", gettyUnit, 0o644),
		},
	})
	login := func() {
		t.Helper()
		g.WaitConsole(`login: `, 3*time.Minute)
		g.Type("root\n")
		g.WaitConsole(`Password: `, 3*time.Minute)
		g.Type("secret\n")
		g.WaitConsole(`# `, 3*time.Minute)
	}
	login()
	g.Type("tty; berth list; echo \"TERM is $TERM, mark $((40+2))\"\n")
	if said := g.WaitConsole(`(?s).*mark 42`, 3*time.Minute)[0]; !strings.Contains(said, "/dev/console\n") && !strings.Contains(said, "/dev/ttyS0\n") || !strings.Contains(said, "TERM is vt220") || !strings.Contains(said, "vm-agent") {
		t.Errorf("the shell says %s", said)
	}
	// Ctrl-C ends the foreground job and nothing else, Ctrl-Z stops it.
	g.WaitConsole(`# `, 3*time.Minute)
	g.Type("sleep 1000\n")
	g.WaitConsole(`sleep 1000`, 3*time.Minute) // the echo of what was typed
	g.Eventually("the sleep runs", func() bool {
		_, status, err := g.Exec("pidof", "sleep")
		return err == nil && status == 0
	})
	g.Type("\x1a")
	g.WaitConsole(`(?s)Stopped.*# `, 3*time.Minute)
	g.Type("fg\n")
	g.WaitConsole(`sleep 1000`, 3*time.Minute)
	// The shell gives it the terminal first, and then has it go on.
	g.Eventually("the sleep goes on", func() bool {
		_, status, err := g.Exec("sh", "-c", "grep -q '^State:.[SR]' /proc/$(pidof sleep)/status")
		return err == nil && status == 0
	})
	g.Type("\x03")
	g.WaitConsole(`# `, 3*time.Minute)
	g.Eventually("the sleep ends", func() bool {
		_, status, err := g.Exec("pidof", "sleep")
		return err == nil && status != 0
	})
	g.Up()
	// The end of the shell is that of the unit's process; a new login follows.
	first := mainPID(t, g, "getty")
	g.Type("exit\n")
	g.WaitConsole(`login: `, 3*time.Minute)
	g.Eventually("another getty runs", func() bool { now := mainPID(t, g, "getty"); return now != "" && now != first })
	// A restart hangs up who is logged in.
	g.Type("root\n")
	g.WaitConsole(`Password: `, 3*time.Minute)
	g.Type("secret\n")
	g.WaitConsole(`# `, 3*time.Minute)
	g.Run("berth", "restart", "getty")
	login()
	g.Kill(1, syscall.Signal(34+4))
	g.Ended(3 * time.Minute)
}

func mainPID(t *testing.T, g *vmtest.Guest, unit string) string {
	t.Helper()
	m := regexp.MustCompile(`Main PID:? +([0-9]+)`).FindStringSubmatch(g.Run("berth", "status", unit))
	if m == nil {
		return ""
	}
	return m[1]
}
