package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// replacements is how often the unit is replaced under load.
const replacements = 50

// TestReplaceUnderLoad: wrk asks a server as fast as it can while that is
// replaced again and again: not one request fails.
func TestReplaceUnderLoad(t *testing.T) {
	d, load, unit := serve(t)
	for i := range replacements {
		if i%10 == 9 { // by a changed file
			before := d.status("web")
			d.change(func() { d.write("web.toml", unit(i)) })
			d.eventually("web is replaced", func() bool {
				st := d.status("web")
				return st.MainPID != before.MainPID && st.Beside == nil
			})
			continue
		}
		if out, errs, code := d.berth("restart", "web"); code != 0 || !strings.HasPrefix(out, "web: replaced") {
			t.Fatalf("restart %d ends with %d: %s%s", i, code, out, errs)
		}
	}
	t.Logf("%d replaces, %d requests", replacements, load.end(t))
}

// BenchmarkReplace is a replace under that load: from the request until the old
// instance is gone.
func BenchmarkReplace(b *testing.B) {
	d, load, _ := serve(b)
	for b.Loop() {
		d.ok("restart", "web")
	}
	b.ReportMetric(float64(load.end(b))/b.Elapsed().Seconds(), "requests/s")
}

// TestReplaceUnderLoadAndKills is that with the supervisor killed at three of the
// replace, at whatever moment of it.
func TestReplaceUnderLoadAndKills(t *testing.T) {
	d, load, _ := serve(t)
	for i := range replacements {
		before := d.status("web")
		d.ok("restart", "--no-block", "web")
		if i%15 == 9 {
			time.Sleep(time.Duration(i) * time.Millisecond) // another moment each time
			d.killSupervisor(func() {})
		}
		d.eventually("web is replaced", func() bool {
			st, err := d.api.Status(context.Background(), "web")
			return err == nil && st.Phase == core.Running && st.MainPID != before.MainPID && st.Beside == nil
		})
	}
	t.Logf("%d replaces, %d requests", replacements, load.end(t))
}

// serve starts a daemon with the server of examples/web on a socket that berth
// holds, and wrk against it; unit gives its unit file, another for each number.
func serve(t testing.TB) (d *daemon, load *wrk, unit func(n int) string) {
	needRoot(t)
	program, err := exec.LookPath("wrk")
	if err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs wrk (.ci/install installs it)")
		}
		t.Skip("needs wrk (.ci/install installs it)")
	}
	root := t.TempDir()
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(root, "server"), "berth/examples/web/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(t)
	unit = func(n int) string {
		return `[service]
command = ["/server"]
user = "65534"
environment = { NAME = "web ` + strconv.Itoa(n) + `" }
[rootfs]
path = "` + root + `"
[[socket]]
listen = "` + address + `"
name = "http` + strconv.Itoa(n) + `"
[ready]
notify = true
[restart]
mode = "replace"
`
	}
	d = start(t, map[string]string{"web.toml": unit(0)})
	d.wait("web", core.Running)
	// A restart of what is not ready yet is an ordinary one.
	d.eventually("web is ready", func() bool { return d.status("web").Told.Ready })
	return d, startLoad(t, program, "http://"+address+"/"), unit
}

// freeAddress gives a port that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// wrk is a load that lasts until it is ended.
type wrk struct {
	cmd *exec.Cmd
	out *lockedBuffer
}

func startLoad(t testing.TB, program, url string) *wrk {
	t.Helper()
	w := &wrk{exec.Command(program, "-t", "1", "-c", "16", "-d", "600s", "--timeout", "10s", url), &lockedBuffer{}}
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.out
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			_ = w.cmd.Process.Kill()
			_ = w.cmd.Wait()
		}
	})
	return w
}

// figures are what the end of wrk's report says. It tells of errors and of
// answers other than 2xx and 3xx only if there were any.
var figures = regexp.MustCompile(`(\d+) requests in|Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)|Non-2xx or 3xx responses: (\d+)`)

// end stops the load and demands that nothing of it has failed. It gives the
// number of requests.
func (w *wrk) end(t testing.TB) (requests int) {
	t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil { // it prints what it has found
		t.Fatal(err)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Fatalf("wrk: %v\n%s", err, w.out)
	}
	failed := 0
	for _, m := range figures.FindAllStringSubmatch(w.out.String(), -1) {
		for i, text := range m[1:] {
			n, _ := strconv.Atoi(text) // "": not in this line
			if i == 0 {
				requests += n
			} else {
				failed += n
			}
		}
	}
	if requests < 1000 || failed > 0 {
		t.Errorf("%d requests, and %d have failed:\n%s", requests, failed, w.out)
	}
	return requests
}
