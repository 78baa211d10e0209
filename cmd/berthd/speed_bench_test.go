package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// thousand is how many units BenchmarkThousandUnits starts.
const thousand = 1000

// BenchmarkThousandUnits starts 1,000 trivial containers: as units of one
// berthd, from the execution of the daemon until the last one runs, and by a
// shell loop over crun with the configuration that `crun spec` makes. It also
// takes the time of GET /metrics while they all run.
func BenchmarkThousandUnits(b *testing.B) {
	needRoot(b)
	root := busyboxRoot(b)
	files := map[string]string{}
	for i := range thousand {
		files[fmt.Sprintf("u%04d.toml", i)] = fmt.Sprintf("[service]\ncommand = ['/bin/busybox', 'sleep', '10000']\n[rootfs]\npath = %q\n[log]\ntarget = 'null'\n", root)
	}
	for b.Loop() {
		began := time.Now()
		d := start(b, files, "--log-level", "info")
		deadline := time.Now().Add(5 * time.Minute)
		for {
			st, err := d.api.Daemon(b.Context())
			if err != nil || time.Now().After(deadline) {
				b.Fatalf("not all units run: %v %+v", err, st)
			}
			if st.Units[core.Running] == thousand {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		ours := thousand / time.Since(began).Seconds()
		began = time.Now()
		text, err := d.api.Metrics(b.Context())
		if err != nil || strings.Count(string(text), "\nberth_unit_up{") != thousand {
			b.Fatalf("the metrics are not those of all units: %v", err)
		}
		metrics := time.Since(began)
		d.stop()
		b.ReportMetric(ours, "berth-units/s")
		b.ReportMetric(float64(metrics.Microseconds())/1000, "berth-metrics-ms")
		theirs, err := crunLoop(b, root)
		if err != nil {
			b.Logf("not compared with crun: %v", err)
			continue
		}
		b.ReportMetric(theirs, "crun-units/s")
		b.ReportMetric(ours/theirs, "berth/crun")
	}
}

// crunLoop starts the same by crun, and gives containers a second.
func crunLoop(b *testing.B, root string) (float64, error) {
	bundle, state := b.TempDir(), b.TempDir()
	spec := exec.Command("crun", "spec")
	spec.Dir = bundle
	if out, err := spec.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	path := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return 0, err
	}
	config["root"] = map[string]any{"path": root, "readonly": true}
	process := config["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"/bin/busybox", "sleep", "10000"}
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		return 0, err
	}
	// crun 1.8 takes a hybrid host for one of cgroup v2: it is shown the v1 hierarchies alone.
	var script strings.Builder
	script.WriteString("set -e\n")
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		groups, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return 0, err
		}
		script.WriteString("mount -t tmpfs tmpfs /sys/fs/cgroup\n")
		for line := range strings.Lines(string(groups)) {
			if c := strings.Split(line, ":")[1]; c != "" {
				dir := "/sys/fs/cgroup/" + strings.TrimPrefix(c, "name=")
				fmt.Fprintf(&script, "mkdir -p %s; mount -t cgroup -o %s cgroup %s\n", dir, strings.Replace(c, "name=", "none,name=", 1), dir)
			}
		}
	}
	name := fmt.Sprintf("bench%d-", os.Getpid())
	// They are deleted where they were made: elsewhere crun does not find their groups.
	fmt.Fprintf(&script, `trap 'i=0; while [ $i -lt %[1]d ]; do crun --root %[2]s delete --force %[4]s$i 2>/dev/null || true; i=$((i+1)); done' EXIT
date +%%s.%%N
i=0
while [ $i -lt %[1]d ]; do crun --root %[2]s run --bundle %[3]s --detach %[4]s$i </dev/null >/dev/null 2>%[3]s/err; i=$((i+1)); done
date +%%s.%%N
`, thousand, state, bundle, name)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script.String())
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		why, _ := os.ReadFile(filepath.Join(bundle, "err")) // not made when the mounts failed
		return 0, fmt.Errorf("%w: %s%s", err, failed.String(), why)
	}
	var from, to float64
	if _, err := fmt.Sscan(out.String(), &from, &to); err != nil {
		return 0, err
	}
	return thousand / (to - from), nil
}

// crashes is how often each supervisor's service is killed.
const crashes = 10

// minimumUptime is how long a service runs before it is killed: runit and s6
// hold back the restart of one that ran for less than a second.
const minimumUptime = 1200 * time.Millisecond

// BenchmarkCrashToRunning kills a service and takes the time until its program
// runs again: under berth with delay = "0s", in a container of its own, and under
// runit and s6, which isolate nothing. The program tells by a FIFO that it runs.
func BenchmarkCrashToRunning(b *testing.B) {
	needRoot(b)
	root, dir := busyboxRoot(b), b.TempDir()
	const told = "echo up >%s/fifo; exec /bin/busybox sleep 10000"
	for b.Loop() {
		ours := crash(b, filepath.Join(dir, "berth"), func(events string) (pid func() int) {
			d := start(b, map[string]string{"x.toml": fmt.Sprintf(`[service]
command = ['/bin/busybox', 'sh', '-c', '%s']
[restart]
policy = "always"
delay = "0s"
jitter = 0.0
limit = { burst = 0, within = "1m" }
[rootfs]
path = %q
[[mount]]
source = %q
target = "/events"
`, fmt.Sprintf(told, "/events"), root, events)})
			return func() int {
				d.wait("x", core.Running)
				return d.status("x").MainPID
			}
		})
		b.ReportMetric(float64(ours.Microseconds()), "berth-us")
		for _, peer := range []struct {
			name, program string
			pid           func(service string) (string, error)
		}{
			{"runit", "runsv", func(service string) (string, error) {
				text, err := os.ReadFile(filepath.Join(service, "supervise/pid"))
				return string(text), err
			}},
			{"s6", "s6-supervise", func(service string) (string, error) {
				text, err := exec.Command("s6-svstat", "-o", "pid", service).Output()
				return string(text), err
			}},
		} {
			if _, err := exec.LookPath(peer.program); err != nil {
				b.Logf("not compared with %s: %v", peer.name, err)
				continue
			}
			theirs := crash(b, filepath.Join(dir, peer.name), func(events string) (pid func() int) {
				service := filepath.Join(b.TempDir(), peer.name)
				if err := os.Mkdir(service, 0o755); err != nil {
					b.Fatal(err)
				}
				run := "#!/bin/busybox sh\n" + fmt.Sprintf(told, events) + "\n"
				if err := os.WriteFile(filepath.Join(service, "run"), []byte(run), 0o755); err != nil {
					b.Fatal(err)
				}
				cmd := exec.Command(peer.program, service)
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				pid = func() int {
					text, err := peer.pid(service)
					n, convErr := strconv.Atoi(strings.TrimSpace(text))
					if err != nil || convErr != nil || n <= 1 {
						b.Fatalf("%s does not tell its service's pid: %q %v", peer.name, text, err)
					}
					return n
				}
				b.Cleanup(func() {
					last := pid()
					_ = cmd.Process.Kill() // then its service has no supervisor
					_ = cmd.Wait()
					_ = syscall.Kill(last, syscall.SIGKILL)
				})
				return pid
			})
			b.ReportMetric(float64(theirs.Microseconds()), peer.name+"-us")
			b.ReportMetric(float64(ours)/float64(theirs), "berth/"+peer.name)
		}
	}
}

// crash kills a service again and again, and gives the median time from the
// signal until the program runs again.
func crash(b *testing.B, events string, supervise func(events string) (pid func() int)) time.Duration {
	if err := os.MkdirAll(events, 0o755); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(events, "fifo")
	if err := unix.Mkfifo(path, 0o622); err != nil && err != unix.EEXIST {
		b.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer fifo.Close()
	up := func() {
		if err := fifo.SetReadDeadline(time.Now().Add(patience)); err != nil {
			b.Fatal(err)
		}
		var line [3]byte
		if _, err := fifo.Read(line[:]); err != nil {
			b.Fatalf("the service does not run: %v", err)
		}
	}
	pid := supervise(events)
	up()
	var took []time.Duration
	for range crashes {
		time.Sleep(minimumUptime)
		process := pid()
		began := time.Now()
		if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		up()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
