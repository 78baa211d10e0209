package cgroup

import (
	"context"
	"errors"
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

	"berth/isolate/vmtest"

	"golang.org/x/sys/unix"
)

// The test binary is also the program that runs in the groups: with this
// variable set it does what its value says.
const helperEnv = "BERTH_CGROUP_HELPER"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperEnv); mode != "" {
		os.Exit(helper(mode, os.Args[1:]))
	}
	vmtest.Main(stages)
	// Orphans of killed helpers come to this process and not to the host's
	// init, and are reaped by the tests that make them.
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
	if count > 0 {
		// Only this thread has entered; the others end by this.
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
			c := exec.Command("/proc/self/exe")
			if err := c.Start(); err != nil {
				break
			}
		}
		fmt.Println("ready")
		for {
			_ = unix.Pause()
		}
	case "spin": // uses so many milliseconds of processor time
		limit, _ := strconv.Atoi(args[0])
		used := func() int64 {
			var usage syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
			return usage.Utime.Nano() + usage.Stime.Nano()
		}
		for start := used(); used()-start < int64(limit)*1e6; {
		}
	case "open": // opens each "access:path" and prints errno
		for _, arg := range args {
			access, path, _ := strings.Cut(arg, ":")
			flags := map[string]int{"r": syscall.O_RDONLY, "w": syscall.O_WRONLY, "rw": syscall.O_RDWR}[access]
			var err error
			if access == "m" {
				err = syscall.Mknod(path, syscall.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
			} else {
				var fd int
				if fd, err = syscall.Open(path, flags|syscall.O_NOCTTY, 0); err == nil {
					syscall.Close(fd)
				}
			}
			if err != nil {
				fmt.Printf("%s %v\n", arg, err)
			} else {
				fmt.Printf("%s ok\n", arg)
			}
		}
	}
	return 0
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("making control groups needs root")
	}
}

var sliceCount atomic.Int32

// view is how the host is seen: as it is, or with only the mounts of one version.
type view string

const (
	viewHost view = "host"
	viewV1   view = "v1"
	viewV2   view = "v2"
)

// openTree opens a sub-tree of the test's own, and removes it at the end with
// all that is in it. It is nil for a version that the host does not have.
func openTree(t *testing.T, v view) *Tree {
	t.Helper()
	needRoot(t)
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(mountinfo)) {
		isV2, isV1 := strings.Contains(line, " - cgroup2 "), strings.Contains(line, " - cgroup ")
		if (v == viewV1 && isV2) || (v == viewV2 && isV1) {
			continue
		}
		lines = append(lines, line)
	}
	slice := fmt.Sprintf("berth-cgtest-%d-%d.slice", os.Getpid(), sliceCount.Add(1))
	tree, err := open(Options{Slice: slice}, strings.Join(lines, ""), string(membership))
	if err != nil {
		if v != viewHost && !strings.Contains(strings.Join(lines, ""), " - cgroup") {
			return nil
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		names, err := tree.List()
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			g, err := tree.Group(name)
			if err != nil {
				t.Error(err)
				continue
			}
			end(t, g)
		}
		if err := tree.Remove(); err != nil {
			t.Error(err)
		}
		tree.Close()
	})
	return tree
}

// end kills and removes a group, and reaps what of it came to us as orphans.
func end(t *testing.T, g *Group) {
	t.Helper()
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
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if g.Exists() {
		t.Errorf("%s still exists after Remove", g.Name())
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newGroup makes a group with limits.
func newGroup(t *testing.T, tree *Tree, name string, l Limits) *Group {
	t.Helper()
	g, err := tree.Group(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Create(l); err != nil {
		t.Fatal(err)
	}
	return g
}

// command prepares a helper that is born in the v2 group and enters the v1 ones
// by itself, as isolate does it.
func command(t *testing.T, g *Group, mode string, args ...string) *exec.Cmd {
	t.Helper()
	handles, err := g.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(handles.Close)
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), helperEnv+"="+mode, "BERTH_CGROUP_PROCS="+strconv.Itoa(len(handles.Procs)))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if handles.Dir != nil {
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(handles.Dir.Fd())
	}
	for _, file := range handles.Procs {
		c.ExtraFiles = append(c.ExtraFiles, file)
	}
	c.Stderr = os.Stderr
	return c
}

// start starts a helper and waits until it is ready. It is killed at the end.
func start(t *testing.T, g *Group, mode string, args ...string) *exec.Cmd {
	t.Helper()
	p := command(t, g, mode, args...)
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

// run runs a helper to its end and gives what it printed.
func run(t *testing.T, g *Group, mode string, args ...string) (string, error) {
	t.Helper()
	p := command(t, g, mode, args...)
	out, err := p.Output()
	return string(out), err
}

func killedBy(err error) syscall.Signal {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return status.Signal()
		}
	}
	return 0
}

func ptr[T any](v T) *T { return &v }

// eachView runs a test on the host as it is and as if it had only v1 or v2, as
// far as that has the controller ("": any). Pure v2 with all controllers is
// tested in a virtual machine, see vm_test.go.
func eachView(t *testing.T, controller string, test func(t *testing.T, tree *Tree)) {
	t.Helper()
	views := []view{viewHost, viewV1, viewV2}
	if vmtest.Current() != "" {
		views = views[:1] // there is only one
	}
	for _, v := range views {
		t.Run(string(v), func(t *testing.T) {
			tree := openTree(t, v)
			if tree == nil {
				t.Logf("this host has no cgroup %s", v)
				return
			}
			if controller != "" && tree.by[controller] == nil {
				if v == viewHost && os.Getenv("BERTH_NO_SKIP") != "" {
					t.Fatal(tree.whyMissing(controller))
				}
				t.Log(tree.whyMissing(controller))
				return
			}
			test(t, tree)
		})
	}
}

func ownerOf(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
