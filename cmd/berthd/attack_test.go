package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// TestTypedIntoTheTerminal has a program with a terminal type into it what the
// one who started it, and reads from the terminal next, would take for their own.
// Its terminal is another one.
func TestTypedIntoTheTerminal(t *testing.T) {
	needRoot(t)
	v, _ := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti")
	refused := strings.TrimSpace(string(v)) == "0" // to all, by the kernel
	nothingLeft(t)
	d := start(t, map[string]string{"web.toml": probing(t, "", []string{"inspect-and-stay"})})
	d.wait("web", core.Running)
	berth := binary(t, "berth")
	for name, c := range map[string]struct{ command, next string }{
		"nothing between": {probe(t) + " type evil", "evil"}, // the control: so it would be
		"run":             {berth + " run --host --keep SYS_ADMIN --mount " + probe(t) + ":/run/probe:ro -- /run/probe type evil", "mine"},
		"exec":            {berth + " --socket " + d.socket() + " exec -t web /run/probe type evil", "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", c.command+`; echo "ended $?"; read line; echo "got <$line>"`)
			screen := onTerminal(t, cmd, func(tty *os.File, seen func(string)) {
				seen("typed: ")
				seen("ended 0")
				if _, err := tty.WriteString("mine\n"); err != nil {
					t.Error(err)
				}
				seen("got <")
			})
			if refused && c.next == "evil" {
				return
			}
			if !strings.Contains(screen, "got <"+c.next+">") || !refused && strings.Contains(screen, "typed: 0") {
				t.Errorf("want %q to be read next, after something was typed:\n%s", c.next, screen)
			}
		})
	}
}

// bombMax is how many processes a fork bomb is allowed.
const bombMax = 64

// bombFull waits until a unit's fork bomb has all the processes that it may have.
func (d *daemon) bombFull(unit string) {
	d.t.Helper()
	d.eventually("the bomb is at its limit", func() bool {
		n, err := strconv.Atoi(d.controls(unit, "pids.current"))
		if n > bombMax {
			d.t.Errorf("there are %d tasks", n)
		}
		return err == nil && n >= bombMax-1
	})
}

// bombs are units that fork without end, in the script of a shell that stays, and
// what else they have: with all processes of the machine in view, too, where the end
// of the first process is not that of all.
func bombs(t *testing.T, service, script string) map[string]string {
	t.Helper()
	unit := func(more string) string {
		return command([]string{"/bin/sh", "-c", script}, service) + "[rootfs]\nhost = true\n[[mount]]\nsource = '" + probe(t) + "'\ntarget = '/run/probe'\noptions = ['ro']\n" +
			onDemand + "[cgroup]\npids-max = " + strconv.Itoa(bombMax) + "\n[stop]\ntimeout = '1s'\n" + more
	}
	return map[string]string{"own.toml": unit(""), "host.toml": unit("[namespaces]\npid = 'host'\n")}
}

// bombScript does not end itself, unlike a bomb that finds no room for its own threads.
const bombScript = "/run/probe fork-bomb & exec sleep 300"

// TestForkBombWhileEntered has a unit fork without end, from its first moment on,
// while commands are sent into it and it is started and stopped: what finds no room
// fails, and what is to end ends.
func TestForkBombWhileEntered(t *testing.T) {
	needRoot(t)
	d := start(t, bombs(t, "", bombScript))
	for range 2 {
		for _, unit := range []string{"own", "host"} {
			d.ok("start", unit)
			d.bombFull(unit)
			for range 10 {
				if out, stderr, code := d.berth("exec", unit, "--", "/bin/echo", "in"); code == 0 && out != "in\n" || code != 0 && stderr == "" {
					t.Errorf("exec: exit code %d, %q, %q", code, out, stderr)
				}
			}
			d.bombFull(unit)
			d.ok("stop", "--timeout", "30s", unit)
			if left := d.group(unit); len(left) != 0 {
				t.Fatalf("groups are left: %v", left)
			}
		}
	}
	if n := len(d.children()); n != 2 { // supervisor, launcher
		t.Errorf("the reaper has %d children", n)
	}
}

// TestForkBombDuringStart has the commands before a unit's program fork without
// end, so that the start never comes to its end. It is ended by its deadline, its
// group holds the bomb meanwhile, and nothing of it stays.
func TestForkBombDuringStart(t *testing.T) {
	needRoot(t)
	files := bombs(t, "pre-start = [['/bin/sh', '-c', '"+bombScript+"']]\nstart-timeout = '5s'", "exec sleep 300")
	files["other.toml"] = sh("exec sleep 300")
	files["init.toml"] = strings.Replace(files["own.toml"], "[service]", "[service]\ninit = true", 1)
	d := start(t, files)
	other := d.wait("other", core.Running).MainPID
	for _, unit := range []string{"own", "host", "init"} {
		begun := time.Now()
		d.ok("start", "--no-block", unit)
		d.bombFull(unit)
		if out := d.ok("exec", "other", "--", "/bin/sh", "-c", "echo $(echo forked)"); out != "forked\n" {
			t.Errorf("another unit says %q", out)
		}
		if st := d.wait(unit, core.Failed); !strings.Contains(st.Reason, "did not start within 5s") {
			t.Errorf("%s: the reason is %q", unit, st.Reason)
		}
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("%s: it took %s", unit, took)
		}
		if left := d.group(unit); len(left) != 0 {
			t.Errorf("groups are left: %v", left)
		}
	}
	if n := len(d.children()); n != 3 { // supervisor, launcher, other
		t.Errorf("the reaper has %d children", n)
	}
	if st := d.status("other"); st.MainPID != other || st.Restarts != 0 {
		t.Errorf("another unit: pid %d, was %d", st.MainPID, other)
	}
}
