package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/core"
)

// journalScript makes a machine with a journald of its own out of a private
// mount namespace, and executes the daemon in it: $1 is the journald, $2 a file
// to tell journald's pid, and the rest the daemon with its arguments.
const journalScript = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log
cat >/run/systemd/journald.conf.d/test.conf <<END
[Journal]
Storage=volatile
RuntimeMaxUse=1G
RuntimeKeepFree=1M
ReadKMsg=no
Audit=no
RateLimitBurst=0
RateLimitIntervalSec=0
END
journald=$1; pidfile=$2; shift 2
"$journald" >/dev/null 2>&1 &
echo $! >"$pidfile"
n=0
while [ ! -S /run/systemd/journal/socket ] || [ ! -S /run/systemd/journal/stdout ]; do
	n=$((n+1)); [ $n -lt 600 ] || { echo "journald does not listen" >&2; exit 1; }
	sleep 0.1
done
exec "$@"
`

const journald = "/lib/systemd/systemd-journald"

// withJournald starts a berthd that has a journald. The journald ends with the test.
func withJournald(t *testing.T, files map[string]string) *daemon {
	t.Helper()
	needRoot(t)
	for _, program := range []string{journald, "/usr/bin/journalctl", "/usr/bin/unshare", "/usr/bin/nsenter"} {
		if _, err := os.Stat(program); err != nil {
			if os.Getenv("BERTH_NO_SKIP") != "" {
				t.Fatal(err)
			}
			t.Skip("needs journald, journalctl, unshare and nsenter: ", err)
		}
	}
	pidfile := filepath.Join(t.TempDir(), "journald.pid")
	t.Cleanup(func() {
		var pid int
		if _, err := fmt.Sscan(readFileOr(pidfile), &pid); err != nil || pid <= 1 {
			return
		}
		// It is the daemon's child, which is gone by now, and its pid its own as
		// long as it runs: the name tells.
		if strings.Contains(readFileOr(fmt.Sprintf("/proc/%d/comm", pid)), "systemd-journal") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	settings := filepath.Join(t.TempDir(), "berthd.toml")
	if err := os.WriteFile(settings, []byte("[daemon]\nlog-target = 'journald'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return startIn(t, []string{"/usr/bin/unshare", "--mount", "/bin/sh", "-c", journalScript, "sh", journald, pidfile}, files, "--config", settings)
}

// journalctl runs journalctl where the daemon is, and gives the messages.
func (d *daemon) journalctl(args ...string) []string {
	d.t.Helper()
	all := append([]string{"--target", fmt.Sprint(d.cmd.Process.Pid), "--mount", "/usr/bin/journalctl", "--no-pager", "--quiet", "-o", "cat"}, args...)
	out, err := exec.Command("/usr/bin/nsenter", all...).Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); !ok || len(exit.Stderr) > 0 {
			d.t.Fatalf("journalctl %v: %v", args, err)
		}
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestJournal has units write to a real journald by both ways.
func TestJournal(t *testing.T) {
	d := withJournald(t, map[string]string{
		"web.toml":    sh("echo to stdout; echo to stderr >&2; " + sleeper),
		"direct.toml": sh("echo straight; echo on >&2; "+sleeper, "[log]\nstream = 'socket'"),
		"brief.toml":  with(sh("echo short life"), "type = 'task'"),
		"user.toml":   with(sh("echo as nobody >/dev/stdout; "+sleeper), "user = 'nobody'"),
		"file.toml":   sh("echo to a file; "+sleeper, "[log]\ntarget = 'file'"),
	})
	for _, name := range []string{"web", "direct", "user", "file"} {
		d.wait(name, core.Running)
	}
	d.wait("brief", core.Completed)
	for name, want := range map[string][]string{
		"web": {"to stdout", "to stderr"}, "direct": {"straight", "on"}, "brief": {"short life"}, "user": {"as nobody"},
	} {
		slices.Sort(want)
		found := func(lines []string) bool {
			n := 0
			for _, line := range want {
				if slices.Contains(lines, line) {
					n++
				}
			}
			return n == len(want)
		}
		d.eventually("journalctl -u "+name+" has its lines", func() bool { return found(d.journalctl("-u", name)) },
			func() string { return strings.Join(d.journalctl(), "\n") })
		d.eventually("berth logs "+name+" has its lines", func() bool { return found(d.logs(name)) },
			func() string { return strings.Join(d.logs(name), "\n") })
		for other, lines := range map[string][]string{"web": {"to stdout"}, "direct": {"straight"}} {
			if other != name && slices.Contains(d.journalctl("-u", name), lines[0]) {
				t.Errorf("journalctl -u %s has a line of %s", name, other)
			}
		}
	}
	// Once each, and in order where it is one stream.
	if got := d.journalctl("-u", "brief", "_COMM=sh"); len(got) > 1 {
		t.Errorf("journalctl has %q of brief", got)
	}
	if fd, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", d.status("direct").MainPID)); err != nil || !strings.HasPrefix(fd, "socket:") {
		t.Errorf("with stream = socket descriptor 1 is %q (%v)", fd, err)
	}
	// What has a target of its own is not in the journal, and read all the same.
	d.eventuallyLogs("file", "to a file")
	if got := d.journalctl("-u", "file"); slices.Contains(got, "to a file") {
		t.Errorf("target = file has lines in the journal: %q", got)
	}
	// The daemon's own log is there too.
	d.eventually("the daemon logs to the journal", func() bool {
		return strings.Contains(strings.Join(d.journalctl("SYSLOG_IDENTIFIER=berthd"), "\n"), "taking up a new generation")
	}, func() string { return strings.Join(d.journalctl(), "\n") + "\n" + d.log.String() })
}

// TestLogFiles writes without a journald: to files in the CRI line format, with
// rotation.
func TestLogFiles(t *testing.T) {
	const lines = 4000
	d := start(t, map[string]string{
		"web.toml": sh(fmt.Sprintf("n=0; while [ $n -lt %d ]; do echo line $n of some length; n=$((n+1)); done; echo last; %s", lines, sleeper),
			"[log]\ntarget = 'file'\nmax-size = '64K'\nkeep = 2\nrate = '0'"),
	})
	d.wait("web", core.Running)
	d.eventually("all lines are there", func() bool { return slices.Contains(d.logs("web"), "last") })
	files, err := filepath.Glob(filepath.Join(d.dir, "state/log/*"))
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob(filepath.Join(d.dir, "state/log/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range append(files, deeper...) {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			all = append(all, path)
			if st.Size() > 70<<10 {
				t.Errorf("%s has %d bytes", path, st.Size())
			}
			first, _, _ := strings.Cut(readFile(t, path), "\n")
			if f := strings.SplitN(first, " ", 4); len(f) != 4 || f[1] != "stdout" && f[1] != "stderr" || f[2] != "F" {
				t.Errorf("%s begins with %q, which is not the CRI line format", path, first)
			}
		}
	}
	if len(all) != 3 {
		t.Errorf("keep = 2 leaves the files %v", all)
	}
	// What was kept is read in order and without a gap, up to the last line. (All
	// of it is one stream: of two either may be ahead, by as much as was thrown away.)
	got := slices.DeleteFunc(d.logs("web"), func(line string) bool { return line == "last" })
	if len(got) < 1000 || len(got) >= lines {
		t.Fatalf("%d lines are kept", len(got))
	}
	for i, line := range got {
		if want := fmt.Sprintf("line %d of some length", lines-len(got)+i); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
	if out := d.ok("logs", "-n", "1", "web"); strings.Count(out, "\n") != 1 {
		t.Errorf("berth logs -n 1: %q", out)
	}
}
