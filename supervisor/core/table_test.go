package core

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"berth/units"
)

// situations are all the ways in which a unit can be in a phase, as scripts
// that lead there. The unit is x.
var situations = []struct {
	name   string
	phase  Phase
	script string
}{
	{"inactive", Inactive, "unit x demand reload;load boot"},
	{"waiting", Waiting, "unit db;unit x requires=db reload;load boot"},
	{"starting", Starting, "unit x reload post-start;load boot"},
	{"running", Running, "unit x reload;load boot;spawned x"},
	{"running, post-start under way", Running, "unit x reload post-start;load boot;spawned x"},
	{"running, not ready yet", Running, "unit x reload post-start notify;load boot;spawned x;readiness x no answer"},
	{"running, not ready yet, to stop after y", Running, "unit x notify reload;unit y after=x:started;load boot;spawned x;spawned y;cmd 90 stop x y"},
	{"running, reload under way", Running, "unit x reload;load boot;spawned x;cmd 90 reload x"},
	{"running, to stop after y", Running, "unit x reload;unit y requires=x;load boot;spawned x;spawned y;cmd 90 stop x"},
	{"running, to restart after y", Running, "unit x reload;unit y requires=x;load boot;spawned x;spawned y;cmd 90 restart x"},
	{"running, checks", Running, "unit x reload health=up;load boot;spawned x"},
	{"running, a check under way", Running, "unit x reload health=up:retries=1;load boot;spawned x;fire x"},
	{"running, to stop after y, a check under way", Running, "unit x reload health=up:retries=1;unit y requires=x;load boot;spawned x;spawned y;fire x;cmd 90 stop x"},
	{"running, unhealthy", Running, "unit x health=up:retries=1:on-failure=none;unit y after=x:healthy;load boot;spawned x;fire x;probed x up no answer"},
	{"waiting for health", Waiting, "unit db health=up;unit x after=db:healthy;load boot;spawned db"},
	{"running, reset timer", Running, "unit x reload;load boot;spawned x;exited x 1;released x;fire x;spawned x"},
	{"running, reload to be confirmed", Running, "unit x reload-notify;load boot;spawned x;cmd 90 reload x"},
	{"running, reload begun", Running, "unit x reload-notify;load boot;spawned x;cmd 90 reload x;notified x reloading=0s"},
	{"running, reload under way, to be confirmed", Running, "unit x reload-command-notify;load boot;spawned x;cmd 90 reload x"},
	{"running, reload under way, confirmed", Running, "unit x reload-command-notify;load boot;spawned x;cmd 90 reload x;notified x reloading=0s;notified x ready"},
	{"running, watched", Running, "unit x watchdog=30s;load boot;spawned x;wait 20s"},
	{"running, watched, only told", Running, "unit x watchdog=30s:none;load boot;spawned x;wait 20s"},
	{"running, watched, to fail", Running, "unit x watchdog=30s:stop;load boot;spawned x;wait 20s"},
	{"running, watched, for all", Running, "unit x watchdog=30s:shutdown;load boot;spawned x;wait 20s"},
	{"running, watched, to stop after y", Running, "unit x watchdog=30s;unit y requires=x;load boot;spawned x;spawned y;cmd 90 stop x"},
	{"running, replace waits for db", Running, "unit db;unit x requires=db replace;load boot;spawned db;spawned x;cmd 80 restart db;exited x 0;released x;exited db 0;released db;spawned db;spawned x;unit db command=v2;load db=restart:k;cmd 90 restart x"},
	{"running, heir starting", Running, "unit x reload replace post-stop;load boot;spawned x;cmd 90 restart x"},
	{"running, heir of a change", Running, "unit x reload replace;load boot;spawned x;unit x reload replace command=v2;load x=restart:k"},
	{"running, heir not ready yet", Running, "unit x reload replace notify post-start;load boot;spawned x;readiness x;hook x post-start;cmd 90 restart x;spawned +x;readiness +x no answer"},
	{"running, heir in post-start", Running, "unit x reload replace post-start;load boot;spawned x;hook x post-start;cmd 90 restart x;spawned +x"},
	{"running, heir given up", Running, "unit x reload replace;load boot;spawned x;cmd 80 restart x;cmd 90 restart x"},
	{"running, heir failed", Running, "unit x replace;load boot;spawned x;cmd 90 restart x;spawn-failed +x no such file"},
	{"running, old stopping", Running, "unit x reload replace post-stop;load boot;spawned x;cmd 90 restart x;spawned +x"},
	{"running, old stopping, another due", Running, "unit x reload replace;load boot;spawned x;cmd 80 restart x;spawned +x;cmd 90 restart x"},
	{"running, old cleaning", Running, "unit x reload replace post-stop;load boot;spawned x;cmd 90 restart x;spawned +x;exited +x 0"},
	{"running not ready, old cleaning", Running, "unit x reload replace notify;load boot;spawned x;readiness x;cmd 90 restart x;spawned +x;exited x 1"},
	{"starting, old cleaning", Starting, "unit x reload replace notify;load boot;spawned x;readiness x;cmd 90 restart x;exited x 1"},
	{"stopping, old stopping too", Stopping, "unit x reload replace;load boot;spawned x;cmd 80 restart x;spawned +x;cmd 90 stop x"},
	{"cleaning, waits for the old one", Cleaning, "unit x reload replace;load boot;spawned x;cmd 80 restart x;spawned +x;cmd 90 stop x;exited x 0;released x"},
	{"running task", Running, "unit x type=task;load boot;spawned x"},
	{"running group", Running, "unit x type=group;load boot"},
	{"stopping", Stopping, "unit x reload post-stop;load boot;spawned x;cmd 90 stop x"},
	{"stopping to restart", Stopping, "unit x reload;load boot;spawned x;cmd 90 restart x"},
	{"stopping, not heard of", Stopping, "unit x watchdog=30s;load boot;spawned x;fire x watchdog"},
	{"stopping, aborted", Stopping, "unit x reload;load boot;cmd 90 stop x"},
	{"stopping, killed", Stopping, "unit x reload;load boot;spawned x;cmd 90 stop x;fire x"},
	{"cleaning, post-stop", Cleaning, "unit x reload post-stop;load boot;spawned x;exited x 1"},
	{"cleaning, release, then back-off", Cleaning, "unit x reload;load boot;spawned x;exited x 1"},
	{"cleaning, release, then inactive", Cleaning, "unit x reload;load boot;spawned x;exited x 0"},
	{"cleaning, release, then failed", Cleaning, "unit x policy=never;load boot;spawned x;exited x 1"},
	{"cleaning, release, then completed", Cleaning, "unit x remain post-stop;load boot;spawned x;exited x 0"},
	{"backoff", Backoff, "unit x reload;load boot;spawned x;exited x 1;released x"},
	{"completed", Completed, "unit x type=task;load boot;spawned x;exited x 0;released x"},
	{"completed, remains", Completed, "unit x remain post-stop;load boot;spawned x;exited x 0;released x"},
	{"failed with y", Failed, "unit y policy=never;unit x requires=y;load boot;spawned y;spawned x;exited y 1;released y;exited x 0;released x"},
	{"inactive, before its timer", Inactive, "unit x timer=hourly;load boot"},
	{"inactive, listening", Inactive, "unit x socket=s path=/p:reload;load boot"},
	{"running, with everything", Running, "unit x socket=s path=/p timer=hourly reload;load boot;activated x s;spawned x;path x /p;exited x 1;released x;spawned x"},
	{"running, a path has changed", Running, "unit x path=/p:start reload;load boot;path x /p;spawned x;path x /p"},
	{"completed, listening", Completed, "unit x socket=s type=task;load boot;activated x s;spawned x;exited x 0;released x"},
	{"failed, listening", Failed, "unit x socket=s policy=never;load boot;activated x s;spawned x;exited x 1;released x"},
	{"failed", Failed, "unit x policy=never reload;load boot;spawn-failed x no such file;released x"},
}

// happenings are all the events, in all their kinds.
var happenings = []string{
	"load", "load boot", "load x=none:k", "load x=live:k", "load x=reload:k", "load x=restart:k", "rm x;load",
	"cmd 1 start x", "cmd 1 start x noblock", "cmd 1 stop x", "cmd 1 restart x", "cmd 1 reload x", "cmd 1 kill x", "cmd 1 reset-failed x", "cmd 1 nonsense x",
	"spawned x", "spawned x#99", "spawn-failed x reason", "spawn-lost x reason", "spawn-failed x#99 reason",
	"exited x 0", "exited x 1", "exited x sig 15", "exited x sig 9 oom", "exited x#99 0", "released x", "released x#99", "emptied x left", "emptied x#99",
	"hook x post-start", "hook x post-start bad", "hook x post-stop", "hook x post-stop bad", "hook x reload", "hook x reload bad", "hook x#99 reload",
	"readiness x", "readiness x no answer", "readiness x#99",
	"notified x ready", "notified x reloading=0s", "notified x reloading=1h", "notified x stopping", "notified x status=busy", "notified x errno=2 buserror=b mainpid=77",
	"notified x extend=1m", "notified x extend=10h", "notified x watchdog=1s", "notified x watchdog=1h", "notified x trigger", "notified x interval=5s", "notified x#99 ready",
	"probed x up", "probed x up no answer", "probed x#99 up", "skipped x up", "stale-probed x up 99", "probed db up",
	"spawned +x", "spawn-failed +x reason", "spawn-lost +x reason", "exited +x 0", "exited +x 1", "released +x",
	"hook +x post-start", "hook +x post-start bad", "hook +x post-stop bad", "hook +x reload", "readiness +x", "readiness +x no answer",
	"notified +x ready", "notified +x status=busy errno=2 mainpid=77 interval=5s", "notified +x extend=10h",
	"fire x beside-stop", "fire x beside-ready",
	"stale-timer x restart 0", "stale-timer x stop 99", "fire x", "fire x calendar", "clock 2h", "clock -2h", "activated x s", "activated x s in use", "stale-activated x 99", "path x /p", "shutdown", "spawned nobody", "crash",
}

// TestTable tries every event in every situation: none may panic or make a
// transition that there is not, and a state that went through JSON does the same.
func TestTable(t *testing.T) {
	var b strings.Builder
	seen := map[Phase]bool{}
	for _, s := range situations {
		fmt.Fprintf(&b, "== %s ==\n", s.name)
		for _, h := range happenings {
			p := play(t, s.script)
			if got := p.s.Units["x"].Phase; got != s.phase {
				t.Fatalf("%s: it is %s", s.name, got)
			}
			if !possible(p, h) {
				continue
			}
			out := act(p, h)
			if h != "crash" {
				if again := act(reborn(t, play(t, s.script)), h); again != out {
					t.Errorf("%s, %s: after a round trip through JSON\n%s instead of\n%s", s.name, h, again, out)
				}
			}
			fmt.Fprintf(&b, "%s: %s\n", h, out)
			checkLegal(t, s.name+", "+h, out)
		}
		seen[s.phase] = true
	}
	for _, p := range Phases() {
		if !seen[p] {
			t.Errorf("no situation is in phase %s", p)
		}
	}
	golden(t, "testdata/table.golden", b.String())
}

// possible tells whether there is that timer, or an instance beside.
func possible(p *script, h string) bool {
	u := p.s.Units["x"]
	if name, fires := strings.CutPrefix(h, "fire x"); fires {
		_, armed := u.Timers[Timer(strings.TrimSpace(name))]
		return armed || name == "" && len(u.Timers) > 0
	}
	return u.Beside != nil || !strings.Contains(h, "+x")
}

func play(t *testing.T, text string) *script {
	p := &script{t: t, s: New(), now: time.Unix(0, 0).UTC(), files: map[string]*units.Unit{}}
	for line := range strings.SplitSeq(text, ";") {
		p.do(strings.Fields(line))
	}
	return p
}

func act(p *script, h string) string {
	var out []string
	for line := range strings.SplitSeq(h, ";") {
		out = append(out, p.do(strings.Fields(line))...)
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, "; ")
}

func reborn(t *testing.T, p *script) *script {
	b, err := json.Marshal(p.s)
	if err != nil {
		t.Fatal(err)
	}
	p.s = &State{}
	if err := json.Unmarshal(b, p.s); err != nil {
		t.Fatal(err)
	}
	return p
}

func checkLegal(t *testing.T, where, out string) {
	for _, line := range strings.Split(out, "; ") {
		w := strings.Fields(line)
		if len(w) > 3 && w[2] == "->" && !legal[[2]Phase{Phase(w[1]), Phase(w[3])}] {
			t.Errorf("%s: no such transition: %s", where, line)
		}
	}
}
