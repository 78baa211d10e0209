package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

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

// TestForkBombWhileEntered has a unit fork without end, from its first moment on,
// while commands are sent into it and it is started and stopped: what finds no room
// fails, and what is to end ends.
func TestForkBombWhileEntered(t *testing.T) {
	needRoot(t)
	d := start(t, map[string]string{
		"bomb.toml": probing(t, "", []string{"fork-bomb"}, onDemand, "[cgroup]\npids-max = 64\n[stop]\ntimeout = '1s'"),
	})
	for range 3 {
		d.ok("start", "bomb")
		for range 10 {
			if out, stderr, code := d.berth("exec", "bomb", "--", "/bin/echo", "in"); code == 0 && out != "in\n" || code != 0 && stderr == "" {
				t.Errorf("exec: exit code %d, %q, %q", code, out, stderr)
			}
		}
		d.ok("stop", "bomb")
		if left := d.group("bomb"); len(left) != 0 {
			t.Fatalf("groups are left: %v", left)
		}
	}
	if n := len(d.children()); n != 2 { // supervisor, launcher
		t.Errorf("the reaper has %d children", n)
	}
}
