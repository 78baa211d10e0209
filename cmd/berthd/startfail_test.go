package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// group gives the directories of a unit's group, in every hierarchy that has it.
func (d *daemon) group(unit string) []string {
	d.t.Helper()
	var dirs []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == d.cgroup {
			if dir := filepath.Join(path, unit+".service"); exists(dir) {
				dirs = append(dirs, dir)
			}
			return filepath.SkipDir
		}
		return nil // gone meanwhile: of another test
	})
	return dirs
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// descriptors counts those of the daemon's processes.
func (d *daemon) descriptors() map[string]int {
	d.t.Helper()
	count := map[string]int{}
	for role, pid := range map[string]int{"reaper": d.cmd.Process.Pid, "supervisor": d.child("supervisor"), "launcher": d.child("launcher")} {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			d.t.Fatal(err)
		}
		count[role] = len(list)
	}
	return count
}

// children gives the pids of the processes below the reaper, zombies too.
func (d *daemon) children() []string {
	d.t.Helper()
	var pids []string
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		pids = append(pids, strings.Fields(string(text))...)
	}
	slices.Sort(pids)
	return pids
}

// TestHungFileSystem starts units of which something lies on a file system whose
// server does not answer: they fail in their time, and the unit can be stopped and
// started again as if nothing were.
func TestHungFileSystem(t *testing.T) {
	needRoot(t)
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		skip(t, "no FUSE")
	}
	defer fuse.Close()
	hung := t.TempDir()
	if err := unix.Mount("hung", hung, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())); err != nil {
		t.Fatal(err)
	}
	defer func() {
		fuse.Close() // everything on it fails from now on
		if err := unix.Unmount(hung, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	const soon = "start-timeout = '1s'"
	bound := func(source string) string {
		return with(sh("true", onDemand, "[[mount]]\nsource = '"+source+"'\ntarget = '/run/x'"), soon)
	}
	d := start(t, map[string]string{
		"mount.toml": bound(hung + "/sub"),
		"env.toml":   with(sh("true", onDemand), soon, "environment-files = ['"+hung+"/env']"),
	})
	for unit, want := range map[string]string{"mount": "did not return in time", "env": "did not answer in time"} {
		begun := time.Now()
		if _, errs, code := d.berth("start", unit); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", unit, code, errs)
		}
		d.ok("start", "--no-block", unit)
		d.wait(unit, core.Starting)
		d.ok("stop", unit)
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("%s: it took %s", unit, took)
		}
	}
	d.write("mount.toml", bound("/usr"))
	d.eventually("mount can be started", func() bool { _, _, code := d.berth("start", "mount"); return code == 0 })
}

const onDemand = "[unit]\nstart = 'demand'\n[restart]\npolicy = 'never'\n"

// TestStartFailures starts units that cannot be started. Each must fail with
// the step named, and nothing else may come of it.
func TestStartFailures(t *testing.T) {
	root := emptyRoot(t)
	cases := []struct {
		name, unit string
		reason     []string // parts of it
		hint       string   // part of what berth start says to try
	}{
		{"source", sh("true", "[[mount]]\nsource = '/no/such/source'\ntarget = '/run/x'"), []string{"/no/such/source", "no such file or directory"}, ""},
		{"program", command([]string{"/no/such/program"}, "") + "[rootfs]\nhost = true\n", []string{"execute /no/such/program", "no such file or directory"}, ""},
		{"in-path", command([]string{"no-such-program"}, "") + "[rootfs]\nhost = true\n", []string{"execute no-such-program"}, ""},
		{"interpreter", command([]string{"/etc/passwd"}, "") + "[rootfs]\nhost = true\n", []string{"execute /etc/passwd", "permission denied"}, ""},
		{"user", command([]string{"/bin/true"}, "user = 'no-such-user'") + "[rootfs]\nhost = true\n", []string{"no-such-user"}, ""},
		{"root", command([]string{"/bin/true"}, "") + "[rootfs]\npath = '/no/such/root'\n", []string{"/no/such/root", "no such file or directory"}, ""},
		{"layers", command([]string{"/bin/true"}, "") + "[rootfs]\nlayers = ['" + root + "', '/no/such/layer']\n", []string{"/no/such/layer", "no such file or directory"}, ""},
		{"memory", sh("true", "[cgroup]\nmemory-max = '64K'"), []string{"cannot start: step ", "out of memory"}, ""},
		{"pids", command([]string{"/bin/true"}, "pre-start = [['/bin/true']]") + "[rootfs]\nhost = true\n[cgroup]\npids-max = 1\n", []string{"pre-start command 1", "resource temporarily unavailable"}, ""},
		{"pre-start", command([]string{"/bin/true"}, "pre-start = [['/bin/true'], ['/bin/sh', '-c', 'exit 3']]") + "[rootfs]\nhost = true\n", []string{"pre-start command 2", "exited with status 3"}, ""},
		{"pre-kill", command([]string{"/bin/true"}, "pre-start = [['/bin/sh', '-c', 'kill -KILL $$']]") + "[rootfs]\nhost = true\n", []string{"pre-start command 1", "killed by signal 9"}, ""},
		{"pre-missing", command([]string{"/bin/true"}, "pre-start = [['/no/such/pre']]") + "[rootfs]\nhost = true\n", []string{"/no/such/pre", "no such file or directory"}, ""},
		{"hang", command([]string{"/bin/true"}, "start-timeout = '300ms'\npre-start = [['/bin/sh', '-c', 'sleep 1000 & trap \"\" TERM; wait']]") + "[rootfs]\nhost = true\n", []string{"did not start within 300ms"}, ""},
		{"directory", command([]string{"/bin/true"}, "working-directory = '/no/such/directory'") + "[rootfs]\nhost = true\n", []string{"/no/such/directory", "no such file or directory"}, ""},
		{"target", command([]string{"/probe", "euid"}, "") + "[rootfs]\npath = '" + root + "'\n[[mount]]\ntype = 'tmpfs'\ntarget = '/no/such/target'\n", []string{"/no/such/target", "no such file or directory"}, "make the root writable"},
		{"device", sh("true", "[[device]]\npath = '/dev/no-such-device'"), []string{"/dev/no-such-device", "no such file or directory"}, ""},
		{"sysctl", sh("true", "[sysctl]\n'net.no.such.key' = 1"), []string{"net", "no/such/key"}, ""},
		{"limit", sh("true", "[limits]\nnofile = 2000000000"), []string{"limit nofile", "operation not permitted"}, "CAP_SYS_RESOURCE"},
	}
	units := map[string]string{"other.toml": sh("exec sleep 1000")}
	for _, c := range cases {
		units[c.name+".toml"] = onDemand + c.unit
	}
	d := start(t, units)
	other := d.wait("other", core.Running).MainPID
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, errs, code := d.berth("start", c.name)
			st := d.wait(c.name, core.Failed)
			for _, part := range append(c.reason, c.hint) {
				if code != 1 || !strings.Contains(st.Reason, part) || !strings.Contains(errs, part) {
					t.Errorf("berth start: exit code %d, reason %q; want %q in it\n%s", code, st.Reason, part, errs)
				}
			}
			if st.MainPID != 0 || st.Restarts != 0 || len(d.group(c.name)) != 0 {
				t.Errorf("pid %d, %d restarts, groups %v", st.MainPID, st.Restarts, d.group(c.name))
			}
		})
	}

	// Each has failed once: what is kept is there. Nothing may be added from here on.
	descriptors, children := d.descriptors(), d.children()
	if len(children) != 3 {
		t.Errorf("the reaper has children %v beside supervisor, launcher and one service", children)
	}
	for i := range 20 {
		d.berth("start", cases[i%len(cases)].name)
	}
	if now := d.children(); !slices.Equal(now, children) {
		t.Errorf("children of the reaper: %v, before %v", now, children)
	}
	d.eventually("as many descriptors are open as before", func() bool { return maps.Equal(d.descriptors(), descriptors) },
		func() string { return fmt.Sprint(d.descriptors(), ", before ", descriptors) })
	if st := d.status("other"); st.MainPID != other || st.Phase != core.Running || st.Restarts != 0 {
		t.Errorf("another unit: pid %d, was %d, %s", st.MainPID, other, st.Phase)
	}
	if st, err := d.api.Daemon(context.Background()); err != nil || st.Supervisors != 1 {
		t.Errorf("the daemon: %+v, %v", st, err)
	}
}

// TestFrozenGroup freezes a unit's group while it starts. The deadline must
// hold, though a frozen process on v1 does not even die.
func TestFrozenGroup(t *testing.T) {
	d := start(t, map[string]string{
		"other.toml": sh("exec sleep 1000"),
		"frozen.toml": onDemand + command([]string{"/bin/true"}, "start-timeout = '3s'\npre-start = [['/bin/sh', '-c', 'echo here; sleep 1000']]") +
			"[rootfs]\nhost = true\n",
	})
	other := d.wait("other", core.Running).MainPID
	for _, freeze := range []struct{ file, word string }{{"freezer.state", "FROZEN"}, {"cgroup.freeze", "1"}} {
		t.Run(freeze.file, func(t *testing.T) {
			before := len(d.logs("frozen"))
			d.ok("start", "--no-block", "frozen")
			d.eventually("its pre-start command runs", func() bool { return len(d.logs("frozen")) > before })
			frozen := false
			for _, dir := range d.group("frozen") {
				if file := filepath.Join(dir, freeze.file); exists(file) {
					if err := os.WriteFile(file, []byte(freeze.word), 0); err != nil {
						t.Fatal(err)
					}
					frozen = true
				}
			}
			if !frozen {
				t.Log("the unit is in no group that can be frozen by " + freeze.file + ": only the deadline is tested")
			}
			st := d.wait("frozen", core.Failed)
			if !strings.Contains(st.Reason, "did not start within 3s") {
				t.Errorf("reason %q", st.Reason)
			}
			if left := d.group("frozen"); len(left) != 0 || len(d.children()) != 3 {
				t.Errorf("left: groups %v, children of the reaper %v", left, d.children())
			}
		})
	}
	if st := d.status("other"); st.MainPID != other || st.Phase != core.Running {
		t.Errorf("another unit: pid %d, was %d, %s", st.MainPID, other, st.Phase)
	}
}

// TestFullDisk starts units whose volumes and layers are to be made on a state
// directory that has no room.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	state := openDir(t)
	root := emptyRoot(t)
	if err := unix.Mount("berth-test", state, "tmpfs", 0, "size=64k,nr_inodes=64,mode=0755"); err != nil {
		t.Fatal(err)
	}
	// Before the daemon's own clean-up looks what is left: that comes first, being registered later.
	t.Cleanup(func() { _ = unix.Unmount(state, unix.MNT_DETACH) })
	d := start(t, map[string]string{
		"other.toml":  sh("while :; do echo line; sleep 0.05; done"),
		"volume.toml": onDemand + sh("exec sleep 1000", "[[mount]]\ntype = 'volume'\nsource = 'data'\ntarget = '/run/data'"),
		"layers.toml": onDemand + command([]string{"/probe", "euid"}, "") + "[rootfs]\npath = '" + root + "'\nwritable = 'persistent'\n",
	}, "--state-dir", state)
	other := d.wait("other", core.Running).MainPID
	// No byte and no inode is free.
	var filled []string
	for i := 0; ; i++ {
		name := filepath.Join(state, fmt.Sprintf("filler%d", i))
		if err := os.WriteFile(name, make([]byte, 64<<10), 0o600); errors.Is(err, unix.ENOSPC) && !exists(name) {
			break
		}
		filled = append(filled, name)
	}
	for unit, step := range map[string]string{"volume": "volumes", "layers": "layers"} {
		_, errs, code := d.berth("start", unit)
		st := d.wait(unit, core.Failed)
		if code != 1 || !strings.Contains(st.Reason, "no space left on device") || !strings.Contains(st.Reason, "cannot start: step ") {
			t.Errorf("%s (%s): exit code %d, reason %q\n%s", unit, step, code, st.Reason, errs)
		}
		t.Log(st.Reason)
	}
	if st := d.status("other"); st.MainPID != other || st.Phase != core.Running || st.Restarts != 0 {
		t.Errorf("another unit: pid %d, was %d, %s", st.MainPID, other, st.Phase)
	}
	for _, name := range filled {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	d.ok("start", "volume")
	d.wait("volume", core.Running)
	if st := d.status("other"); st.MainPID != other || st.Restarts != 0 {
		t.Errorf("another unit: pid %d, was %d", st.MainPID, other)
	}
}
