package main

import (
	"context"
	wire "encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// snapshot opens what the reaper keeps of the supervisor's state.
func (d *daemon) snapshot() *os.File {
	d.t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, link := range links {
		if name, _ := os.Readlink(link); strings.Contains(name, "memfd:berth-snapshot") { // others may have been closed
			f, err := os.OpenFile(link, os.O_RDWR, 0)
			if err != nil {
				d.t.Fatal(err)
			}
			d.t.Cleanup(func() { f.Close() })
			return f
		}
	}
	d.t.Fatal("the reaper keeps no snapshot")
	return nil
}

// rewrite adds a record to the snapshot in which the unit is as edit makes it.
func (d *daemon) rewrite(unit string, edit func(u map[string]any)) {
	d.t.Helper()
	f := d.snapshot()
	data := []byte(readFile(d.t, fmt.Sprintf("/proc/self/fd/%d", f.Fd())))
	end := int64(len(data))
	last := map[string]any{}
	for len(data) > 8 {
		n := wire.LittleEndian.Uint32(data)
		var r map[string]any
		if err := json.Unmarshal(data[8:8+n], &r); err != nil {
			d.t.Fatal(err)
		}
		data = data[8+n:]
		last["head"] = r["head"]
		us, _ := r["units"].([]any)
		for _, u := range us {
			if u := u.(map[string]any); u["name"] == unit {
				last["units"] = []any{u}
			}
		}
	}
	edit(last["units"].([]any)[0].(map[string]any))
	text, err := json.Marshal(last)
	if err != nil {
		d.t.Fatal(err)
	}
	buf := wire.LittleEndian.AppendUint32(nil, uint32(len(text)))
	buf = wire.LittleEndian.AppendUint32(buf, crc32.ChecksumIEEE(text))
	if _, err := f.WriteAt(append(buf, text...), end); err != nil {
		d.t.Fatal(err)
	}
}

// killSupervisor ends it by SIGKILL, has between done while there is none, and
// waits until the next one answers.
func (d *daemon) killSupervisor(between func()) {
	d.t.Helper()
	st, err := d.api.Daemon(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	// Stopped first, so that it writes nothing any more.
	if err := syscall.Kill(st.PID, syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	if between != nil {
		between()
	}
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	d.eventually("another supervisor answers", func() bool {
		now, err := d.api.Daemon(context.Background())
		return err == nil && now.PID != st.PID
	})
}

// TestSnapshotDamaged spoils the state while services run. There is no safe way
// on then but to end everything and to start it again.
func TestSnapshotDamaged(t *testing.T) {
	files := map[string]string{"task.toml": sh(`exit 0`) + "[restart]\npolicy = 'never'\n"}
	names := []string{"a", "b", "c"}
	for _, name := range names {
		files[name+".toml"] = sh(`trap "" TERM; echo runs; while :; do sleep 1; done`)
	}
	d := start(t, files)
	before := map[string]int{}
	incarnations := map[string]uint64{}
	for _, name := range names {
		st := d.wait(name, core.Running)
		before[name], incarnations[name] = st.MainPID, st.Incarnation
	}
	for round := range 3 {
		d.killSupervisor(func() {
			f := d.snapshot()
			var b [1]byte
			if _, err := f.ReadAt(b[:], 20); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1
			if _, err := f.WriteAt(b[:], 20); err != nil {
				t.Fatal(err)
			}
		})
		for _, name := range names {
			st := d.wait(name, core.Running)
			if st.MainPID == before[name] || st.Restarts != 0 {
				t.Errorf("round %d: %s: pid %d, was %d; %d restarts", round, name, st.MainPID, before[name], st.Restarts)
			}
			if st.Incarnation <= incarnations[name] {
				t.Errorf("round %d: %s: its start has number %d, one before it had %d", round, name, st.Incarnation, incarnations[name])
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", before[name])); err == nil {
				t.Errorf("round %d: %s: process %d of the time before is still there", round, name, before[name])
			}
			if len(st.Processes) == 0 || st.Processes[0].PID != st.MainPID {
				t.Errorf("round %d: %s: main process %d, in its group are %v", round, name, st.MainPID, st.Processes)
			}
			before[name], incarnations[name] = st.MainPID, st.Incarnation
		}
	}
	if !strings.Contains(d.log.String(), "starting anew") {
		t.Error("the log does not tell that the state was lost")
	}
	// The next one goes on as ever.
	d.killSupervisor(nil)
	for _, name := range names {
		if st := d.wait(name, core.Running); st.MainPID != before[name] {
			t.Errorf("%s: pid %d, was %d", name, st.MainPID, before[name])
		}
	}
}

// TestTakeOverAborted has a supervisor die that was about to give up a start.
func TestTakeOverAborted(t *testing.T) {
	d := start(t, map[string]string{
		"slow.toml":  "[service]\ncommand = ['/bin/sleep', '1000']\npre-start = [['/bin/sleep', '1000']]\n[rootfs]\nhost = true\n",
		"other.toml": sh(`exec sleep 1000`),
	})
	d.wait("slow", core.Starting)
	d.killSupervisor(func() {
		d.rewrite("slow", func(u map[string]any) { u["phase"], u["then"], u["up"] = "stopping", "inactive", false })
	})
	d.wait("slow", core.Inactive)
	d.wait("other", core.Running)
}

// TestTakeOverStarting has a supervisor die during a start: it goes on.
func TestTakeOverStarting(t *testing.T) {
	d := start(t, map[string]string{
		"slow.toml": "[service]\ncommand = ['/bin/sleep', '1000']\npre-start = [['/bin/sh', '-c', 'until [ -e /run/go/on ]; do sleep 0.02; done']]\n" +
			"[rootfs]\nhost = true\n[[mount]]\ntype = 'volume'\nsource = 'go'\ntarget = '/run/go'\n",
	})
	preStart := func() {
		d.eventually("pre-start runs", func() bool {
			return slices.ContainsFunc(d.status("slow").Processes, func(p api.Process) bool { return strings.Contains(p.Command, "/run/go/on") })
		})
	}
	preStart()
	for range 3 {
		d.killSupervisor(nil)
		preStart()
	}
	if err := os.WriteFile(filepath.Join(d.dir, "state/volumes/go/on"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st := d.wait("slow", core.Running); st.Restarts != 0 {
		t.Errorf("%d restarts", st.Restarts)
	}
}

// TestTakeOverShutdown has the supervisor die in the midst of a shutdown.
func TestTakeOverShutdown(t *testing.T) {
	d := start(t, map[string]string{
		"stubborn.toml": sh(`trap "" TERM; while :; do sleep 0.1; done`) + "[stop]\ntimeout = '3s'\n",
	})
	d.wait("stubborn", core.Running)
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.wait("stubborn", core.Stopping)
	d.killSupervisor(nil)
	<-d.ended // bounded by the test's own deadline
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestTakeOverLost has a state in which a process runs that nobody knows: it is
// taken for killed.
func TestTakeOverLost(t *testing.T) {
	d := start(t, map[string]string{
		"a.toml": sh(`exec sleep 1000`) + "[restart]\npolicy = 'never'\n",
		"b.toml": sh(`exec sleep 1000`) + "[restart]\npolicy = 'always'\ndelay = '10ms'\n",
	})
	a, b := d.wait("a", core.Running), d.wait("b", core.Running)
	lose := func(u map[string]any) { u["incarnation"] = u["incarnation"].(float64) + 1000 }
	d.killSupervisor(func() { d.rewrite("a", lose); d.rewrite("b", lose) })
	if st := d.wait("a", core.Failed); !strings.Contains(st.Reason, "KILL") {
		t.Errorf("a: %s", st.Reason)
	}
	d.eventually("b runs again", func() bool {
		st := d.status("b")
		return st.Phase == core.Running && st.Restarts == 1 && st.MainPID != b.MainPID
	})
	for _, pid := range []int{a.MainPID, b.MainPID} {
		d.eventually("what nobody knew is gone", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); return err != nil })
	}
}

// TestTakeOverLive has the supervisor die when it has recorded a live change and
// not yet written it: the next one writes all of it, also what is no longer given.
func TestTakeOverLive(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh("exec sleep 1000", "[cgroup]\nmemory-max = '64M'\npids-max = 50")})
	pid := d.wait("web", core.Running).MainPID
	limits := func() string {
		return groupFile(t, pid, "memory", "memory.limit_in_bytes", "memory.max") + " " + groupFile(t, pid, "pids", "pids.max", "pids.max")
	}
	if got := limits(); got != "67108864 50" {
		t.Fatalf("the limits are %s", got)
	}
	d.killSupervisor(func() {
		d.write("web.toml", sh("exec sleep 1000", "[cgroup]\nmemory-max = '96M'"))
		d.rewrite("web", func(u map[string]any) {
			u["config"].(map[string]any)["cgroup"] = map[string]any{"memory-max": 96 << 20}
			u["applied"] = []string{"cgroup.memory-max", "cgroup.pids-max"}
		})
	})
	d.eventually("the change is written", func() bool { return limits() == "100663296 max" }, limits)
	// A further change is one from these.
	d.change(func() { d.write("web.toml", sh("exec sleep 1000", "[cgroup]\npids-max = 40")) })
	d.eventually("a further change is written", func() bool {
		return strings.HasSuffix(limits(), " 40") && !strings.HasPrefix(limits(), "100663296")
	}, limits)
	if st := d.status("web"); st.MainPID != pid || st.Restarts != 0 {
		t.Errorf("the main process is %d, was %d", st.MainPID, pid)
	}
}

// TestTakeOverLiveStarting has that happen during a start, which goes on.
func TestTakeOverLiveStarting(t *testing.T) {
	text := func(more string) string {
		return "[service]\ncommand = ['/bin/sleep', '1000']\npre-start = [['/bin/sh', '-c', 'until [ -e /run/go/on ]; do sleep 0.02; done']]\n" +
			"[rootfs]\nhost = true\n[[mount]]\ntype = 'volume'\nsource = 'go'\ntarget = '/run/go'\n[cgroup]\n" + more
	}
	d := start(t, map[string]string{"slow.toml": text("pids-max = 50")})
	d.eventually("pre-start runs", func() bool {
		return slices.ContainsFunc(d.status("slow").Processes, func(p api.Process) bool { return strings.Contains(p.Command, "/run/go/on") })
	})
	d.killSupervisor(func() {
		d.write("slow.toml", text("pids-max = 60"))
		d.rewrite("slow", func(u map[string]any) {
			u["config"].(map[string]any)["cgroup"] = map[string]any{"pids-max": 60}
			u["applied"] = []string{"cgroup.pids-max"}
		})
	})
	if err := os.WriteFile(filepath.Join(d.dir, "state/volumes/go/on"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	st := d.wait("slow", core.Running)
	limit := func() string { return groupFile(t, st.MainPID, "pids", "pids.max", "pids.max") }
	d.eventually("the change is written", func() bool { return limit() == "60" }, limit)
	if st.Restarts != 0 {
		t.Errorf("%d restarts", st.Restarts)
	}
}
