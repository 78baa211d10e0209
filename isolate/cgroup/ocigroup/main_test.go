package ocigroup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth/isolate/cgroup"
	"berth/isolate/vmtest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The test binary is also the program that runs in the groups: with this
// variable set it does what its value says.
const helperEnv = "BERTH_OCIGROUP_HELPER"

// legacyEnv tells the test binary that it is to see only cgroup v1.
const legacyEnv = "BERTH_OCIGROUP_LEGACY"

// stages are the places in which the tests run in the virtual machine.
var stages = []vmtest.Stage{{Name: "root"}, {Name: "container", Group: "machine.slice/container", Namespace: true, Others: true, Tests: "TestCreate$|TestRelative"}}

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperEnv); mode != "" {
		os.Exit(helper(mode, os.Args[1:]))
	}
	vmtest.Main(stages)
	if os.Getenv(legacyEnv) != "" {
		if err := hideUnified(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot hide cgroup v2:", err)
			os.Exit(1)
		}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "cannot become a subreaper:", err)
		os.Exit(1)
	}
	os.Exit(runAll(m))
}

// runAll runs the tests and, on a hybrid host, leaves the hugetlb controller switched
// off if it was so: while it is on, nobody can mount it on v1.
func runAll(m *testing.M) int {
	const root = "/sys/fs/cgroup/unified"
	before, err := os.ReadFile(root + "/cgroup.subtree_control")
	if err == nil && !strings.Contains(string(before), "hugetlb") {
		defer func() {
			files, _ := filepath.Glob(root + "/*/hugetlb.*.max")
			below, _ := filepath.Glob(root + "/*/cgroup.subtree_control")
			for _, file := range append(files, below...) {
				text, err := os.ReadFile(file)
				if value := strings.TrimSpace(string(text)); err == nil && value != "" && value != "max" && len(value) < 19 {
					return // somebody uses it
				}
			}
			_ = os.WriteFile(root+"/cgroup.subtree_control", []byte("-hugetlb"), 0)
		}()
	}
	return m.Run()
}

// helper enters its v1 groups by the descriptors from 3 on, says so on standard
// output and does its work.
func helper(mode string, args []string) int {
	count, _ := strconv.Atoi(os.Getenv("BERTH_CGROUP_PROCS"))
	runtime.LockOSThread()
	for fd := 3; fd < 3+count; fd++ {
		if _, err := syscall.Write(fd, []byte("0")); err != nil {
			fmt.Println("cannot enter:", err)
			return 100
		}
		syscall.Close(fd)
	}
	if count > 0 { // only this thread has entered; the others end by this
		os.Setenv("BERTH_CGROUP_PROCS", "0")
		fmt.Println("cannot execute:", syscall.Exec("/proc/self/exe", append([]string{"helper"}, args...), os.Environ()))
		return 100
	}
	switch mode {
	case "wait": // until standard input ends
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "hog": // touches so many MiB and then waits
		mib, _ := strconv.Atoi(args[0])
		block, err := syscall.Mmap(-1, 0, mib<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			fmt.Println("mmap:", err)
			return 101
		}
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "bomb": // makes children that make children, until refused
		time.AfterFunc(5*time.Minute, func() { os.Exit(1) }) // none outlives a test that was killed
		for {
			if exec.Command("/proc/self/exe").Start() != nil {
				break
			}
		}
		fmt.Println("ready")
		for {
			_ = unix.Pause()
		}
	case "spin": // uses so many milliseconds of processor time and then waits
		limit, _ := strconv.Atoi(args[0])
		used := func() int64 {
			var usage syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
			return usage.Utime.Nano() + usage.Stime.Nano()
		}
		for start := used(); used()-start < int64(limit)*1e6; {
		}
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "open": // opens or makes each "access:path" and prints errno
		for _, arg := range args {
			access, path, _ := strings.Cut(arg, ":")
			var err error
			if access == "m" {
				if err = syscall.Mknod(path, syscall.S_IFBLK|0o600, int(unix.Mkdev(240, 7))); err == nil {
					os.Remove(path)
				}
			} else {
				var fd int
				flags := map[string]int{"r": syscall.O_RDONLY, "w": syscall.O_WRONLY, "rw": syscall.O_RDWR}[access]
				if fd, err = syscall.Open(path, flags|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0); err == nil {
					syscall.Close(fd)
				}
			}
			fmt.Println(access, path, err)
		}
	}
	return 0
}

// hideUnified leaves this process, in a mount namespace of its own, only v1
// hierarchies, and mounts those that this kernel has besides.
func hideUnified() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Unmount("/sys/fs/cgroup/unified", 0); err != nil {
		return err
	}
	for _, c := range furtherV1 {
		_ = unix.Mount("cgroup", "/sys/fs/cgroup/"+c, "cgroup", 0, c) // where the kernel has it, and nobody else
	}
	return nil
}

var furtherV1 = []string{"net_cls", "net_prio"}

func isHybrid() bool {
	_, err := os.Stat("/sys/fs/cgroup/unified/cgroup.controllers")
	return err == nil
}

// TestLegacy runs this package's tests as on a host that has only cgroup v1.
func TestLegacy(t *testing.T) {
	needRoot(t)
	if vmtest.Current() != "" || os.Getenv(legacyEnv) != "" || !isHybrid() {
		t.Log("this is the one or the other, or has no cgroup v1")
		return
	}
	for _, c := range furtherV1 { // the directories are the host's
		if dir := "/sys/fs/cgroup/" + c; os.Mkdir(dir, 0o755) == nil {
			t.Cleanup(func() { os.Remove(dir) })
		}
	}
	c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v")
	c.Env = append(os.Environ(), legacyEnv+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("--- PASS: TestCreate")) {
		t.Fatalf("no test ran:\n%s", out)
	}
}

// TestVM runs this package's tests on a kernel with nothing but cgroup v2.
func TestVM(t *testing.T) {
	if os.Getenv(legacyEnv) != "" {
		return
	}
	vmtest.Run(t, vmtest.Machine{Stages: stages})
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("making control groups needs root")
	}
}

var groupCount atomic.Int32

func newID() string { return fmt.Sprintf("berth-test-%d-%d", os.Getpid(), groupCount.Add(1)) }

// newGroup gives a group that is not made yet; it is removed at the end with all
// that is in it.
func newGroup(t *testing.T, o Options) *Group {
	t.Helper()
	needRoot(t)
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, g) })
	return g
}

func create(t *testing.T, r *specs.LinuxResources) *Group {
	t.Helper()
	g := newGroup(t, Options{ID: newID()})
	if err := g.Create(r); err != nil {
		t.Fatal(err)
	}
	return g
}

// end kills and removes a group, and reaps what of it came to us as orphans.
func end(t *testing.T, g *Group) {
	t.Helper()
	if !g.Exists() {
		g.Close()
		return
	}
	pids, _ := g.Pids()
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	if err := g.WaitEmpty(deadline(t)); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
	paths := g.Paths()
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	for _, dir := range paths {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// command prepares a helper that is born in the v2 group and enters the v1 ones
// by itself, as isolate does it.
func command(t *testing.T, g *Group, mode string, args ...string) *exec.Cmd {
	t.Helper()
	return commandWith(t, g, g.Open, mode, args...)
}

// commandWith is command for other descriptors.
func commandWith(t *testing.T, g *Group, open func() (*cgroup.Handles, error), mode string, args ...string) *exec.Cmd {
	t.Helper()
	handles, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(handles.Close)
	if len(handles.Procs) != len(g.Legacy()) || (handles.Dir != nil) != g.Unified() {
		t.Fatalf("the descriptors are %+v, the hierarchies %v, %v", handles, g.Unified(), g.Legacy())
	}
	c := exec.Command("/proc/self/exe", args...)
	c.Env = []string{helperEnv + "=" + mode, "BERTH_CGROUP_PROCS=" + strconv.Itoa(len(handles.Procs))}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if handles.Dir != nil {
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(handles.Dir.Fd())
	}
	for _, name := range g.Legacy() {
		c.ExtraFiles = append(c.ExtraFiles, handles.Procs[name])
	}
	c.Stderr = os.Stderr
	return c
}

// start starts a helper and waits until it is ready. It is killed at the end.
func start(t *testing.T, g *Group, mode string, args ...string) *exec.Cmd {
	t.Helper()
	return startWith(t, g, g.Open, mode, args...)
}

// startWith is start for other descriptors.
func startWith(t *testing.T, g *Group, open func() (*cgroup.Handles, error), mode string, args ...string) *exec.Cmd {
	t.Helper()
	p := commandWith(t, g, open, mode, args...)
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if p.ProcessState == nil {
			_ = g.Thaw()
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if string(buf[:n]) != "ready\n" {
		t.Fatalf("helper %s said %q, %v", mode, buf[:n], err)
	}
	return p
}

func ptr[T any](v T) *T { return &v }
