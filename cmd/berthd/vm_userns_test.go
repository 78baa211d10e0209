package main

import (
	"strings"
	"testing"

	"berth/supervisor/core"
)

// TestGuestUserNamespace runs units with ids of their own on another kernel, and
// gives them what only the starter, which has every capability there, can give.
func TestGuestUserNamespace(t *testing.T) {
	if !guest(t) {
		return
	}
	const look = `id -u; cut -d' ' -f1-99 /proc/self/uid_map; ulimit -Hn; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat; grep CapBnd: /proc/self/status; touch /tmp/x && echo wrote; echo x >/dev/null && echo null; ` + sleeper
	unmapped := strings.Replace(sh(look, "[limits]\nnofile = 500000", "[scheduling]\nnice = -5\noom-score-adjust = -500"), "host = true", "host = true\nidmap = false", 1) + ownUsers
	d := guestStart(t, map[string]string{
		"own.toml":   unmapped,
		"idmap.toml": "[unit]\nstart = 'demand'\n" + sh("id -u; stat -c %%u /etc/passwd; "+sleeper) + ownUsers + never,
	})
	d.wait("own", core.Running)
	var lines []string
	d.eventually("it has looked", func() bool { lines = d.logs("own"); return len(lines) == 8 }, func() string { return strings.Join(lines, "\n") })
	for i, w := range []string{"0", "0 524288 65536", "500000", "-500", "-5", "CapBnd: 0000000000000000", "wrote", "null"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != w {
			t.Errorf("line %d is %q, want %q", i, got, w)
		}
	}
	// The machine's root is in memory, which this kernel may not be able to show with other ids.
	if _, errs, code := d.berth("start", "idmap"); code != 0 && (!strings.Contains(errs, "its files are shown with mapped ids") || !strings.Contains(errs, "idmapped")) {
		t.Errorf("exit code %d: %s", code, errs)
	} else {
		t.Logf("idmap: exit code %d: %s", code, errs)
	}
}
