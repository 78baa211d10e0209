package isolate

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// execIn runs a further process in a container to its end.
func execIn(t *testing.T, target *os.File, p *Process) (out string, ws unix.WaitStatus, err error) {
	t.Helper()
	return execTo(t, target, &ExecSpec{Name: "test", PID: true, Mount: true, UTS: true, IPC: true, CgroupNS: true, Network: true, Process: *p})
}

// execInUsers is execIn for a container with a user namespace.
func execInUsers(t *testing.T, target *os.File, p *Process) (out string, ws unix.WaitStatus, err error) {
	t.Helper()
	return execTo(t, target, &ExecSpec{Name: "test", User: true, PID: true, Mount: true, UTS: true, IPC: true, CgroupNS: true, Network: true, Process: *p})
}

func execTo(t *testing.T, target *os.File, spec *ExecSpec) (out string, ws unix.WaitStatus, err error) {
	t.Helper()
	prog, err := CompileExec(spec)
	if err != nil {
		return "", 0, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := Files{Stdout: w, Stderr: w, Processes: map[string]*os.File{TargetProcess: target}}
	if spec.Process.Console {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(ends[0])
		files.Console = os.NewFile(uintptr(ends[1]), "console")
		defer files.Console.Close()
	}
	prep, err := Prepare(prog, files)
	if err != nil {
		w.Close()
		return "", 0, err
	}
	child, err := Spawn(prep)
	w.Close()
	prep.Close()
	if err != nil {
		return "", 0, err
	}
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		child.Kill()
		t.Error(err)
	}
	ws, err = child.Wait()
	return string(data), ws, err
}

// A container that has replaced everything an exec could rely on: its shell, its
// libraries, /proc, /dev and who its users are. What is executed is what was asked
// for, and nothing else of it is even opened by the one who asks.
func TestExecInAHostileContainer(t *testing.T) {
	needRoot(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static busybox:", err)
	}
	root := t.TempDir()
	for _, d := range []string{"bin", "lib", "lib64", "proc", "sys", "dev", "etc", "run", "tmp"} {
		os.Mkdir(filepath.Join(root, d), 0o755)
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	const evil = "#!/bin/busybox sh\necho evil >>/tmp/evil\n"
	for _, f := range []string{"bin/sh", "bin/true", "bin/env", "lib/libc.so.6", "lib64/ld-linux-x86-64.so.2", "etc/ld.so.preload", "etc/nsswitch.conf"} {
		os.WriteFile(filepath.Join(root, f), []byte(evil), 0o755)
	}
	spec := hostSpec("/bin/busybox", "sh", "-c", `
		/bin/busybox mount -t tmpfs none /dev && /bin/busybox mkfifo /dev/null /dev/ptmx && /bin/busybox mkdir /dev/pts && /bin/busybox mkfifo /dev/pts/ptmx
		/bin/busybox mount -t tmpfs none /proc && /bin/busybox mkdir -p /proc/self/fd /proc/self/attr && echo 0 >/proc/self/oom_score_adj && /bin/busybox mkfifo /proc/self/attr/exec
		/bin/busybox mkfifo /etc/passwd /etc/group
		echo up; exec /bin/busybox sleep 300`)
	const admin = 1 << unix.CAP_SYS_ADMIN
	spec.RootFS = RootFS{Path: root, Writable: Direct}
	spec.Process.Capabilities = Capabilities{Bounding: admin, Permitted: admin, Effective: admin}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, pidfd := backgroundWith(t, spec, Files{Stdout: w, Stderr: w})
	w.Close()
	buf := make([]byte, 64)
	if n, err := r.Read(buf); err != nil || string(buf[:n]) != "up\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}

	oom := 33
	begun := time.Now()
	p := &Process{Args: []string{"/bin/busybox", "sh", "-c", "echo entered; read x </proc/self/oom_score_adj; echo $x"}, NoNewPrivileges: true, Scheduling: Scheduling{OOMScoreAdjust: &oom}}
	if _, _, err := execIn(t, pidfd, p); err == nil {
		t.Error("a user was looked up in a FIFO")
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	p.IDs = &IDs{UID: 12, GID: 34}
	out, ws, err := execIn(t, pidfd, p)
	if err != nil || ws != 0 || out != "entered\n0\n" {
		t.Errorf("%q %#x %v", out, uint32(ws), err)
	}
	p.Console = true
	var step *StepError
	if _, _, err := execIn(t, pidfd, p); !errors.As(err, &step) || step.Op != program.OpExpect.String() {
		t.Errorf("a terminal was looked for in what is no devpts: %v", err)
	}
	for _, f := range []string{"tmp/evil", "proc/self/attr/exec"} {
		if _, err := os.Lstat(filepath.Join(root, f)); err == nil {
			t.Errorf("/%s was made", f)
		}
	}
}

// Signals go to the process that was meant, also when its number has been given
// to another one. It runs in a PID namespace of its own, where numbers can be
// given again.
func TestNumberOfAProcessUsedAgain(t *testing.T) {
	needRoot(t)
	if os.Getpid() != 1 {
		inNamespace(t, "TestNumberOfAProcessUsedAgain")
		return
	}
	p, err := Compile(hostSpec("sleep", "300"))
	if err != nil {
		t.Fatal(err)
	}
	begin := func() *Child {
		prep, err := Prepare(p, Files{})
		if err != nil {
			t.Fatal(err)
		}
		defer prep.Close()
		child, err := Spawn(prep)
		if err != nil {
			t.Fatal(err)
		}
		return child
	}
	old := begin()
	stale := &Child{PID: old.PID}
	if stale.PIDFD, err = unix.FcntlInt(uintptr(old.PIDFD), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stale.PIDFD)
	old.Kill()
	old.Wait()
	var heir *Child
	for range 50 { // threads of this process take numbers too
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(stale.PID-1)), 0); err != nil {
			t.Fatal(err)
		}
		if heir = begin(); heir.PID == stale.PID {
			break
		}
		heir.Kill()
		heir.Wait()
		heir = nil
	}
	if heir == nil {
		t.Fatal("the number is not given again")
	}
	if err := stale.Kill(); err == nil {
		t.Error("a process that is gone was signalled")
	}
	gone, err := unix.FcntlInt(uintptr(stale.PIDFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	target := os.NewFile(uintptr(gone), "gone")
	defer target.Close()
	if _, err := Prepare(mustExec(t), Files{Processes: map[string]*os.File{TargetProcess: target}}); err == nil {
		t.Error("the container of a process that is gone was entered")
	}
	if err := heir.Signal(0); err != nil {
		t.Errorf("the one that has its number now: %v", err)
	}
	heir.Kill()
	if ws, err := heir.Wait(); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("%#x, %v", uint32(ws), err)
	}
}

// inNamespace runs a test in a PID namespace of its own.
func inNamespace(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", os.Args[0], "-test.run=^"+name+"$", "-test.v")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func mustExec(t *testing.T) *program.Program {
	t.Helper()
	p, err := CompileExec(&ExecSpec{Name: "test", PID: true, Mount: true, Process: Process{Args: []string{"true"}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
