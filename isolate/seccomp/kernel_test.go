package seccomp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// helperProfile names the variable by which the test binary executes itself to
// run under a filter: the profile in JSON, or "default".
const helperProfile = "BERTH_TEST_SECCOMP_PROFILE"

// helperX32, when set, makes it do nothing there but one call through x32.
const helperX32 = "BERTH_TEST_SECCOMP_X32"

func TestMain(m *testing.M) {
	if profile := os.Getenv(helperProfile); profile != "" {
		if err := underFilter(profile); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// install puts the filter on all threads of this process.
func install(filter []byte, flags uint32) error {
	program := unix.SockFprog{Len: uint16(len(filter) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	flags |= unix.SECCOMP_FILTER_FLAG_TSYNC
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// underFilter installs the profile and prints what becomes of some calls.
func underFilter(profile string) error {
	runtime.LockOSThread() // no-new-privileges is the thread's until the filter is everyone's
	p := Default()
	if profile != "default" {
		var err error
		if p, err = Parse([]byte(profile)); err != nil {
			return err
		}
	}
	filter, flags, err := Compile(p, Options{})
	if err != nil {
		return err
	}
	if err := install(filter, flags); err != nil {
		return err
	}
	if probe := os.Getenv(helperProbe); probe != "" {
		return probeOwn(probe)
	}
	if os.Getenv(helperX32) != "" {
		fmt.Println("x32:", outcome(x32Bit|unix.SYS_GETPID, [4]uintptr{}))
		return nil
	}
	for _, c := range probes {
		fmt.Println(c.name, outcome(c.number, c.args))
	}
	return ordinary()
}

// outcome makes a call and names its error. A child that it should not have
// been able to make ends at once.
func outcome(number uintptr, args [4]uintptr) string {
	r, _, errno := unix.RawSyscall6(number, args[0], args[1], args[2], args[3], 0, 0)
	if r == 0 && (number == unix.SYS_CLONE || number == unix.SYS_CLONE3) {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	if errno == 0 {
		return "ok"
	}
	return unix.ErrnoName(errno)
}

// probes are calls that succeed, or fail otherwise, without a filter.
var probes = []struct {
	name   string
	number uintptr
	args   [4]uintptr
	want   string
}{
	{"getpid", unix.SYS_GETPID, [4]uintptr{}, "ok"},
	{"clone of a user namespace", unix.SYS_CLONE, [4]uintptr{unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}, "EPERM"},
	{"clone3", unix.SYS_CLONE3, [4]uintptr{}, "ENOSYS"},
	{"unshare", unix.SYS_UNSHARE, [4]uintptr{unix.CLONE_NEWUSER}, "EPERM"},
	{"unshare of nothing", unix.SYS_UNSHARE, [4]uintptr{}, "EPERM"},
	{"keyctl", unix.SYS_KEYCTL, [4]uintptr{99}, "EPERM"},
	{"bpf", unix.SYS_BPF, [4]uintptr{9999}, "EPERM"},
	{"mount", unix.SYS_MOUNT, [4]uintptr{}, "EPERM"},
	{"fsopen", unix.SYS_FSOPEN, [4]uintptr{}, "EPERM"},
	{"setns", unix.SYS_SETNS, [4]uintptr{^uintptr(0)}, "EPERM"},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [4]uintptr{}, "EPERM"},
	{"userfaultfd", unix.SYS_USERFAULTFD, [4]uintptr{^uintptr(0)}, "EPERM"},
	{"socket of AF_VSOCK", unix.SYS_SOCKET, [4]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}, "EPERM"},
	{"socket of AF_ALG", unix.SYS_SOCKET, [4]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET}, "EPERM"},
	// Docker allows it since Linux 4.8, where it no longer passes a filter by.
	{"ptrace", unix.SYS_PTRACE, [4]uintptr{9999}, "ESRCH"},
	{"a call that no kernel has", 0x3fff, [4]uintptr{}, "ENOSYS"},
}

// ordinary does what services do.
func ordinary() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, want := range []string{"\nSeccomp:\t2\n", "\nNoNewPrivs:\t1\n"} {
		if !strings.Contains(string(status), want) {
			return fmt.Errorf("/proc/self/status lacks %q", want)
		}
	}
	if out, err := exec.Command("/bin/sh", "-c", "ls / >/dev/null && echo $((6*7))").CombinedOutput(); err != nil || string(out) != "42\n" {
		return fmt.Errorf("shell: %w %q", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	return conn.Close()
}

func runUnder(t *testing.T, profile string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperProfile+"="+profile, "GOTRACEBACK=none")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestKernelDefault(t *testing.T) {
	out, err := runUnder(t, "default")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want strings.Builder
	for _, c := range probes {
		fmt.Fprintln(&want, c.name, c.want)
	}
	if diff := cmp.Diff(want.String(), out); diff != "" {
		t.Error(diff)
	}
}

// TestKernelArguments holds the comparison of both words against the kernel's own evaluation.
func TestKernelArguments(t *testing.T) {
	out, err := runUnder(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
		{"names":["keyctl"],"action":"SCMP_ACT_ERRNO","errno":"EXDEV","args":[{"index":0,"value":98,"op":"SCMP_CMP_GT"}]},
		{"names":["setns"],"action":"SCMP_ACT_ERRNO","errno":"EXDEV","args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]},
		{"names":["userfaultfd"],"action":"SCMP_ACT_ERRNO","errno":"EXDEV","args":[{"index":0,"value":18374686479671623680,"valueTwo":18374686479671623680,"op":"SCMP_CMP_MASKED_EQ"}]}]}`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"keyctl", "setns", "userfaultfd"} {
		if !strings.Contains(out, "\n"+name+" EXDEV\n") {
			t.Errorf("%s is not matched:\n%s", name, out)
		}
	}
}

// TestKernelBadABI holds that a call through an ABI that the profile does not
// name ends the process, and that the kernel answers it otherwise.
func TestKernelBadABI(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("x32 is amd64's")
	}
	t.Setenv(helperX32, "1")
	out, err := runUnder(t, `{"defaultAction":"SCMP_ACT_ALLOW"}`)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
		t.Errorf("got %v, want an end by SIGSYS\n%s", err, out)
	}
	out, err = runUnder(t, `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X32"]}`)
	if err != nil {
		t.Errorf("with x32 named: %v\n%s", err, out)
	}
}
