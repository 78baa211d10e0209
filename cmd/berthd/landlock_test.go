package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"berth/isolate"
	"berth/supervisor/core"
)

// TestLandlock holds a service, and what is executed in its container, to the
// unit's Landlock rules.
func TestLandlock(t *testing.T) {
	needRoot(t)
	rules := []string{"{ path = '/etc/passwd' }", "{ path = '/dev/null', access = 'rw' }"}
	for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			rules = append(rules, "{ path = '"+dir+"', access = 'rx' }")
		}
	}
	unit := "[restart]\npolicy = 'never'\n[service]\ncommand = ['/bin/sh', '-c', 'head -c 4 /etc/passwd; echo; head -c 1 /etc/group 2>/dev/null || echo refused; echo done; sleep 1000']\n" +
		"[rootfs]\nhost = true\n[security]\nlandlock = [" + strings.Join(rules, ", ") + "]\n"
	d := start(t, map[string]string{"narrow.toml": unit, "blind.toml": strings.Replace(unit, "landlock = [", "landlock = [{ path = '/nowhere' }, ", 1)})
	d.wait("blind", core.Failed)
	abi, err := isolate.LandlockABI()
	if err != nil {
		t.Fatal(err)
	}
	if abi < 3 {
		d.wait("narrow", core.Failed)
		return
	}
	d.eventually("it has looked", func() bool { return slices.Contains(d.logs("narrow"), "done") })
	if got := strings.Join(d.logs("narrow"), " "); got != "root refused done" {
		t.Errorf("it found %q", got)
	}
	if out := d.ok("exec", "narrow", "--", "/bin/sh", "-c", "head -c 4 /etc/passwd; head -c 1 /etc/group 2>/dev/null || echo refused"); out != "rootrefused\n" {
		t.Errorf("an exec found %q", out)
	}
}
