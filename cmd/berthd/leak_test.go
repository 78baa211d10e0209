package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// descriptors tells what a process holds open, kind by kind.
func descriptors(t *testing.T, pid int) map[string]int {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("cannot look at the descriptors of %d: %v", pid, err)
	}
	kinds := map[string]int{}
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil {
			continue // closed meanwhile
		}
		kind, _, _ := strings.Cut(name, ":[") // pipe:[123], socket:[456]
		kinds[kind]++
	}
	return kinds
}

// grown tells what there is more of than before.
func grown(before, now map[string]int) string {
	var out strings.Builder
	for kind, n := range now {
		if n > before[kind] {
			fmt.Fprintf(&out, "\n%s: %d, were %d", kind, n, before[kind])
		}
	}
	return out.String()
}

// TestNothingLeaks starts, stops, enters and changes units 200 times: after that
// no process of the daemon holds more open than before.
func TestNothingLeaks(t *testing.T) {
	const warm, cycles = 10, 200
	// By version the limit differs, which is written live, and the environment,
	// which restarts the unit.
	web := func(version int) string {
		return fmt.Sprintf(`[service]
command = ['/bin/sleep', '1000']
pre-start = [['/bin/true']]
post-start = [['/bin/true']]
post-stop = [['/bin/true']]
reload = { command = ['/bin/true'] }
environment = { VERSION = '%d' }
[rootfs]
host = true
[cgroup]
pids-max = %d
oom-group = true
`, version/5, 100+version)
	}
	d := start(t, map[string]string{
		"web.toml":    web(0),
		"join.toml":   sh(`exec sleep 1000`, "[namespaces]\nnetwork = 'unit:web'\n[unit]\nrequires = ['web']"),
		"broken.toml": "[service]\ncommand = ['/nowhere/there']\n[restart]\npolicy = 'never'\n[rootfs]\nhost = true\n",
		"task.toml":   "[service]\ntype = 'task'\ncommand = ['/bin/true']\n[rootfs]\nhost = true\n",
	}, "--log-level", "warn")
	ctx := context.Background()
	do := func(verb core.Verb, units ...string) {
		if _, err := d.api.Command(ctx, api.Command{Verb: verb, Units: units}); err != nil {
			t.Fatalf("%s %v: %v", verb, units, err)
		}
	}
	cycle := func(i int) {
		gone, cancel := context.WithCancel(ctx)
		switch i % 5 {
		case 0:
			d.write("web.toml", web(i))
			if _, err := d.api.Reload(ctx); err != nil {
				t.Fatal(err)
			}
		case 1:
			do(core.VerbRestart, "web")
			do(core.VerbReload, "web")
		case 2:
			do(core.VerbStop, "web")
			do(core.VerbStart, "join")
		case 3:
			do(core.VerbStart, "broken", "task")
			if _, err := d.api.Events(gone); err != nil {
				t.Fatal(err)
			}
		case 4:
			if _, err := d.api.Stats(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := d.api.Logs(gone, api.LogQuery{Units: []string{"web"}, Lines: 1}); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		d.wait("web", core.Running)
		for _, args := range [][]string{{"/bin/true"}, {"/nowhere/there"}} {
			s, err := d.api.Exec(ctx, "web", api.Exec{Args: args, Terminal: i%2 == 0, Rows: 20, Cols: 80})
			if err != nil {
				continue // the one that is nowhere
			}
			if i%3 > 0 { // else the client goes at once
				_, _ = s.Copy(&strings.Builder{}, &strings.Builder{})
			}
			s.Close()
		}
	}
	for i := range warm {
		cycle(i)
	}
	roles := map[string]int{"reaper": d.cmd.Process.Pid, "supervisor": d.child("supervisor"), "launcher": d.child("launcher")}
	d.wait("join", core.Running)
	before := map[string]map[string]int{}
	for role, pid := range roles {
		before[role] = descriptors(t, pid)
	}
	for i := range cycles {
		cycle(warm + i)
	}
	d.wait("join", core.Running)
	for role, pid := range roles {
		more := ""
		d.eventually("the "+role+" holds no more open than before", func() bool {
			more = grown(before[role], descriptors(t, pid))
			return more == ""
		}, func() string { return more })
	}
}
