package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/core"
)

// TestEndsOfEveryKind has supervisor and launcher end in each way in which a
// process can be ended. While there is none, a service ends too. What runs is not
// disturbed, and that end is noticed.
func TestEndsOfEveryKind(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":    sh("exec sleep 1000"),
		"db.toml":     sh("exec sleep 1000", "[[mount]]\ntype = 'volume'\nsource = 'x'\ntarget = '/mnt'"),
		"mortal.toml": sh("exec sleep 1000", "[restart]\npolicy = 'always'\ndelay = '10ms'\nfactor = 1.0\nlimit = { burst = 0, within = '1m' }"),
	}, "--max-restart-delay", "100ms")
	before := d.pidsOf("web", "db")
	d.wait("mortal", core.Running)
	ends := 0
	end := func(how, role string, do func(pid int)) {
		t.Helper()
		var pid int
		d.eventually("there is a "+role, func() bool { pid = d.child(role); return pid > 0 })
		mortal := d.wait("mortal", core.Running).MainPID
		do(pid)
		if err := syscall.Kill(mortal, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ends++
		d.eventually(how+": another "+role+" is there", func() bool { now := d.child(role); return now > 0 && now != pid })
		d.eventually(how+": the end of mortal is noticed", func() bool {
			st, err := d.api.Status(context.Background(), "mortal")
			return err == nil && st.Phase == core.Running && st.MainPID != mortal && st.Restarts == ends
		})
		if now := d.pidsOf("web", "db"); now != before {
			t.Errorf("%s: the processes are %s, were %s", how, now, before)
		}
	}
	for _, role := range []string{"supervisor", "launcher"} {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGSYS, syscall.SIGTRAP} {
			end(fmt.Sprint(role, " by ", sig), role, func(pid int) {
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			})
		}
		end(role+" for lack of memory", role, func(pid int) { d.starve(role, pid) })
	}
	if st := d.status("web"); !st.StartedAt.Before(d.status("mortal").Since) {
		t.Errorf("web was started at %v", st.StartedAt)
	}
}

// starve puts a process into a group with next to no memory, and has it work
// until the kernel has killed it for that.
func (d *daemon) starve(role string, pid int) {
	d.t.Helper()
	root, limit := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(root); err != nil {
		root, limit = "/sys/fs/cgroup", "memory.max"
	}
	group := filepath.Join(root, strings.TrimSuffix(d.cgroup, ".slice")+"-starved")
	if err := os.Mkdir(group, 0o755); err != nil {
		d.t.Fatal(err)
	}
	// What ended is in it until it is reaped.
	remove := func() {
		d.eventually("the group of the starved is empty", func() bool { err := os.Remove(group); return err == nil || os.IsNotExist(err) })
	}
	d.t.Cleanup(remove)
	write := func(name, text string) {
		d.t.Helper()
		if err := os.WriteFile(filepath.Join(group, name), []byte(text), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	write("cgroup.procs", fmt.Sprint(pid))
	write(limit, "1M")
	d.eventually("the kernel has killed the "+role, func() bool {
		_, _, _ = d.berth("exec", "web", "--", "/bin/true") // work for both; it may fail
		return gone(pid)
	})
	remove()
}

// TestPanicAtEachTakeOver has a core that panics on the state: on a unit that
// waits to be started again, and in another goroutine. After a few tries a supervisor takes over less, and
// goes on with what runs.
func TestPanicAtEachTakeOver(t *testing.T) {
	poisoned := variant(t, "poisoned", map[string][]string{"supervisor/core/resume.go": {
		"func Resume(s *State, in Input) []Effect {\n",
		"func Resume(s *State, in Input) []Effect {\n\tfor _, u := range s.Units {\n\t\tif u.Phase == Backoff {\n\t\t\tgo panic(\"poisoned by \" + u.Name)\n\t\t\tselect {}\n\t\t}\n\t}\n",
	}})
	d := startWith(t, nil, map[string]string{
		"web.toml":    sh("exec sleep 1000"),
		"poison.toml": sh("exit 3", "[restart]\npolicy = 'always'\ndelay = '30s'"),
	}, func(d *daemon) { d.program = poisoned }, "--max-restart-delay", "100ms")
	before := d.pidsOf("web")
	d.wait("poison", core.Backoff)
	d.killSupervisor(nil)
	if now := d.pidsOf("web"); now != before {
		t.Errorf("the processes are %s, were %s", now, before)
	}
	d.wait("poison", core.Backoff) // it was started again, and has ended again
	log := d.log.String()
	if n := strings.Count(log, "panic: poisoned by poison"); n < 3 {
		t.Errorf("it has panicked %d times\n%s", n, log)
	}
	if !strings.Contains(log, "going on with the units that run") {
		t.Error("the log does not tell")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "state/crashed-snapshot")); err != nil {
		t.Error(err)
	}
}

// TestDoomedUpgrade executes a berthd that runs, but whose supervisor ends at
// once. Services run on, and as soon as a better one is put in its place, that is
// found without anybody who could be asked for it.
func TestDoomedUpgrade(t *testing.T) {
	const begins = "	settings, diags := config.LoadSettings(opt.config)\n"
	doomed := variant(t, "doomed", map[string][]string{"cmd/berthd/supervisor.go": {begins, "	if opt != nil {\n\t\tpanic(\"doomed\")\n\t}\n" + begins}})
	d, become := upgradable(t, map[string]string{"web.toml": sh("exec sleep 1000")})
	before := d.pidsOf("web")
	was := d.status("web").MainPID
	install(t, doomed, d.program, 0o755)
	_, _, _ = d.berth("daemon-reexec") // whose answer is lost
	d.eventually("it crashes again and again", func() bool { return strings.Count(d.log.String(), "panic: doomed") > 5 })
	if gone(was) {
		t.Error("web has ended")
	}
	install(t, binary(t, "berthd"), d.program, 0o755)
	d.eventually("a supervisor answers", func() bool { _, err := d.api.Daemon(context.Background()); return err == nil })
	if now := d.pidsOf("web"); now != before {
		t.Errorf("the processes are %s, were %s", now, before)
	}
	become(binary(t, "berthd"), "development") // the reaper too
	if now := d.pidsOf("web"); now != before {
		t.Errorf("the processes are %s, were %s", now, before)
	}
}
