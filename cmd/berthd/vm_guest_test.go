package main

// Tests of what the virtual machine has and this machine may not have. On the
// host they are a part of TestVM.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/isolate/vmtest"
	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// guest tells whether this is the virtual machine.
func guest(t *testing.T) bool {
	t.Helper()
	if vmtest.Current() == "" {
		t.Log("is a part of TestVM, which runs it")
		return false
	}
	return true
}

// guestStart starts a daemon with the slice that it has by default.
func guestStart(t *testing.T, files map[string]string) *daemon {
	t.Helper()
	d := start(t, files, "--slice", "berth.slice")
	d.cgroup = "berth.slice"
	return d
}

// place is the control group that a daemon is born in, nil for the one of this
// process, which is not the daemon's alone. The caller closes it.
func place(t testing.TB) *os.File {
	t.Helper()
	if vmtest.Current() != delegated {
		return nil
	}
	dir := filepath.Join("/sys/fs/cgroup", guestBase[delegated])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// busyboxRoot makes a root file system with a shell.
func busyboxRoot(t testing.TB) string {
	t.Helper()
	root := openDir(t)
	for _, dir := range []string{"bin", "proc", "sys", "dev", "etc", "events"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// on is a unit file that runs a script of busybox on a root file system.
func on(rootfs, script string) string {
	return fmt.Sprintf("[service]\ncommand = ['/bin/busybox', 'sh', '-c', '''%s''']\n[rootfs]\n%s\n", script, rootfs)
}

// TestGuestGroups looks at the groups of a pure v2 host from the place that the
// daemon was started in: where they are, what is written there, who is in them.
func TestGuestGroups(t *testing.T) {
	if !guest(t) {
		return
	}
	limits := func(memory, pids, cpu, cpus string) string {
		return fmt.Sprintf("[cgroup]\nmemory-max = '%s'\nmemory-high = '24M'\npids-max = %s\ncpu-max = '%s'\ncpu-weight = 50\ncpuset-cpus = '%s'\noom-group = true\n[stop]\ntimeout = '100ms'",
			memory, pids, cpu, cpus)
	}
	const stubborn = `trap '' TERM; sleep 1000 & setsid sleep 1001 & echo up; while :; do sleep 1; done`
	d := guestStart(t, map[string]string{
		"web.toml":  sh(stubborn, limits("32M", "99", "150%", "0")),
		"path.toml": on("path = '"+busyboxRoot(t)+"'", stubborn) + "[stop]\ntimeout = '100ms'\n",
		"hog.toml": sh("sleep 1000 & head -c 67108864 /dev/zero | tail -c 67108864 >/dev/null; echo survived; "+sleeper, onDemand,
			"[cgroup]\nmemory-max = '16M'\nmemory-swap-max = '0'\noom-group = true"),
	})
	base := guestBase[vmtest.Current()]
	const shared = "/sys/fs/cgroup"
	for _, unit := range []string{"web", "path"} {
		pid := d.wait(unit, core.Running).MainPID
		d.eventually(unit+" is up", func() bool { return len(d.logs(unit)) == 1 })
		st := d.status(unit)
		path := filepath.Join(base, "berth.slice", unit+".service")
		if got := readFile(t, fmt.Sprintf("/proc/%d/cgroup", pid)); got != "0::"+path || st.Cgroup != path {
			t.Errorf("%s is in %s, its status says %s, want %s", unit, got, st.Cgroup, path)
		}
		if text := readFile(t, filepath.Join(shared, path, "cgroup.procs")); len(strings.Fields(text)) < 3 {
			t.Errorf("the group of %s holds %q", unit, text)
		}
		inside := d.ok("exec", unit, "--", "/bin/busybox", "sh", "-c", "cat /proc/self/cgroup; grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/1/status")
		if want := "0::/\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"; inside != want {
			t.Errorf("inside of %s: %q", unit, inside)
		}
	}
	plan := d.ok("plan", "--syscalls", filepath.Join(d.units, "web.toml"))
	if !strings.Contains(plan, "CLONE_INTO_CGROUP") || strings.Contains(plan, "cgroup.procs") {
		t.Errorf("web is not born in its group:\n%s", plan)
	}

	group := filepath.Join(shared, base, "berth.slice", "web.service")
	files := func(want map[string]string) {
		t.Helper()
		for file, value := range want {
			if got := readFile(t, filepath.Join(group, file)); got != value {
				t.Errorf("%s is %q, want %q", file, got, value)
			}
		}
	}
	files(map[string]string{"memory.max": "33554432", "memory.high": "25165824", "memory.oom.group": "1", "pids.max": "99",
		"cpu.max": "150000 100000", "cpu.weight": "50", "cpuset.cpus": "0", "cpuset.cpus.effective": "0"})
	before := d.status("web")
	d.write("web.toml", sh(stubborn, limits("48M", "98", "20%", "0-1")))
	d.eventually("the new limits are there", func() bool {
		return readFile(t, filepath.Join(group, "pids.max")) == "98" && readFile(t, filepath.Join(group, "cpuset.cpus")) == "0-1"
	})
	files(map[string]string{"memory.max": "50331648", "memory.high": "25165824", "pids.max": "98", "cpu.max": "20000 100000", "cpuset.cpus.effective": "0-1"})
	if st := d.status("web"); st.MainPID != before.MainPID || st.Restarts != 0 {
		t.Errorf("web: pid %d, was %d; %d restarts", st.MainPID, before.MainPID, st.Restarts)
	}

	stats, err := d.api.Stats(context.Background(), []string{"web"})
	if err != nil || len(stats) != 1 {
		t.Fatalf("statistics: %+v, %v", stats, err)
	}
	if s := stats[0]; s.CPU.Pressure == nil || s.Memory.Pressure == nil || s.IOPressure == nil || s.Pids.Current < 3 || s.Memory.Current == 0 {
		t.Errorf("statistics of web: %+v", *s.Stats)
	}
	card := d.ok("status", "web")
	for _, want := range []string{"web", filepath.Join(base, "berth.slice/web.service"), "sleep 1001", fmt.Sprint(before.MainPID), "48M"} {
		if !strings.Contains(card, want) {
			t.Errorf("berth status does not show %q:\n%s", want, card)
		}
	}

	d.berth("start", "hog") // which may end before it counts as started
	st := d.wait("hog", core.Failed)
	if st.LastExit == nil || !st.LastExit.OOM || !strings.Contains(st.Reason, "out of memory") {
		t.Errorf("hog: the last exit is %+v, the reason %q", st.LastExit, st.Reason)
	}
	if lines := d.logs("hog"); len(lines) > 0 {
		t.Errorf("hog: %q", lines)
	}

	for _, unit := range []string{"web", "path"} {
		processes := d.status(unit).Processes
		d.ok("stop", unit)
		for _, p := range processes {
			if !gone(p.PID) {
				t.Errorf("after the stop of %s process %d (%s) is there", unit, p.PID, p.Command)
			}
		}
		if left := d.groupsOf(unit); len(left) > 0 {
			t.Errorf("after the stop there are %v", left)
		}
	}
}

// TestGuestPowers runs units that need what only the full root has.
func TestGuestPowers(t *testing.T) {
	if !guest(t) {
		return
	}
	const look = `ulimit -Hn; ulimit -Hl; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat; grep CapEff: /proc/self/status; ` + sleeper
	d := guestStart(t, map[string]string{
		"powers.toml": sh(look, "[limits]\nnofile = 500000\nmemlock = 'unlimited'", "[scheduling]\nnice = -5\noom-score-adjust = -500", "[capabilities]\nkeep = ['NET_ADMIN', 'SYS_ADMIN', 'SYS_RESOURCE', 'CHECKPOINT_RESTORE']"),
	})
	d.wait("powers", core.Running)
	var lines []string
	d.eventually("it has looked", func() bool { lines = d.logs("powers"); return len(lines) == 5 }, func() string { return strings.Join(lines, "\n") })
	kept := 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_CHECKPOINT_RESTORE
	want := []string{"500000", "unlimited", "-500", "-5", fmt.Sprintf("CapEff:\t%016x", kept)}
	for i, w := range want {
		if lines[i] != w {
			t.Errorf("line %d is %q, want %q", i, lines[i], w)
		}
	}
}

// TestGuestRoots writes to roots of each kind, twice.
func TestGuestRoots(t *testing.T) {
	if !guest(t) {
		return
	}
	const count = `n=$(cat /etc/count 2>/dev/null || echo 0); echo $((n + 1)) >/etc/count; echo $n; exec /bin/busybox sleep 1000`
	root, upper := busyboxRoot(t), openDir(t)
	if err := os.MkdirAll(filepath.Join(upper, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(upper, "etc/count"), []byte("40\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	layers := "layers = ['" + root + "', '" + upper + "']"
	want := map[string][]string{
		"host-ephemeral":    {"0", "0"},
		"host-persistent":   {"0", "1"},
		"path-ephemeral":    {"0", "0"},
		"path-persistent":   {"0", "1"},
		"layers-ephemeral":  {"40", "40"},
		"layers-persistent": {"40", "41"},
	}
	files := map[string]string{}
	for name := range want {
		kind, writable, _ := strings.Cut(name, "-")
		files[name+".toml"] = on(map[string]string{"host": "host = true", "path": "path = '" + root + "'", "layers": layers}[kind]+"\nwritable = '"+writable+"'", count)
	}
	files["readonly.toml"] = on(layers, "cat /etc/count; echo x >/etc/count || echo refused; exec /bin/busybox sleep 1000")
	d := guestStart(t, files)
	for name, lines := range want {
		d.wait(name, core.Running)
		d.eventually(name+" has counted", func() bool { return len(d.logs(name)) == 1 })
		d.ok("restart", name)
		d.eventually(name+" has counted again", func() bool { return len(d.logs(name)) == 2 })
		if got := d.logs(name); strings.Join(got, " ") != strings.Join(lines, " ") {
			t.Errorf("%s: %q, want %q", name, got, lines)
		}
	}
	d.eventually("readonly has tried", func() bool { return len(d.logs("readonly")) == 3 }, func() string { return strings.Join(d.logs("readonly"), "\n") })
	// What the shell says itself goes to the other stream, whose lines may come before or after.
	if lines := d.logs("readonly"); !slices.Contains(lines, "40") || !slices.Contains(lines, "refused") {
		t.Errorf("readonly: %q", lines)
	}
	for _, file := range []string{filepath.Join(root, "etc/count"), "/etc/count"} {
		if exists(file) {
			t.Errorf("%s was written", file)
		}
	}
}
