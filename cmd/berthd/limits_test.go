package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// TestForkBomb lets a unit fork without end below its pids-max.
func TestForkBomb(t *testing.T) {
	d := start(t, map[string]string{
		"bomb.toml":  probing(t, "", []string{"fork-bomb"}, onDemand, "[cgroup]\npids-max = 64\n[stop]\ntimeout = '2s'"),
		"other.toml": sh("exec sleep 1000"),
	})
	other := d.wait("other", core.Running).MainPID
	d.ok("start", "bomb")
	d.eventually("the bomb is at its limit", func() bool { return d.facts("bomb")["fork"] != nil })
	if got := d.facts("bomb")["fork"]; got[0] != "EAGAIN" {
		t.Errorf("the fork beyond pids-max: %s", got)
	}
	st := d.status("bomb")
	if st.Tasks == nil || st.TasksMax == nil || *st.Tasks > 64 || *st.TasksMax != 64 {
		t.Errorf("tasks %v of %v", st.Tasks, st.TasksMax)
	}
	// Others go on: a process in another unit, a new unit, processes of this test.
	if out := d.ok("exec", "other", "--", "/bin/sh", "-c", "echo $(echo forked)"); out != "forked\n" {
		t.Errorf("another unit says %q", out)
	}
	d.write("late.toml", sh("exec sleep 1000"))
	d.wait("late", core.Running)
	if st := d.status("other"); st.MainPID != other || st.Restarts != 0 {
		t.Errorf("another unit: pid %d, was %d", st.MainPID, other)
	}

	begun := time.Now()
	d.ok("stop", "bomb")
	if took := time.Since(begun); took > 20*time.Second { // 2s, and the time that a loaded machine takes to reap 64
		t.Errorf("the stop took %s", took)
	}
	if left := d.group("bomb"); len(left) != 0 {
		t.Errorf("groups are left: %v", left)
	}
	if n := len(d.children()); n != 4 { // supervisor, launcher, other, late
		t.Errorf("the reaper has %d children", n)
	}
}

// TestOutOfMemory has a unit take more than its memory-max, again and again.
func TestOutOfMemory(t *testing.T) {
	for name, more := range map[string]string{"process": "", "group": "oom-group = true\n"} {
		t.Run(name, func(t *testing.T) {
			d := start(t, map[string]string{
				"hog.toml":   probing(t, "", []string{"hog"}, "[restart]\ndelay = '10ms'\nlimit = { burst = 2, within = '1h' }\n[cgroup]\nmemory-max = '32M'\nmemory-swap-max = '0'\n"+more),
				"other.toml": sh("exec sleep 1000"),
			})
			other := d.wait("other", core.Running).MainPID
			st := d.wait("hog", core.Failed) // by its limit of starts
			if st.LastExit == nil || !st.LastExit.OOM || st.LastExit.Signal != int(unix.SIGKILL) {
				t.Errorf("the last exit is %+v", st.LastExit)
			}
			if !strings.Contains(st.Reason, "out of memory") {
				t.Errorf("the reason is %q", st.Reason)
			}
			// The limit counts automatic starts.
			if n := len(d.facts("hog")["begins"]); st.Restarts != 2 || n != 3 {
				t.Errorf("%d restarts, %d runs", st.Restarts, n)
			}
			if st := d.status("other"); st.MainPID != other || st.Restarts != 0 {
				t.Errorf("another unit: pid %d, was %d", st.MainPID, other)
			}
		})
	}
}

// TestSettings looks from inside at what a unit file sets for its processes.
func TestSettings(t *testing.T) {
	files := []string{"/proc/self/oom_score_adj", "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/ip_unprivileged_port_start"}
	look := append([]string{"settings"}, files...)
	const more = `
[limits]
nofile = 1234
core = "0"
nproc = "100:200"
stack = "1M"
[sysctl]
"net.core.somaxconn" = 4321
"net.ipv4.ip_unprivileged_port_start" = 80
[scheduling]
nice = 7
oom-score-adjust = 321
`
	d := start(t, map[string]string{
		"set.toml":   probing(t, "umask = '0027'", append([]string{"settings-and-stay"}, files...), more),
		"unset.toml": probing(t, "", append([]string{"settings-and-stay"}, files...)),
		"stays.toml": sh("exec sleep 1000", more, "[[mount]]\nsource = '"+probe(t)+"'\ntarget = '/run/probe'"),
	})
	want := map[string]string{
		"nofile": "1234 1234", "core": "0 0", "nproc": "100 200", "stack": "1048576 1048576",
		"nice": "7", "/proc/self/oom_score_adj": "321",
		"/proc/sys/net/core/somaxconn": "4321", "/proc/sys/net/ipv4/ip_unprivileged_port_start": "80",
	}
	for unit, want := range map[string]map[string]string{
		"set":   {"umask": "0027"},
		"unset": {"umask": "0022", "nice": "0"},
	} {
		d.eventually(unit+" has looked", func() bool { return d.facts(unit)["open /dev/urandom"] != nil })
		d.facts(unit).is(t, want)
	}
	d.facts("set").is(t, want)
	for key, value := range want {
		if got := d.facts("unset")[key]; key != "core" && len(got) == 1 && got[0] == value {
			t.Errorf("%s is %s where nothing is set: the test tells nothing", key, value)
		}
	}
	d.wait("stays", core.Running)
	d.exec("stays", append([]string{"/run/probe"}, look...)...).is(t, want)
	// The host's own are as before.
	if text, err := os.ReadFile("/proc/sys/net/core/somaxconn"); err != nil || strings.TrimSpace(string(text)) == "4321" {
		t.Errorf("somaxconn of the host is %s, %v", text, err)
	}
}

// controls reads a file of a unit's group in whichever hierarchy has it.
func (d *daemon) controls(unit, file string) string {
	d.t.Helper()
	for _, dir := range d.group(unit) {
		if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}

// TestGroupLimits looks at the files of a unit's group, on v2 or v1.
func TestGroupLimits(t *testing.T) {
	unit := func(cpu, memory, pids string) string {
		return sh("exec sleep 1000", fmt.Sprintf("[cgroup]\ncpu-max = '%s'\ncpu-weight = 50\nmemory-max = '%s'\npids-max = %s", cpu, memory, pids))
	}
	d := start(t, map[string]string{"web.toml": unit("150%", "64M", "99"), "plain.toml": sh("exec sleep 1000")})
	check := func(quota float64, memory, pids string) {
		t.Helper()
		var have float64
		var period float64
		if text := d.controls("web", "cpu.max"); text != "" {
			fmt.Sscan(text, &have, &period)
		} else {
			fmt.Sscan(d.controls("web", "cpu.cfs_quota_us"), &have)
			fmt.Sscan(d.controls("web", "cpu.cfs_period_us"), &period)
		}
		if period == 0 || have/period != quota {
			t.Errorf("cpu: %v of %v, want %v", have, period, quota)
		}
		if got := d.controls("web", "memory.max") + d.controls("web", "memory.limit_in_bytes"); got != memory {
			t.Errorf("memory: %s, want %s", got, memory)
		}
		if got := d.controls("web", "pids.max"); got != pids {
			t.Errorf("pids: %s, want %s", got, pids)
		}
	}
	pid := d.wait("web", core.Running).MainPID
	check(1.5, "67108864", "99")
	d.write("web.toml", unit("20%", "32M", "98"))
	d.eventually("the new limits are there", func() bool { return d.controls("web", "pids.max") == "98" })
	check(0.2, "33554432", "98")
	if st := d.status("web"); st.MainPID != pid || st.Restarts != 0 {
		t.Errorf("pid %d, was %d: a limit is changed live", st.MainPID, pid)
	}
	d.wait("plain", core.Running)
	if got := d.controls("plain", "pids.max"); got != "max" {
		t.Errorf("pids of a unit without a limit: %q", got)
	}
}

// TestDevices opens device nodes with and without a rule that allows them.
func TestDevices(t *testing.T) {
	needRoot(t)
	// A node that can be opened on this machine, so that a refusal is the rule's.
	device := ""
	for _, path := range []string{"/dev/loop-control", "/dev/fuse", "/dev/net/tun"} {
		if fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
			device = path
			break
		}
	}
	if device == "" {
		skip(t, "no device to open is here: neither loop-control nor fuse nor net/tun")
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		t.Fatal(err)
	}
	d := start(t, map[string]string{
		"without.toml": probing(t, "", []string{"settings-and-stay"}),
		"with.toml":    probing(t, "", []string{"settings-and-stay"}, "[[device]]\npath = '"+device+"'\naccess = 'rw'"),
		"read.toml":    probing(t, "", []string{"settings-and-stay"}, "[[device]]\npath = '"+device+"'\naccess = 'r'"),
		"mknod.toml":   probing(t, "", []string{"mknod", fmt.Sprint(st.Rdev)}, "[capabilities]\nkeep = ['MKNOD']"),
		"mknodok.toml": probing(t, "", []string{"mknod", fmt.Sprint(st.Rdev)}, "[capabilities]\nkeep = ['MKNOD']", "[[device]]\npath = '"+device+"'\naccess = 'rwm'"),
	})
	for unit, want := range map[string]string{"without": "ENOENT", "with": "done", "read": "EPERM"} {
		d.eventually(unit+" has looked", func() bool { return d.facts(unit)["open /dev/urandom"] != nil })
		d.facts(unit).is(t, map[string]string{"open " + device: want, "open /dev/null": "done", "open /dev/zero": "done", "open /dev/urandom": "done"})
	}
	d.eventually("the nodes are made", func() bool { return d.facts("mknod")["open"] != nil && d.facts("mknodok")["open"] != nil })
	d.facts("mknod").is(t, map[string]string{"mknod": "EPERM"})
	d.facts("mknodok").is(t, map[string]string{"mknod": "done", "open": "EACCES"}) // nodev
}
