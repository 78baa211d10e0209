package main

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/core"
)

// TestWhy asks for the causes of what real units came to.
func TestWhy(t *testing.T) {
	needRoot(t)
	d := start(t, map[string]string{
		"app.toml":    "[unit]\nstart = 'demand'\nrequires = ['db']\n" + sh(sleeper),
		"db.toml":     "[unit]\nstart = 'demand'\n" + with(sh(sleeper), "pre-start = ["+script("echo no data directory; exit 3")+"]") + "[restart]\ndelay = '10ms'\nlimit = { burst = 2, within = '5m' }\n",
		"hog.toml":    "[unit]\nstart = 'demand'\n" + sh("exec tail /dev/zero") + "[cgroup]\nmemory-max = '8M'\nmemory-swap-max = '0'\n" + never,
		"denied.toml": "[unit]\nstart = 'demand'\n" + sh("exec chroot /") + "[security]\nseccomp-log = true\ndeny-syscalls = ['chroot']\n" + never,
		"idle.toml":   "[unit]\nstart = 'demand'\n" + sh(sleeper),
		"user.toml":   "[unit]\nstart = 'demand'\nwants = ['idle']\n" + sh(sleeper),
	})
	says := func(unit string, want ...string) {
		t.Helper()
		out := d.ok("why", unit)
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(out) {
				t.Errorf("berth why %s does not say %q:\n%s", unit, w, out)
			}
		}
	}
	says("idle", `idle, inactive`, `nothing has asked for it yet`)

	if _, _, code := d.berth("start", "app"); code == 0 {
		t.Fatal("app has started without db")
	}
	chain := []string{
		`(?m)^app, failed for \d+s: dependency db failed$`, `taken down|asked for by root \(.*berth.* start app\)`,
		`└─ failed db, failed for \d+s: start limit hit: 2 starts in 5m0s`, `exited with status 3`,
		`starts that the limit counts: \d\d:\d\d:\d\d, \d\d:\d\d:\d\d`, `asked for by app, which requires it`, `no data directory`,
	}
	says("app", chain...)

	d.ok("start", "user")
	d.wait("idle", core.Running) // it is wanted only: nobody has waited for it
	says("idle", `idle, running`, `asked for by user, which wants it`, `└─ wanted by user, running`, `asked for by root \(`)
	d.ok("stop", "idle")
	says("idle", `idle, inactive for \d+s: stopped`, `taken down by root \(.*stop idle\)`)

	// The same is told after the supervisor was lost.
	st, err := d.api.Daemon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("there is another supervisor", func() bool {
		now, err := d.api.Daemon(t.Context())
		return err == nil && now.PID != st.PID
	})
	says("app", chain...)

	d.berth("start", "hog")
	d.wait("hog", core.Failed)
	says("hog", `out of memory`, `its memory is limited to 8MiB`)
	// The kernel writes what it has refused down a little later, and leaves lines
	// out when it has much to say (printk_ratelimit): then it is refused again.
	d.eventually("berth why tells the refused call", func() bool {
		d.berth("start", "denied")
		d.wait("denied", core.Failed)
		return strings.Contains(d.ok("why", "denied"), "its seccomp filter refused chroot")
	}, func() string { return d.ok("why", "denied") })
	if out, _, code := d.berth("why", "nobody"); code != 4 {
		t.Errorf("a unit that there is not: code %d, %s", code, out)
	}
	if !strings.Contains(d.ok("why", "app", "-o", "json"), fmt.Sprintf("%q: %q", "relation", "failed")) {
		t.Error("the JSON does not tell the relation")
	}
}
