package tinyinit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// service names the variable by which the test binary executes itself as the
// service at PID 2, and what it does there.
const service = "BERTH_TEST_TINYINIT_SERVICE"

// deadline is for everything that a test waits for.
const deadline = 20 * time.Second

func TestMain(m *testing.M) {
	if what := os.Getenv(service); what != "" {
		serve(what)
	}
	os.Exit(m.Run())
}

// serve is the service. It says "ready", does what it is told, and does not return.
func serve(what string) {
	if os.Getpid() != 2 {
		fmt.Println("the service has PID", os.Getpid())
		os.Exit(99)
	}
	verb, arg, _ := strings.Cut(what, " ")
	number, _ := strconv.Atoi(arg)
	switch verb {
	case "exit":
		os.Exit(number)
	case "die":
		syscall.Kill(os.Getpid(), syscall.Signal(number))
		select {}
	case "signals": // prints the signals it gets, until TERM
		got := make(chan os.Signal, 16)
		signal.Notify(got)
		fmt.Println("ready")
		for s := range got {
			if s == syscall.SIGURG {
				continue // the Go scheduler's own
			}
			fmt.Println("got", int(s.(syscall.Signal)))
			if s == syscall.SIGTERM {
				os.Exit(3)
			}
		}
	case "orphans": // makes that many, then waits for its standard input to end
		for range number {
			if err := exec.Command("/bin/sh", "-c", "(exit 5) & (exit 6) & exit 0").Run(); err != nil {
				fmt.Println(err)
				os.Exit(98)
			}
		}
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		os.Exit(4)
	}
}

// container is a running init with its service.
type container struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin io.WriteCloser
}

// start runs the service what below the init, as the contract asks for it. A
// shell, which is one thread, is PID 1 at first and starts the service as PID
// 2; early has it wait until that has ended before it executes the init.
func start(t *testing.T, what string, early bool) *container {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("a PID namespace needs root")
		}
		t.Skip("a PID namespace needs root")
	}
	image, err := MemFD()
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	read, write, err := os.Pipe() // its writing end is the service's: it ends with it
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `exec 6<&0; "$0" <&6 & exec 5>&- 6<&- </dev/null; exec /proc/self/fd/3`
	if early {
		script = `"$0" & exec 5>&-; read x <&4; exec /proc/self/fd/3`
	}
	c := &container{cmd: exec.Command("/bin/sh", "-c", script, self)}
	c.cmd.Env = append(os.Environ(), service+"="+what)
	c.cmd.ExtraFiles = []*os.File{image, read, write}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr = os.Stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(stdout)
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}

	// The child takes the mask of the thread that forks it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		t.Fatal(err)
	}
	err = c.cmd.Start()
	if err2 := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err2 != nil {
		t.Fatal(err2)
	}
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(deadline, func() { c.cmd.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	return c
}

func (c *container) line(t *testing.T) string {
	t.Helper()
	if !c.lines.Scan() {
		t.Fatalf("the service ended: %v", c.lines.Err())
	}
	return c.lines.Text()
}

// ends checks the exit status of the init.
func (c *container) ends(t *testing.T, want int) {
	t.Helper()
	for c.lines.Scan() {
		t.Errorf("the service says: %s", c.lines.Text())
	}
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := c.cmd.ProcessState; got.ExitCode() != want {
		t.Errorf("init ended with %v, want %d", got, want)
	}
}

func (c *container) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), name)
}

// until looks again and again, up to the deadline; procfs gives no events.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(deadline)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// running waits until the init has been executed.
func (c *container) running(t *testing.T) {
	t.Helper()
	until(t, "the init is executed", func() bool {
		exe, _ := os.Readlink(c.proc("exe"))
		return exe == "/memfd:"+fileName+" (deleted)"
	})
}

func TestExitStatus(t *testing.T) {
	for _, early := range []bool{false, true} {
		for _, status := range []int{0, 1, 7, 255} {
			start(t, fmt.Sprintf("exit %d", status), early).ends(t, status)
		}
		start(t, fmt.Sprintf("die %d", syscall.SIGKILL), early).ends(t, SignalBase+9)
	}
}

func TestNoChild(t *testing.T) {
	c := start(t, "exit 0", false)
	c.ends(t, 0)
	image, err := MemFD()
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", 3))
	cmd.ExtraFiles = []*os.File{image}
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != StatusLost {
		t.Errorf("got %v", err)
	}
}

func TestForwardsSignals(t *testing.T) {
	c := start(t, "signals", false)
	if got := c.line(t); got != "ready" {
		t.Fatal(got)
	}
	c.running(t)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGWINCH, syscall.SIGINT, syscall.SIGQUIT, 40, 64, syscall.SIGTERM} {
		if err := c.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if got, want := c.line(t), fmt.Sprint("got ", int(s)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	c.ends(t, 3)
}

func TestReapsOrphans(t *testing.T) {
	c := start(t, "orphans 100", false)
	if got := c.line(t); got != "ready" {
		t.Fatal(got)
	}
	c.running(t)
	children := func() int {
		pid := strconv.Itoa(c.cmd.Process.Pid)
		text, err := os.ReadFile(c.proc("task/" + pid + "/children"))
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.Fields(string(text)))
	}
	until(t, "only the service is left", func() bool { return children() == 1 })
	c.stdin.Close()
	c.ends(t, 4)
}

// TestImmune looks at the running init as root would from inside.
func TestImmune(t *testing.T) {
	c := start(t, "orphans 0", false)
	if got := c.line(t); got != "ready" {
		t.Fatal(got)
	}
	c.running(t)
	for _, flags := range []int{unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC} {
		fd, err := unix.Open(c.proc("exe"), flags|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			t.Errorf("the executable opens for writing (%#x)", flags)
		}
	}
	maps, err := os.ReadFile(c.proc("maps"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(maps)), "\n") {
		fields := strings.Fields(line)
		if strings.Contains(fields[1], "w") && fields[len(fields)-1] != "[stack]" || fields[1] == "rwxp" {
			t.Errorf("writable memory: %s", line)
		}
	}
	rollup, err := os.ReadFile(c.proc("smaps_rollup"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(rollup), "\n") {
		var kb int
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &kb); err == nil {
			t.Logf("proportional set size: %d KiB", kb)
			if kb > 32 {
				t.Errorf("the init has %d KiB", kb)
			}
		}
	}
	c.stdin.Close()
	c.ends(t, 4)
}

func TestMemFD(t *testing.T) {
	f, err := MemFD()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if want := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL; err != nil || seals&want != want {
		t.Errorf("seals are %#x (%v)", seals, err)
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("descriptor flags are %#x (%v)", flags, err)
	}
	if _, err := unix.Pwrite(fd, []byte("x"), 0); err != unix.EPERM {
		t.Errorf("pwrite: %v", err)
	}
	if err := unix.Ftruncate(fd, 0); err != unix.EPERM {
		t.Errorf("ftruncate: %v", err)
	}
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		if _, err := unix.Write(again, []byte("x")); err != unix.EPERM {
			t.Errorf("write through another descriptor: %v", err)
		}
		unix.Close(again)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != int64(len(Image())) || info.Mode() != 0o555 {
		t.Errorf("%v bytes, mode %v (%v)", info.Size(), info.Mode(), err)
	}
}
