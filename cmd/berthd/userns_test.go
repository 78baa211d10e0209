package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/isolate"
	"berth/supervisor/core"
)

// TestUserNamespaceInAnothersProcesses runs a unit with ids of its own among the
// processes of another unit.
func TestUserNamespaceInAnothersProcesses(t *testing.T) {
	needRoot(t)
	const among = "[unit]\nrequires = ['%s']\n[namespaces]\nuser = 'new'\npid = 'unit:%s'\n"
	d := start(t, map[string]string{
		"base.toml":   sh("exec sleep 300"),
		"side.toml":   sh(`echo first is $(tr '\0' ' ' </proc/1/cmdline); exec sleep 301`, fmt.Sprintf(among, "base", "base")),
		"tracer.toml": sh("exec sleep 300", "[capabilities]\nkeep = ['SYS_PTRACE']"),
		"seen.toml":   sh("true", strings.Replace(fmt.Sprintf(among, "tracer", "tracer"), "[unit]", "[unit]\nstart = 'demand'", 1)),
	})
	if !isolate.ShowsPIDNamespaces() {
		if st := d.wait("side", core.Failed); !strings.Contains(st.Reason, "6.17") {
			t.Errorf("on this kernel: %s", st.Reason)
		}
		return
	}
	d.wait("side", core.Running)
	d.eventuallyLogs("side", "first is sleep 300")
	out := d.ok("exec", "side", "sh", "-c", "cut -d' ' -f1 /proc/self/uid_map >/dev/null; id -u; tr '\\0' ' ' </proc/1/cmdline; kill -0 1 2>/dev/null && echo reached; true")
	if out != "0\nsleep 300 " {
		t.Errorf("exec: %q", out)
	}
	if _, errs, code := d.berth("start", "seen"); code != 1 || !strings.Contains(errs, "SYS_PTRACE") {
		t.Errorf("among processes that trace: exit code %d, %s", code, errs)
	}
}

const ownUsers = "[namespaces]\nuser = 'new'\n"

// TestUserNamespace runs units with ids of their own.
func TestUserNamespace(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":    with(sh("echo started as $(id -u); echo again >/dev/stdout; "+sleeper), "user = 'daemon'") + ownUsers,
		"other.toml":  sh(sleeper) + ownUsers,
		"volume.toml": "[unit]\nstart = 'demand'\n" + with(sh(`n=$(cat /run/v/n 2>/dev/null || echo 0); echo $((n+1)) >/run/v/n; echo run $((n+1)) $(stat -c %%u /run/v/n)`), "type = 'task'") + "[[mount]]\ntype = 'volume'\nsource = 'kept'\ntarget = '/run/v'\n" + ownUsers,
		"writes.toml": "[unit]\nstart = 'demand'\n" + with(strings.Replace(sh(`touch /etc/new-$(ls /etc | grep -c new-) && ls /etc | grep new-; stat -c %%u /etc/passwd`), "host = true", "host = true\nwritable = 'persistent'", 1), "type = 'task'") + ownUsers,
		"group.toml":  "[unit]\nstart = 'demand'\n" + with(sh("true"), "user = '70000'", "type = 'task'") + ownUsers + never,
	})
	ids := func(unit string) string {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", d.wait(unit, core.Running).MainPID))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(text)), " ")
	}
	web, other := ids("web"), ids("other")
	if web == other || !strings.HasSuffix(web, " 65536") || !strings.HasSuffix(other, " 65536") {
		t.Errorf("the units have ids %q and %q", web, other)
	}
	d.eventuallyLogs("web", "started as 1", "again")

	if out := d.ok("exec", "web", "sh", "-c", "id -u; cat /proc/self/uid_map; grep CapBnd /proc/self/status"); strings.Join(strings.Fields(out), " ") != "1 "+web+" CapBnd: 0000000000000000" {
		t.Errorf("exec: %q", out)
	}
	if out := d.ok("exec", "-u", "0", "other", "id", "-u"); out != "0\n" {
		t.Errorf("exec as root: %q", out)
	}
	if _, errs, code := d.berth("exec", "-u", "70000", "web", "true"); code == 0 || !strings.Contains(errs, "is not mapped") {
		t.Errorf("exec as a user that is not mapped: exit code %d, %s", code, errs)
	}
	d.ok("restart", "web")
	if again := ids("web"); again != web {
		t.Errorf("after a restart web has %q, before %q", again, web)
	}
	for range 2 {
		for _, name := range []string{"volume", "writes"} {
			d.ok("start", name)
			d.wait(name, core.Completed)
		}
	}
	d.eventuallyLogs("volume", "run 1 0", "run 2 0")
	for _, file := range []string{"volumes/kept/n", "layers/writes/upper/etc/new-0"} {
		st, err := os.Stat(filepath.Join(d.dir, "state", file))
		if err != nil {
			t.Error(err)
		} else if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 0 {
			t.Errorf("%s belongs to %d on disk", file, uid)
		}
	}
	if _, errs, code := d.berth("start", "group"); code != 1 || !strings.Contains(errs, "user 70000 is not mapped") {
		t.Errorf("an id that is not mapped: exit code %d, %s", code, errs)
	}

	// A new daemon on the same state gives the same ids.
	d.stop()
	d.fresh()
	d.run()
	if again := ids("web"); again != web {
		t.Errorf("under a new daemon web has %q, before %q", again, web)
	}
}
