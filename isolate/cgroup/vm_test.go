package cgroup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestVM runs this package's tests on a kernel with nothing but cgroup v2, in a
// virtual machine whose init is this very test binary: once in the root group,
// and then from each kind of place that a daemon is started in. It needs
// qemu-system-x86_64, and a kernel: the file named by BERTH_TEST_KERNEL, or
// Debian's cloud kernel, which is fetched with apt-get and kept in the user's
// cache directory.
func TestVM(t *testing.T) {
	if os.Getenv(stageEnv) != "" {
		t.Skip("this is the virtual machine")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the machine is an x86_64")
	}
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		skipOrFail(t, err)
	}
	kernel, err := testKernel()
	if err != nil {
		skipOrFail(t, err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "init"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the init: %v\n%s", err, out)
	}
	if err := writeInitramfs(filepath.Join(dir, "initrd"), filepath.Join(dir, "init")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	machine := exec.CommandContext(ctx, qemu,
		"-accel", "tcg", "-cpu", "max,-cx16", "-machine", "q35", "-m", "1024", "-smp", "2",
		"-no-reboot", "-nodefaults", "-display", "none", "-serial", "stdio",
		"-kernel", kernel, "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 quiet panic=-1 "+stageEnv+"=init")
	var console bytes.Buffer
	machine.Stdout, machine.Stderr = &console, &console
	start := time.Now()
	err = machine.Run()
	text := strings.ReplaceAll(console.String(), "\r", "")
	t.Logf("the machine ran for %v", time.Since(start).Round(time.Millisecond))
	passed := true
	for _, s := range stages {
		passed = passed && strings.Contains(text, fmt.Sprintf("stage %s: ok\n", s.name))
	}
	if err != nil || !passed {
		t.Errorf("%v; the machine's console:\n%s", err, text)
	}
}

func skipOrFail(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("BERTH_NO_SKIP") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// testKernel gives the path of a kernel image, fetching it at the first time.
func testKernel() (string, error) {
	if path := os.Getenv("BERTH_TEST_KERNEL"); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "berth-test")
	kernel := filepath.Join(cache, "vmlinuz-cloud-amd64")
	if _, err := os.Stat(kernel); err == nil {
		return kernel, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	fetch := exec.Command("sh", "-ec", `
		name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
		apt-get download "$name"
		dpkg-deb -x ./*.deb .`)
	fetch.Dir = dir
	if out, err := fetch.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot fetch a kernel with apt-get: %w: %s", err, out)
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return "", fmt.Errorf("the kernel package has %d images", len(images))
	}
	return kernel, os.Rename(images[0], kernel)
}

// writeInitramfs writes a cpio archive (newc, see
// Documentation/driver-api/early-userspace/buffer-format.rst) with the init, a
// console for it and the directories for its mounts.
func writeInitramfs(path, init string) error {
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	inode := 0
	add := func(name string, mode, major, minor uint32, data []byte) {
		inode++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
		b.WriteString(name + "\x00")
		b.Write(make([]byte, -b.Len()&3))
		b.Write(data)
		b.Write(make([]byte, -b.Len()&3))
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp"} {
		add(dir, unix.S_IFDIR|0o755, 0, 0, nil)
	}
	add("dev/console", unix.S_IFCHR|0o600, 5, 1, nil)
	add("init", unix.S_IFREG|0o755, 0, 0, program)
	add("TRAILER!!!", 0, 0, 0, nil)
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// stageEnv says in the virtual machine what the test binary is to do: be init,
// or run the tests in one of the places.
const stageEnv = "BERTH_CGROUP_STAGE"

// mountEnv tells the test binary that it is in a new cgroup namespace.
const mountEnv = "BERTH_CGROUP_MOUNT"

// stages are the places in which the tests run in the virtual machine.
var stages = []struct {
	name      string
	group     string // where the tests' process is born
	others    bool   // another process is there too
	namespace bool   // in a cgroup namespace of its own
	tests     string // a pattern; "": all
	base      string // where the sub-tree is expected, as /proc/self/cgroup shows it
}{
	{name: "root", base: "/"},
	{name: "delegated", group: "system.slice/berthd.service", tests: placeTests, base: "/system.slice/berthd.service"},
	{name: "shell", group: "user.slice/session.scope", others: true, tests: placeTests, base: "/"},
	{name: "container", group: "machine.slice/container", others: true, namespace: true, tests: placeTests, base: "/"},
}

const placeTests = "TestPlace|TestReopen|TestMemoryLimit|TestUpdate|TestPidsAndUnitOf"

// vmInit is PID 1 of the virtual machine. It does not return.
func vmInit() {
	say := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			say("mount %s: %v", m.dir, err)
		}
	}
	for _, s := range stages {
		if err := runStage(s.name, s.group, s.tests, s.others, s.namespace); err != nil {
			say("stage %s: %v", s.name, err)
		} else {
			say("stage %s: ok", s.name)
		}
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func runStage(name, group, tests string, others, namespace bool) error {
	const root = "/sys/fs/cgroup"
	dir := filepath.Join(root, group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if group != "" { // what systemd does for a unit in a slice
		for _, parent := range []string{root, filepath.Dir(dir)} {
			for _, c := range unifiedControllers {
				if err := os.WriteFile(parent+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
					return err
				}
			}
		}
	}
	fd, err := openDir(dir)
	if err != nil {
		return err
	}
	defer fd.Close()
	attr := &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	if others {
		other := exec.Command("/proc/self/exe")
		other.Env = []string{helperEnv + "=wait"}
		in, err := other.StdinPipe()
		if err != nil {
			return err
		}
		other.SysProcAttr = attr
		if err := other.Start(); err != nil {
			return err
		}
		defer other.Wait()
		defer in.Close()
	}
	if tests == "" {
		tests = "."
	}
	c := exec.Command("/proc/self/exe", "-test.v", "-test.run", tests, "-test.skip", "TestTranslation") // whose golden files are not here
	c.Env = []string{stageEnv + "=" + name, "BERTH_NO_SKIP=1", "TMPDIR=/tmp", "PATH=/"}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = attr
	if namespace {
		c.SysProcAttr.Unshareflags = unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS
		c.Env = append(c.Env, mountEnv+"=1")
	}
	return c.Run()
}

// mountOwnCgroup makes the root of this process' new cgroup namespace visible.
func mountOwnCgroup() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Unmount("/sys/fs/cgroup", 0); err != nil {
		return err
	}
	return unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "")
}

// Where the daemon is started decides where its sub-tree is, and that it has
// every controller there.
func TestPlace(t *testing.T) {
	stage := os.Getenv(stageEnv)
	if stage == "" {
		t.Log("is a part of TestVM, which runs it")
		return
	}
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("open", func(t *testing.T) {
		tree := openTree(t, viewHost)
		d := tree.Describe()
		for _, s := range stages {
			if s.name == stage && d.Path != filepath.Join(s.base, tree.sliceName) {
				t.Errorf("the sub-tree is at %s and not below %s", d.Path, s.base)
			}
		}
		if d.Version != "v2" || len(d.Missing) != 0 || !d.OOMGroup || !d.Swap {
			t.Errorf("the description is %+v", d)
		}
		for _, c := range unifiedControllers {
			if tree.by[c] == nil {
				t.Errorf("%s is missing: %s", c, tree.whyMissing(c))
			}
		}
		t.Log(d)
	})
	after, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if stage != "shell" && string(before) != string(after) {
		t.Errorf("this process was in %s and is in %s after Remove", before, after)
	}
}

// A new supervisor finds the same sub-tree and what is in it.
func TestReopen(t *testing.T) {
	tree := openTree(t, viewHost)
	g := newGroup(t, tree, "kept.service", Limits{})
	start(t, g, "wait")
	again, err := Open(Options{Slice: tree.sliceName})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if a, b := tree.Describe().String(), again.Describe().String(); a != b {
		t.Errorf("first %s, then %s", a, b)
	}
	if names, err := again.List(); err != nil || len(names) != 1 || names[0] != g.Name() {
		t.Errorf("List gives %v, %v", names, err)
	}
	same, err := again.Group(g.Name())
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := same.Pids(); err != nil || len(pids) != 1 {
		t.Errorf("Pids gives %v, %v", pids, err)
	}
}
