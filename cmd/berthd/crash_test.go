package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"
	"berth/supervisor/core"
)

// child gives the pid of the reaper's child with the role, 0 for none.
func (d *daemon) child(role string) int {
	d.t.Helper()
	pid := d.cmd.Process.Pid
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		for _, field := range strings.Fields(string(text)) {
			args, _ := os.ReadFile("/proc/" + field + "/cmdline")
			status, _ := os.ReadFile("/proc/" + field + "/status")
			// A service that has not executed yet still looks like the launcher,
			// but for its PID namespace.
			if strings.Contains(string(args), "--role="+role) && strings.Contains(string(status), "\nNSpid:\t"+field+"\n") {
				n, _ := strconv.Atoi(field)
				return n
			}
		}
	}
	return 0
}

// TestKills ends supervisor and launcher again and again while units run, log
// and exit. Nothing of that may be seen from the units.
func TestKills(t *testing.T) {
	runners, exiters, kills := 10, 10, 50
	if vmtest.Current() != "" { // which is ten times slower
		runners, exiters, kills = 5, 5, 15
	}
	files := map[string]string{}
	for i := range runners {
		files[fmt.Sprintf("runner%d.toml", i)] = sh(`n=0; while [ ! -e /run/stop/now ]; do echo line $n; n=$((n+1)); sleep 0.01; done; echo last $n; exec sleep 1000`,
			"[[mount]]\ntype = 'volume'\nsource = 'stop'\ntarget = '/run/stop'")
	}
	for i := range exiters {
		files[fmt.Sprintf("exiter%d.toml", i)] = sh(
			fmt.Sprintf(`n=$(cat /run/count/n 2>/dev/null || echo 0); n=$((n+1)); echo $n >/run/count/n
echo begin $n; sleep 0.%d; echo end $n; if [ -e /run/stop/now ]; then echo stays; exec sleep 1000; fi; exit 3`, i+1),
			fmt.Sprintf("[[mount]]\ntype = 'volume'\nsource = 'count%d'\ntarget = '/run/count'", i),
			"[[mount]]\ntype = 'volume'\nsource = 'stop'\ntarget = '/run/stop'",
			"[restart]\npolicy = 'always'\ndelay = '20ms'\nfactor = 1.0\nlimit = { burst = 0, within = '1m' }")
	}
	d := start(t, files, "--max-restart-delay", "100ms")
	pids := map[string]int{}
	for i := range runners {
		name := fmt.Sprintf("runner%d", i)
		pids[name] = d.wait(name, core.Running).MainPID
	}
	for range kills {
		role := "supervisor"
		if rand.IntN(3) == 0 {
			role = "launcher"
		}
		var pid int
		d.eventually("there is a "+role, func() bool { pid = d.child(role); return pid > 0 })
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // at any moment: this is the fault's time, not a wait
		_ = syscall.Kill(pid, syscall.SIGKILL)                       // it may have ended with the other
	}
	d.eventually("the last supervisor answers", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.PID == d.child("supervisor")
	})
	if err := os.WriteFile(filepath.Join(d.dir, "state/volumes/stop/now"), nil, 0o644); err != nil {
		t.Fatal(err)
	}

	for name, pid := range pids {
		d.eventually(name+" has logged its last line", func() bool {
			lines := d.logs(name)
			return len(lines) > 0 && strings.HasPrefix(lines[len(lines)-1], "last ")
		})
		st := d.status(name)
		if st.MainPID != pid || st.Restarts != 0 || st.Phase != core.Running {
			t.Errorf("%s: pid %d, was %d; %d restarts, %s (%s)", name, st.MainPID, pid, st.Restarts, st.Phase, st.Reason)
		}
		lines := d.logs(name)
		for i, line := range lines[:len(lines)-1] {
			if line != fmt.Sprintf("line %d", i) {
				t.Errorf("%s: line %d is %q", name, i, line)
				break
			}
		}
		if last := fmt.Sprintf("last %d", len(lines)-1); lines[len(lines)-1] != last {
			t.Errorf("%s: the last line is %q, want %q", name, lines[len(lines)-1], last)
		}
	}
	for i := range exiters {
		name := fmt.Sprintf("exiter%d", i)
		count := func() int {
			text, _ := os.ReadFile(filepath.Join(d.dir, fmt.Sprintf("state/volumes/count%d/n", i)))
			n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return n
		}
		// Its last run stays: wait for that.
		d.eventually(name+" stays in its last run", func() bool {
			lines := d.logs(name)
			return len(lines) > 0 && lines[len(lines)-1] == "stays" && d.status(name).Phase == core.Running
		}, func() string {
			return fmt.Sprint(count(), d.status(name).Phase, d.status(name).Reason, last(d.logs(name), 5))
		})
		n := count()
		var want []string
		for k := 1; k <= n; k++ {
			want = append(want, fmt.Sprintf("begin %d", k), fmt.Sprintf("end %d", k))
		}
		want = append(want, "stays")
		if got := d.logs(name); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: %d runs logged\n%s", name, n, strings.Join(got, "\n"))
		}
		// Every end but that of the run which stays was noticed, once.
		if st := d.status(name); st.Restarts != n-1 {
			t.Errorf("%s: %d runs, %d restarts", name, n, st.Restarts)
		}
	}
}

func last(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }
