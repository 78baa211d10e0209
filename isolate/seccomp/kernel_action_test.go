package seccomp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperProbe says what the helper does under its filter: the name of an action
// to run into, or the arguments that getppid(2), which has none, is given.
const helperProbe = "BERTH_TEST_SECCOMP_PROBE"

// probeOwn does it.
func probeOwn(probe string) error {
	switch probe {
	case "thread":
		return endThread()
	case "fork":
		return endChild()
	case "call":
		r, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		fmt.Println(int(r), int(errno))
		return nil
	}
	for _, list := range strings.Fields(probe) {
		var args [6]uintptr
		for i, text := range strings.Split(list, ",") {
			v, err := strconv.ParseUint(text, 0, 64)
			if err != nil {
				return err
			}
			args[i] = uintptr(v)
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_GETPPID, args[0], args[1], args[2], args[3], args[4], args[5])
		fmt.Print(int(errno), " ")
	}
	return nil
}

// endThread makes the call in a thread of its own, and waits until that is gone.
func endThread() error {
	tid := make(chan int)
	go func() {
		runtime.LockOSThread()
		tid <- unix.Gettid()
		unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		fmt.Println("the call came back")
		os.Exit(1)
	}()
	task := fmt.Sprintf("/proc/self/task/%d", <-tid)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if _, err := os.Stat(task); os.IsNotExist(err) {
			fmt.Println("the thread has ended")
			os.Exit(0) // the runtime still counts on the thread
		}
	}
	return fmt.Errorf("the thread lives on")
}

// endChild makes the call in a child, and tells how that ended.
func endChild() error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &ws, 0, nil); err != nil {
		return err
	}
	fmt.Println(ws.Signaled(), ws.Signal())
	return nil
}

// TestKernelActions holds what each action does to a call that the profile names.
func TestKernelActions(t *testing.T) {
	ppid := strconv.Itoa(os.Getpid()) + " 0"
	for _, c := range []struct{ action, probe, want string }{
		{`"SCMP_ACT_ALLOW"`, "call", ppid},
		{`"SCMP_ACT_LOG"`, "call", ppid},
		{`"SCMP_ACT_ERRNO"`, "call", "-1 1"},
		{`"SCMP_ACT_ERRNO","errnoRet":0`, "call", "0 0"},
		{`"SCMP_ACT_ERRNO","errnoRet":4094`, "call", "-1 4094"},
		{`"SCMP_ACT_TRACE"`, "call", "-1 38"},
		{`"SCMP_ACT_NOTIFY"`, "call", "-1 38"},
		{`"SCMP_ACT_KILL"`, "thread", "the thread has ended"},
		{`"SCMP_ACT_KILL_THREAD"`, "thread", "the thread has ended"},
		{`"SCMP_ACT_KILL_PROCESS"`, "fork", "true bad system call"},
	} {
		t.Run(c.action, func(t *testing.T) {
			t.Setenv(helperProbe, c.probe)
			out, err := runUnder(t, `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_TSYNC"],
				"syscalls":[{"names":["getpid","nonesuch"],"action":"SCMP_ACT_LOG"},{"names":["getppid"],"action":`+c.action+`}]}`)
			if err != nil || out != c.want+"\n" {
				t.Errorf("got %q (%v), want %q", out, err, c.want)
			}
		})
	}
	// Go's runtime catches the signal and ends the process by itself.
	t.Setenv(helperProbe, "call")
	out, err := runUnder(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getppid"],"action":"SCMP_ACT_TRAP"}]}`)
	if status, ok := err.(*exec.ExitError); !ok || status.ExitCode() != 2 || !strings.HasPrefix(out, "SIGSYS: bad system call") {
		t.Errorf("SCMP_ACT_TRAP: got %q (%v)", out, err)
	}
}

// TestKernelTrace holds that a tracer gets the profile's number.
func TestKernelTrace(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperProbe+"=call", "GOTRACEBACK=none",
		helperProfile+`={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getppid"],"action":"SCMP_ACT_TRACE","errnoRet":77}]}`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, options, message := cmd.Process.Pid, false, uint(0)
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
			t.Fatal(err)
		}
		if ws.Exited() || ws.Signaled() {
			break
		}
		if !options {
			if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESECCOMP|unix.PTRACE_O_EXITKILL); err != nil {
				t.Fatal(err)
			}
			options = true
		}
		signal := int(ws.StopSignal())
		if ws.TrapCause() == unix.PTRACE_EVENT_SECCOMP {
			if message, err = unix.PtraceGetEventMsg(pid); err != nil {
				t.Fatal(err)
			}
		}
		if signal == int(unix.SIGTRAP) {
			signal = 0
		}
		if err := unix.PtraceCont(pid, signal); err != nil {
			t.Fatal(err)
		}
	}
	if message != 77 || ws.ExitStatus() != 0 {
		t.Errorf("the tracer got %d, the end was %v", message, ws)
	}
}

// TestKernelOperators holds each comparison, over both words and on each
// argument, to the kernel's own evaluation.
func TestKernelOperators(t *testing.T) {
	if strconv.IntSize != 64 {
		t.Skip("arguments are 64 bits wide")
	}
	values := []uint64{0, 1, 6, 7, 8, 1<<32 - 1, 1 << 32, 7<<32 | 6, 7<<32 | 7, 7<<32 | 8, 8 << 32, 1<<64 - 1}
	for _, op := range ops {
		for index := range 6 {
			value, two := uint64(7<<32|7), uint64(0)
			if op.value == MaskedEqual {
				value, two = 7<<32|6, 7<<32|2
			}
			arg := Arg{Index: index, Op: op.value, Value: value, ValueTwo: two}
			var probe, want []string
			for _, v := range values {
				args := make([]string, 6)
				for i := range args {
					args[i] = "5"
				}
				args[index] = strconv.FormatUint(v, 10)
				probe = append(probe, strings.Join(args, ","))
				want = append(want, map[bool]string{true: "33", false: "0"}[matches(arg, &abi{}, v)])
			}
			t.Setenv(helperProbe, strings.Join(probe, " "))
			out, err := runUnder(t, fmt.Sprintf(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":33,
				"args":[{"index":%d,"value":%d,"valueTwo":%d,"op":"%s"}]}]}`, index, value, two, op.name))
			if got := strings.Fields(out); err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%s on argument %d: got %v (%v), want %v", op.name, index, got, err, want)
			}
		}
	}
	// Several conditions on one argument are alternatives, on several arguments all must hold.
	t.Setenv(helperProbe, "1,0 2,0 3,0 9,1 9,2")
	out, err := runUnder(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
		{"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":10,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},
		{"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":11,"args":[{"index":0,"value":9,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]}]}`)
	if err != nil || out != "10 10 0 0 11 " {
		t.Errorf("got %q (%v)", out, err)
	}
}

func TestInspect(t *testing.T) {
	compile := func(text string) []byte {
		p, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		filter, _, err := Compile(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return filter
	}
	filter := compile(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],"syscalls":[
		{"names":["getppid"],"action":"SCMP_ACT_NOTIFY","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
		{"names":["getpid"],"action":"SCMP_ACT_LOG"},{"names":["read"],"action":"SCMP_ACT_ERRNO"}]}`)
	if !Notifies(filter) {
		t.Error("the filter does notify")
	}
	if Notifies(compile(`{"defaultAction":"SCMP_ACT_ALLOW"}`)) {
		t.Error("the filter does not notify")
	}
	for number, want := range map[uint32]bool{unix.SYS_GETPPID: false, unix.SYS_GETPID: true, unix.SYS_READ: false, unix.SYS_WRITE: true} {
		if got := Passes(filter, number); got != want {
			t.Errorf("call %d: got %v", number, got)
		}
	}
	byDefault, _, err := Compile(Default(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	vm := machineFor(t, byDefault)
	for n := range uint32(512) {
		if Passes(byDefault, n) && evaluate(t, vm, data{nr: n, arch: machines[runtime.GOARCH].native.audit}) != allowed.ret() {
			t.Errorf("call %d does not pass", n)
		}
	}
}

// TestKernelLog holds that calls refused by a filter with the flag for it are in
// the kernel's log. The kernel drops such messages where there are many, so the
// call is made until one comes through.
func TestKernelLog(t *testing.T) {
	logged, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_logged")
	if err != nil || !slices.Contains(strings.Fields(string(logged)), "errno") {
		t.Skipf("refused calls are not logged here: actions_logged is %q (%v)", logged, err)
	}
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil && string(comm) == "auditd\n" {
			t.Skip("auditd takes the messages before they are in the kernel's log")
		}
	}
	kmsg, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip("the kernel's log cannot be read: ", err)
	}
	defer unix.Close(kmsg)
	if _, err := unix.Seek(kmsg, 0, unix.SEEK_END); err != nil {
		t.Fatal(err)
	}
	t.Setenv(helperProbe, "call")
	const profile = `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}`
	want := fmt.Sprintf("syscall=%d ", unix.SYS_GETPPID)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if out, err := runUnder(t, profile); err != nil || out != "-1 1\n" {
			t.Fatal(out, err)
		}
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(kmsg), Events: unix.POLLIN}}, 1000); err != nil && err != unix.EINTR || n == 0 {
			continue
		}
		for {
			record := make([]byte, 8192)
			n, err := unix.Read(kmsg, record)
			if err == unix.EAGAIN {
				break
			}
			if text := string(record[:max(n, 0)]); strings.Contains(text, "type=1326") && strings.Contains(text, want) && strings.Contains(text, "code=0x50000") {
				return
			}
		}
	}
	t.Error("nothing was logged")
}
