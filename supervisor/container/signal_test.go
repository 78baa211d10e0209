package container

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waitForTerm blocks SIGTERM, leaves it at its default action, and waits for it.
func waitForTerm() error {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() { // the main thread is the one that is looked at
		return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	var byDefault [4]uint64 // struct sigaction
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTERM), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0); errno != 0 {
		return errno
	}
	set := uint64(1) << (unix.SIGTERM - 1)
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0); errno != 0 {
		return errno
	}
	_, _, errno := unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, 0, 8, 0, 0)
	return fmt.Errorf("the wait has ended: %w", errno)
}

// begin starts a program, in a PID namespace of its own if so asked, and waits
// for its first line if it writes one.
func begin(t *testing.T, namespace bool, line bool, env string, args ...string) int {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{}
	if namespace {
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	c.Env = append(os.Environ(), env)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if line {
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return c.Process.Pid
}

func TestDroppedByInit(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("making PID namespaces needs root")
	}
	sleep := []string{"/bin/sleep", "1000"}
	ignoring := []string{"/bin/sh", "-c", `trap "" TERM; echo; exec sleep 1000`}
	handling := []string{"/bin/sh", "-c", `trap "exit 3" TERM; echo; while :; do sleep 1; done`}
	for _, c := range []struct {
		name      string
		namespace bool
		line      bool
		args      []string
		sig       syscall.Signal
		want      bool
	}{
		{"an init", true, false, sleep, unix.SIGTERM, true},
		{"another signal that ends", true, false, sleep, unix.SIGUSR1, true},
		{"a signal that does nothing by default", true, false, sleep, unix.SIGCHLD, false},
		{"a signal that cannot be dropped", true, false, sleep, unix.SIGKILL, false},
		{"an init that ignores it", true, true, ignoring, unix.SIGTERM, false},
		{"an init that ignores another", true, true, ignoring, unix.SIGUSR1, true},
		{"an init that handles it", true, true, handling, unix.SIGTERM, false},
		{"no init", false, false, sleep, unix.SIGTERM, false},
	} {
		pid := begin(t, c.namespace, c.line, "", c.args...)
		if got := DroppedByInit(pid, c.sig); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if c.want { // the kernel is of the same opinion
			if err := unix.Kill(pid, c.sig); err != nil {
				t.Error(err)
			}
			if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
				t.Errorf("%s: it has ended: %v", c.name, err)
			}
		}
	}
	if DroppedByInit(1<<22+1, unix.SIGTERM) {
		t.Error("a process that is not there drops signals")
	}
}

// TestWaitingInit has an init wait for the signal, which while it does so looks
// neither blocked nor handled.
func TestWaitingInit(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("making PID namespaces needs root")
	}
	pid := begin(t, true, false, helperEnv+"=1", "/proc/self/exe")
	for end := time.Now().Add(30 * time.Second); systemCall(pid) != strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it does not wait for the signal")
		}
	}
	if !defaultInInit(pid, unix.SIGTERM) {
		t.Error("the wait shows: the test is about nothing")
	}
	if DroppedByInit(pid, unix.SIGTERM) {
		t.Error("a signal that is waited for is taken for dropped")
	}
}
