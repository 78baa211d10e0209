package pid1test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"berth/isolate/vmtest"
	"berth/supervisor/api"
	"berth/supervisor/core"
)

// machine is a guest with what the tests ask it for.
type machine struct {
	t testing.TB
	*vmtest.Guest
}

func (m machine) part(name string, do func(m machine)) {
	t := m.t.(*testing.T)
	t.Run(name, func(t *testing.T) { do(machine{t, m.For(t)}) })
}

// guestProgram is what package guest is in the machine.
const guestProgram = "usr/bin/guest"

var buildGuest = sync.OnceValues(func() ([]byte, error) { return vmtest.Build("berth/cmd/berthd/pid1test/guest") })

// up starts a machine with unit files by name, and waits until it is up.
func up(t *testing.T, s vmtest.System, units map[string]string) machine {
	t.Helper()
	m := switchOn(t, s, units)
	m.Up()
	return m
}

// switchOn is up without the wait.
func switchOn(t *testing.T, s vmtest.System, units map[string]string) machine {
	t.Helper()
	vmtest.Need(t)
	program, err := buildGuest()
	if err != nil {
		t.Fatal(err)
	}
	s.Files = append(s.Files, vmtest.Text(guestProgram, string(program), 0o755))
	for name, text := range units {
		s.Files = append(s.Files, vmtest.Text(vmtest.Units+"/"+name+".toml", text, 0o644))
	}
	return machine{t, vmtest.Boot(t, s)}
}

// list gives all units by name.
func (m machine) list() map[string]api.Unit {
	m.t.Helper()
	var all []api.Unit
	m.decode(m.Run("berth", "list", "-o", "json"), &all)
	units := map[string]api.Unit{}
	for _, u := range all {
		units[u.Name] = u
	}
	return units
}

// daemon gives the status of the daemon.
func (m machine) daemon() api.Daemon {
	m.t.Helper()
	var d api.Daemon
	m.decode(m.Run("berth", "status", "-o", "json"), &d)
	return d
}

func (m machine) decode(text string, into any) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		m.t.Fatalf("%v in %s", err, text)
	}
}

// running waits until units run.
func (m machine) running(names ...string) map[string]api.Unit {
	m.t.Helper()
	var units map[string]api.Unit
	m.Eventually("running: "+strings.Join(names, ", "), func() bool {
		units = m.list()
		for _, n := range names {
			if units[n].Phase != core.Running {
				return false
			}
		}
		return true
	}, func() string { return m.Run("berth", "list") })
	return units
}

// started tells when a process was started, in ticks since the boot
// (proc_pid_stat(5), field 22), which with its number tells it from all others.
func (m machine) started(pid int) string {
	m.t.Helper()
	text := m.Read(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Fields(text[strings.LastIndex(text, ")")+1:])[19]
}

// pss gives the memory of a process in KiB, with its share of what it shares.
func (m machine) pss(pid int) int {
	m.t.Helper()
	for line := range strings.Lines(m.Read(fmt.Sprintf("/proc/%d/smaps_rollup", pid))) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				m.t.Fatal(err)
			}
			return kib
		}
	}
	m.t.Fatalf("process %d has no Pss", pid)
	return 0
}

// times are what guest latency prints, in milliseconds: of the API's answers,
// and how late a process in the machine wakes up that does not ask anybody.
type times struct{ N, P50, P99, Max, Late50, Late99, LateMax float64 }

// latency measures the API for so many seconds while something else is done.
func (m machine) latency(seconds int, meanwhile func()) times {
	m.t.Helper()
	type result struct {
		out    string
		status int
		err    error
	}
	done := make(chan result, 1)
	go func() {
		out, status, err := m.Exec("guest", "latency", strconv.Itoa(seconds))
		done <- result{out, status, err}
	}()
	meanwhile()
	r := <-done
	if r.err != nil || r.status != 0 {
		m.t.Fatalf("guest latency: status %d, %v: %s", r.status, r.err, r.out)
	}
	var took times
	m.decode(r.out, &took)
	return took
}

// guestUnit is a unit that runs a program of this package.
func guestUnit(what string, number int, more ...string) string {
	return fmt.Sprintf("[service]\ncommand = ['/usr/bin/guest', '%s', '%d']\n[rootfs]\nhost = true\n%s\n", what, number, strings.Join(more, "\n"))
}

// whole fails the test unless the lines of a counting unit are all there, once
// and in order, and gives the last number.
func (m machine) whole(unit string) int {
	m.t.Helper()
	n := 0
	for line := range strings.Lines(m.Read("/var/lib/berth/log/" + unit + "/current.log")) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 || f[2] != "F" || f[3] != strconv.Itoa(n+1) {
			m.t.Fatalf("the log of %s has %q after %d", unit, line, n)
		}
		n++
	}
	return n
}
