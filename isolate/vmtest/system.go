package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/isolate/fsimage"

	"golang.org/x/sys/unix"
)

// Places in a System.
const (
	// Berthd is where Boot puts berthd, which is the init.
	Berthd = "usr/sbin/berthd"
	// Berth is where Boot puts the command line.
	Berth = "usr/bin/berth"
	// Units is the directory of unit files.
	Units = "etc/berth/units"

	agentPath = "usr/sbin/vm-agent"
)

// System is a machine whose init is berthd.
type System struct {
	// Files are added to SmallUnix, berthd, berth and the unit that runs the
	// agent.
	Files []File
	// Modules are kernel modules, loaded before berthd begins with those that
	// they depend on. Those that the agent and disks take are added.
	Modules []string
	// Cmdline is added to the kernel's command line, which has
	// "console=ttyS0 loglevel=6 printk.devkmsg=on panic=-1".
	Cmdline string
	// Disks are files on the host, which become /dev/vda, /dev/vdb and so on.
	// What the machine writes stays in them.
	Disks []string
	// Memory is in MiB; 0: 512.
	Memory int
	// Reboots makes a reboot or a reset boot the machine again. Without it
	// either ends QEMU.
	Reboots bool
	// Bare lets the kernel execute berthd itself, with the modules in /lib/modules
	// and what depmod(8) would write beside them. Without it a small init comes
	// before, which moves the initramfs to a tmpfs, mounts /proc, /sys, /dev,
	// /run and cgroup2, loads the modules and executes berthd.
	Bare bool
	// QEMU is added to the arguments of qemu-system-x86_64.
	QEMU []string
}

// patience bounds every wait for the machine that has no bound of its own: under
// emulation, on a busy host, a boot can take a minute.
const patience = 90 * time.Second

// Guest is a running machine. Its methods fail the test when they cannot do what
// they say, with all that the console said; they are for the test's goroutine,
// unless they give an error.
type Guest struct {
	t       testing.TB
	cmd     *exec.Cmd
	console *console
	agent   *control
	qmp     *qmp
	ended   chan struct{} // closed when QEMU has ended
	err     error         // then, how
	started time.Time
}

// agentUnit runs the agent in the machine. It ends at once and leaves a process
// outside of all units, which is in PID 1's mount namespace and in the root
// group, as an administrator's shell would be.
const agentUnit = `[unit]
description = "lets the test look around"
[service]
type = "task"
remain = true
command = ["/usr/sbin/vm-agent"]
[restart]
policy = "never"
[log]
target = "console"
[namespaces]
pid = "host"
network = "host"
uts = "host"
ipc = "host"
cgroup = "host"
[rootfs]
host = true
[capabilities]
keep = ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "DAC_OVERRIDE", "DAC_READ_SEARCH", "KILL", "MKNOD", "NET_ADMIN", "SYS_BOOT", "SYS_RESOURCE", "SYS_TIME", "CHOWN", "FOWNER", "SETUID", "SETGID", "SYSLOG", "SYS_NICE", "SYS_MODULE"]
[security]
no-new-privileges = false
seccomp = "unconfined"
`

// programs builds berthd, berth and the agent, once for all machines of a test
// process, and gives their contents by name.
var programs = sync.OnceValues(func() (map[string][]byte, error) {
	built := map[string][]byte{}
	for name, pkg := range map[string]string{Berthd: "berth/cmd/berthd", Berth: "berth/cmd/berth", agentPath: "berth/isolate/vmtest/agent"} {
		program, err := Build(pkg)
		if err != nil {
			return nil, err
		}
		built[name] = program
	}
	return built, nil
})

// Build builds a static program for a machine from a package of this module and
// gives its contents.
func Build(pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "berth-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build %s: %w\n%s", pkg, err, out)
	}
	return os.ReadFile(path)
}

// systemFiles are what every machine has whose init is berthd.
func systemFiles(t testing.TB) []File {
	t.Helper()
	files, err := SmallUnix()
	if err != nil {
		SkipOrFail(t, err)
	}
	files = append(files,
		Directory("etc/berth", 0o755), Directory(Units, 0o755), Text(Units+"/vm-agent.toml", agentUnit, 0o644),
	)
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range built {
		files = append(files, Text(name, string(program), 0o755))
	}
	return files
}

// RootDisk writes a disk for System.Disks with an ext4 file system of a label that
// a machine can have as its root: what the initramfs has but for modules, and
// more.
func RootDisk(t testing.TB, path, label string, more ...File) {
	t.Helper()
	Need(t)
	var files []File
	for _, name := range []string{"dev", "proc", "sys", "tmp", "run", "etc", "var"} {
		files = append(files, Directory(name, 0o755))
	}
	files = append(append(files, systemFiles(t)...), more...)
	tree, err := treeOf(files)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := tree.WriteExt4(out, fsimage.Ext4{Label: label}); err != nil {
		t.Fatal(err)
	}
}

// Boot starts a machine and returns at once. At the end of the test it is ended,
// however far it is; if the test failed, all that its console said is logged.
// Where no machine can be run it ends the test, as Need does.
func Boot(t testing.TB, s System) *Guest {
	t.Helper()
	Need(t)
	kernel, err := findKernel()
	if err != nil {
		SkipOrFail(t, err)
	}
	files := systemFiles(t)
	if s.Bare {
		files = append(files, Link("init", Berthd))
	} else {
		files = append(files, Link("init", agentPath))
	}
	dir := socketDir(t)
	initrd := filepath.Join(dir, "initrd")
	modules := append([]string{"virtio_pci", "virtio_console"}, s.Modules...)
	if len(s.Disks) > 0 {
		modules = append(modules, "virtio_blk")
	}
	load := kernel.files
	if s.Bare {
		load = kernel.tree
	}
	if err := kernel.pack(initrd, load, modules, append(files, s.Files...)); err != nil {
		t.Fatal(err)
	}
	memory := s.Memory
	if memory == 0 {
		memory = 512
	}
	args := append(hardware(memory),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,path="+filepath.Join(dir, "agent")+",server=on,wait=off",
		"-device", "virtserialport,chardev=agent,name="+portName,
		"-kernel", kernel.image, "-initrd", initrd,
		"-append", "console=ttyS0 loglevel=6 printk.devkmsg=on panic=-1 "+s.Cmdline,
	)
	if !s.Reboots {
		args = append(args, "-no-reboot")
	}
	for i, disk := range s.Disks {
		id := "disk" + strconv.Itoa(i)
		args = append(args, "-drive", "file="+disk+",if=none,format=raw,id="+id, "-device", "virtio-blk-pci,drive="+id)
	}
	g := &Guest{t: t, console: newConsole(), ended: make(chan struct{}), started: time.Now()}
	g.cmd = exec.Command(qemu, append(args, s.QEMU...)...)
	// A test process that is killed leaves no machine behind.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	g.cmd.Stdout, g.cmd.Stderr = g.console, g.console
	if g.console.in, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.err = g.cmd.Wait()
		g.console.end()
		close(g.ended)
	}()
	t.Cleanup(g.end)
	g.agent = newControl(filepath.Join(dir, "agent"), g.ended)
	g.qmp = &qmp{path: filepath.Join(dir, "qmp")}
	return g
}

// socketDir makes a directory for the time of a test. A socket's path has at most
// 107 bytes, and t.TempDir has the test's name.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth-vm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// end ends QEMU and what serves it.
func (g *Guest) end() {
	select {
	case <-g.ended:
	default:
		if g.t.Failed() {
			g.t.Logf("the machine's processors:\n%s", g.qmp.processors())
		}
	}
	_ = g.cmd.Process.Kill() // it may have ended
	<-g.ended
	g.agent.close()
	g.qmp.close()
	if g.t.Failed() {
		g.t.Logf("the machine's console:\n%s", g.console.text())
	}
	g.t.Logf("the machine ran for %v", time.Since(g.started).Round(time.Millisecond))
}

// For gives the same machine for a part of the test (testing.T.Run).
func (g *Guest) For(t testing.TB) *Guest {
	part := *g
	part.t = t
	return &part
}

// Ended waits until the machine has switched itself off, or was reset and does
// not reboot.
func (g *Guest) Ended(within time.Duration) {
	g.t.Helper()
	select {
	case <-g.ended:
		if g.err != nil {
			g.t.Fatalf("qemu ended badly: %v", g.err)
		}
	case <-time.After(within):
		g.t.Fatalf("the machine has not ended within %v", within)
	}
}
