package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: under emulation, on a busy host, a boot can take a
// minute.
const patience = 3 * time.Minute

// guest is the appliance while it runs.
type guest struct {
	*testing.T
	cmd   *exec.Cmd
	port  int
	in    io.Writer
	ended chan struct{} // closed when QEMU has ended
	err   error         // then, how

	mu      sync.Mutex
	text    []byte        // all that the console said
	changed chan struct{} // closed when it says more
}

func (g *guest) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text = append(g.text, bytes.ReplaceAll(p, []byte("\r"), nil)...)
	close(g.changed)
	g.changed = make(chan struct{})
	return len(p), nil
}

// start runs the image of a directory.
func start(t *testing.T, out, format string) *guest {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{T: t, port: free.Addr().(*net.TCPAddr).Port, ended: make(chan struct{}), changed: make(chan struct{})}
	free.Close()
	args, err := machine{out: out, format: format, ports: map[int]int{g.port: 80}}.command()
	if err != nil {
		t.Fatal(err)
	}
	g.cmd = exec.Command(args[0], append(args[1:], "-serial", "stdio")...)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.cmd.Stdout, g.cmd.Stderr = g, g
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.err = g.cmd.Wait()
		close(g.ended)
	}()
	t.Cleanup(func() {
		_ = g.cmd.Process.Kill() // it may have ended
		<-g.ended
		if t.Failed() {
			t.Logf("the console of %s:\n%s", format, g.text)
		}
	})
	return g
}

// says waits until the console says something, from an offset on, and gives the
// offset behind it.
func (g *guest) says(want string, from int) int {
	g.Helper()
	limit := time.After(patience)
	for {
		g.mu.Lock()
		i := bytes.Index(g.text[from:], []byte(want))
		changed := g.changed
		g.mu.Unlock()
		if i >= 0 {
			return from + i + len(want)
		}
		select {
		case <-changed:
		case <-g.ended:
			g.Fatalf("the machine has ended (%v) and not said %q", g.err, want)
		case <-limit:
			g.Fatalf("the console does not say %q", want)
		}
	}
}

// prompt is what the console's shell says when it is ready.
const prompt = "appliance# "

// run has the console's shell run a command and gives what it prints.
func (g *guest) run(command string) string {
	g.Helper()
	g.mu.Lock()
	from := len(g.text)
	g.mu.Unlock()
	// The line is echoed; what it prints is told apart by the sums.
	fmt.Fprintf(g.in, "echo begin-$((20+2)); %s; echo end-$((40+2))\n", command)
	begin := g.says("begin-22\n", from)
	end := g.says("end-42\n", begin)
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.TrimSpace(string(g.text[begin : end-len("end-42\n")]))
}

// page waits until nginx answers.
func (g *guest) page() string {
	g.Helper()
	var last error
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", g.port))
		if err == nil {
			var text []byte
			text, err = io.ReadAll(answer.Body)
			answer.Body.Close()
			if err == nil && answer.StatusCode == http.StatusOK {
				return string(text)
			}
			err = errors.Join(err, errors.New(answer.Status))
		}
		last = err
		select {
		case <-g.ended:
			g.Fatalf("the machine has ended: %v", g.err)
		case <-time.After(100 * time.Millisecond): // QEMU accepts before anybody listens
		}
	}
	g.Fatalf("nginx does not answer: %v", last)
	return ""
}

// poweroff has the machine switch itself off.
func (g *guest) poweroff() {
	g.Helper()
	fmt.Fprintln(g.in, "berth poweroff")
	select {
	case <-g.ended:
		if g.err != nil {
			g.Fatalf("qemu: %v", g.err)
		}
	case <-time.After(patience):
		g.Fatal("the machine does not switch itself off")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.Contains(string(g.text), "everything is unmounted") {
		g.Error("the machine did not say that everything is unmounted")
	}
}

// need skips the test without what it takes, or fails it if BERTH_NO_SKIP is set.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	for _, program := range []string{qemu, "apt-get", "apt-cache", "e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("BERTH_NO_SKIP") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// programs builds berth and berthd.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"berth", "berthd"} {
		build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), "berth/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", name, err, out)
		}
	}
	return filepath.Join(dir, "berth")
}

// image builds one of a format into a directory, with the packages that other
// runs have fetched.
func image(t *testing.T, berth, out, format string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b := build{out: out, format: format, packages: filepath.Join(cache, "berth-appliance"), source: ".", berth: berth}
	if err := b.run(context.Background(), &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
}

// The appliance serves its page, keeps on its disk what redis is told, whatever
// the image is, and switches itself off in order.
func TestAppliance(t *testing.T) {
	need(t)
	out, berth := t.TempDir(), programs(t)
	kept := "(nil)"
	for i, format := range []string{"initramfs", "squashfs", "ext4"} {
		image(t, berth, out, format)
		g := start(t, out, format)
		g.says(prompt, 0)
		if page := g.page(); !strings.Contains(page, "an appliance whose PID 1 is berthd") {
			t.Errorf("%s: the page is %q", format, page)
		}
		if got := g.run("berth wait --timeout 2m redis"); strings.Contains(got, "berth:") {
			t.Errorf("%s: berth wait prints %q", format, got)
		}
		if got := g.run("berth exec redis -- /usr/bin/redis-cli ping"); got != "PONG" {
			t.Errorf("%s: redis answers %q", format, got)
		}
		if got := g.run("berth exec redis -- /usr/bin/redis-cli get kept"); got != kept {
			t.Errorf("%s: redis has kept %q, and not %q", format, got, kept)
		}
		kept = fmt.Sprintf("%q", fmt.Sprintf("by machine %d", i))
		if got := g.run("berth exec redis -- /usr/bin/redis-cli set kept " + kept); got != "OK" {
			t.Errorf("%s: redis answers %q", format, got)
		}
		confined(t, g)
		g.poweroff()
	}
	// What berth build-image made, and three machines wrote to.
	if out, err := exec.Command("e2fsck", "-fn", filepath.Join(out, dataDisk)).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// confined looks at what the kernel says of the main processes of nginx and redis.
func confined(t *testing.T, g *guest) {
	t.Helper()
	for unit, want := range map[string][]string{
		"nginx": {"CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t33\t33\t33\t33"},
		"redis": {"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t100\t100\t100\t100"},
	} {
		status := g.run("cat /proc/$(head -n 1 /sys/fs/cgroup/berth.slice/" + unit + ".service/cgroup.procs)/status")
		for _, line := range want {
			if !strings.Contains(status, line+"\n") {
				t.Errorf("%s is without %q:\n%s", unit, line, status)
			}
		}
	}
}
