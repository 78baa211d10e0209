package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"berth/supervisor/core"
)

// later are the edits that make a berthd of a later version: new fields in all
// that is written down, a new record and a new request of the reaper's, another
// protocol of the launcher's.
func later(more ...string) map[string][]string {
	return map[string][]string{
		"supervisor/core/state.go": {
			"type Head struct {\n", "type Head struct {\n\tMood map[string]int `json:\"mood\"`\n",
			"type Unit struct {\n", "type Unit struct {\n\tOmens []string `json:\"omens\"`\n",
			"return &State{Head: Head{", "return &State{Head: Head{Mood: map[string]int{\"fine\": 1}, ",
		},
		"supervisor/history/record.go": {"type Record struct {\n", "type Record struct {\n\tOmen int `json:\"omen\"`\n"},
		"supervisor/stamps.go":         {"type stamps struct {\n", "type stamps struct {\n\tOmen int `json:\"omen\"`\n", "stamps{k.runs}", "stamps{1, k.runs}"},
		"reaper/messages.go": {
			"revision         = 2", "revision         = 3",
			"	kindReplace\n", "	kindReplace\n	kindLater\n", "lastRequest = kindReplace", "lastRequest = kindLater",
		},
		"reaper/state.go":             {"	add(recordProcesses, ", "	add(999, func(e *wire.Encoder) { e.String(\"later\") })\n	add(recordProcesses, "},
		"reaper/launcher/protocol.go": {"protocol = 3", "protocol = 4"},
		"supervisor/snapshot.go":      more,
	}
}

// upgradable starts a daemon from a file of its own, and gives a function that
// puts another in its place and has it executed.
func upgradable(t *testing.T, files map[string]string) (*daemon, func(program, version string)) {
	t.Helper()
	var path string
	d := startWith(t, nil, files, func(d *daemon) {
		path = filepath.Join(d.dir, "berthd")
		d.program = path
		install(t, binary(t, "berthd"), path, 0o755)
	}, "--max-restart-delay", "100ms")
	return d, func(program, version string) {
		t.Helper()
		install(t, program, path, 0o755)
		d.ok("daemon-reexec")
		d.eventually("berthd "+version+" answers", func() bool {
			st, err := d.api.Daemon(context.Background())
			return err == nil && st.Version == version
		})
	}
}

// TestUpgrade goes from one version to a later one and back, again and again,
// while services log and others end and are started again. Nothing restarts that
// did not end, every end counts once, and no line is lost.
func TestUpgrade(t *testing.T) {
	const runners, exiters = 5, 5
	next := variant(t, "later", later())
	files := map[string]string{}
	stop := "[[mount]]\ntype = 'volume'\nsource = 'stop'\ntarget = '/run/stop'"
	for i := range runners {
		files[fmt.Sprintf("runner%d.toml", i)] = sh(`n=0; while [ ! -e /run/stop/now ]; do echo line $n; n=$((n+1)); sleep 0.01; done; echo last $n; exec sleep 1000`, stop)
	}
	for i := range exiters {
		files[fmt.Sprintf("exiter%d.toml", i)] = sh(
			fmt.Sprintf(`n=$(cat /run/count/n 2>/dev/null || echo 0); n=$((n+1)); echo $n >/run/count/n
sleep 0.%d; if [ -e /run/stop/now ]; then echo stays; exec sleep 1000; fi; exit 3`, i+1),
			fmt.Sprintf("[[mount]]\ntype = 'volume'\nsource = 'count%d'\ntarget = '/run/count'", i), stop,
			"[restart]\npolicy = 'always'\ndelay = '20ms'\nfactor = 1.0\nlimit = { burst = 0, within = '1m' }")
	}
	d, become := upgradable(t, files)
	pids := map[string]int{}
	for i := range runners {
		name := fmt.Sprintf("runner%d", i)
		pids[name] = d.wait(name, core.Running).MainPID
	}
	for range 4 {
		become(next, "later")
		become(binary(t, "berthd"), "development")
	}
	if strings.Contains(d.log.String(), "of a newer berthd") {
		t.Error("a version that only adds fields is taken for one that cannot be read")
	}
	runs := func(i int) int {
		text, _ := os.ReadFile(filepath.Join(d.dir, fmt.Sprintf("state/volumes/count%d/n", i))) // none at first
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return n
	}
	for i := range exiters {
		d.eventually(fmt.Sprintf("exiter%d has ended twice", i), func() bool { return runs(i) > 2 })
	}
	if err := os.WriteFile(filepath.Join(d.dir, "state/volumes/stop/now"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, pid := range pids {
		d.eventually(name+" has logged its last line", func() bool {
			lines := d.logs(name)
			return len(lines) > 0 && strings.HasPrefix(lines[len(lines)-1], "last ")
		})
		if st := d.status(name); st.MainPID != pid || st.Restarts != 0 || st.Phase != core.Running {
			t.Errorf("%s: pid %d, was %d; %d restarts, %s", name, st.MainPID, pid, st.Restarts, st.Phase)
		}
		lines := d.logs(name)
		for i, line := range lines[:len(lines)-1] {
			if line != fmt.Sprint("line ", i) {
				t.Errorf("%s: line %d is %q", name, i, line)
				break
			}
		}
	}
	for i := range exiters {
		name := fmt.Sprintf("exiter%d", i)
		d.eventually(name+" stays in its last run", func() bool {
			lines := d.logs(name)
			return len(lines) > 0 && lines[len(lines)-1] == "stays" && d.status(name).Phase == core.Running
		})
		if st, n := d.status(name), runs(i); st.Restarts != n-1 {
			t.Errorf("%s: %d runs, %d restarts", name, n, st.Restarts)
		}
	}
	if list := d.ok("history"); !strings.Contains(list, "1") {
		t.Errorf("berth history: %s", list)
	}
}

// TestDowngradeFarther goes to a version whose state means other things, and back:
// what runs is kept.
func TestDowngradeFarther(t *testing.T) {
	far := variant(t, "far", later("const snapshotVersion = 1", "const snapshotVersion = 1000"))
	d, become := upgradable(t, map[string]string{
		"web.toml":  sh("exec sleep 1000"),
		"db.toml":   sh("exec sleep 1000"),
		"task.toml": "[service]\ntype = 'task'\nremain = true\ncommand = ['/bin/true']\n[rootfs]\nhost = true\n",
	})
	before := d.pidsOf("web", "db")
	d.wait("task", core.Completed)
	become(far, "far")
	if now := d.pidsOf("web", "db"); now != before {
		t.Errorf("the processes are %s, were %s", now, before)
	}
	become(binary(t, "berthd"), "development")
	if now := d.pidsOf("web", "db"); now != before {
		t.Errorf("the processes are %s, were %s", now, before)
	}
	d.wait("task", core.Completed)
	if !strings.Contains(d.log.String(), "of a newer berthd") {
		t.Error("the log does not tell")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "state/crashed-snapshot")); err != nil {
		t.Error(err)
	}
}

// pidsOf tells the main processes of units that run, with their restarts.
func (d *daemon) pidsOf(units ...string) string {
	d.t.Helper()
	text := ""
	for _, u := range units {
		st := d.wait(u, core.Running)
		text += fmt.Sprintf("%s %d (%d restarts) ", u, st.MainPID, st.Restarts)
	}
	return text
}

// TestUpgradeRefused has files at berthd's place that would be its end.
func TestUpgradeRefused(t *testing.T) {
	d, become := upgradable(t, map[string]string{"web.toml": sh("exec sleep 1000")})
	before := d.pidsOf("web")
	was, err := d.api.Daemon(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	own := readFile(t, binary(t, "berthd"))
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"cut short":         {own[:len(own)/2], 0o755, "cut short"},
		"not executable":    {own, 0o644, "not executable"},
		"another machine's": {own[:18] + "\xff\x00" + own[20:], 0o755, "another kind of processor"},
		"another program":   {readFile(t, "/bin/true"), 0o755, "not berthd"},
	} {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		install(t, path, d.program, c.mode)
		_, errs, code := d.berth("daemon-reexec")
		if code == 0 || !strings.Contains(errs, c.want) || !strings.Contains(errs, "nothing was changed") {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
		if now, err := d.api.Daemon(context.Background()); err != nil || now.PID != was.PID {
			t.Errorf("%s: the supervisor is %+v, was %d; %v", name, now, was.PID, err)
		}
	}
	if err := os.Remove(d.program); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := d.berth("daemon-reexec"); code == 0 {
		t.Errorf("without a program: %s", errs)
	}
	become(binary(t, "berthd"), "development")
	if now := d.pidsOf("web"); now != before {
		t.Errorf("the processes are %s, were %s", now, before)
	}
}
