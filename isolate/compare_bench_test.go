package isolate

// The benchmark that the README quotes: a start as berthd does it, by a real
// launcher process, against other runtimes and against the least that gives the
// same kind of container, all in one run and in turns.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	moby "github.com/moby/profiles/seccomp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/cgroup"
	"berth/isolate/program"
	"berth/isolate/seccomp"
	"berth/reaper/launcher"
)

// startLauncher runs the launcher of a real berthd as a child of this process.
func startLauncher(b *testing.B) *launcher.Client {
	b.Helper()
	berthd := filepath.Join(b.TempDir(), "berthd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", berthd, "berth/cmd/berthd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("cannot build berthd: %v\n%s", err, out)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	// As the reaper starts it: from a read-only mount of its own.
	exe, err := unix.OpenTree(unix.AT_FDCWD, berthd, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(exe)
	if err := unix.MountSetattr(exe, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", exe), "--role=launcher")
	cmd.ExtraFiles = []*os.File{far}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	far.Close()
	client := launcher.NewClient(near)
	b.Cleanup(func() {
		client.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	return client
}

// launchToExit starts a program by the launcher and waits for its end. The child
// is a sibling of the launcher, so a child of this process.
func launchToExit(b *testing.B, l *launcher.Client, p *program.Program, files Files) {
	if len(p.Outside) > 0 { // else there is nothing to be done meanwhile
		l.Ahead(p.CloneFlags)
	}
	prep, err := Prepare(p, files)
	if err != nil {
		b.Fatal(err)
	}
	defer prep.Close()
	image, fds := prep.Encode()
	pid, pidfd, err := l.Fork(context.Background(), image, fds)
	if err != nil {
		b.Fatal(err)
	}
	defer pidfd.Close()
	prep.Launched()
	if err := prep.Proceed(); err != nil {
		b.Fatal(err)
	}
	if err := prep.Wait(time.Now().Add(time.Minute)); err != nil {
		b.Fatal(err)
	}
	// __WALL: a CLONE_PARENT child may signal otherwise than by SIGCHLD.
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil || ws != 0 {
		b.Fatal(ws, err)
	}
}

// onlyLegacy gives a function that runs another in a goroutine of its own, whose
// children see the v1 hierarchies of a hybrid host alone: crun refuses such a host as long as anybody
// has a controller on v2, and makes its groups as common files in directories
// where it expects a hierarchy that is not mounted. All is in a private mount
// namespace of the thread, which ends with the goroutine.
func onlyLegacy(b *testing.B) func(run func() error) error {
	b.Helper()
	calls, results := make(chan func() error), make(chan error)
	b.Cleanup(func() { close(calls) })
	go func() {
		runtime.LockOSThread()
		for run := range calls {
			results <- run()
		}
	}()
	do := func(run func() error) error {
		calls <- run
		return <-results
	}
	if err := do(showLegacy); err != nil {
		b.Fatal(err)
	}
	return do
}

// showLegacy does it for the calling thread.
func showLegacy() error {
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		return nil
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	err = errors.Join(unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(groups)) {
		controllers := strings.Split(line, ":")[1]
		if controllers == "" {
			continue
		}
		dir := "/sys/fs/cgroup/" + strings.TrimPrefix(controllers, "name=")
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = unix.Mount("cgroup", dir, "cgroup", 0, strings.Replace(controllers, "name=", "none,name=", 1))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", controllers, err)
		}
	}
	return nil
}

// bundle writes an OCI bundle for the same container.
func bundle(b *testing.B, root string) string {
	b.Helper()
	spec := &oci.Spec{
		Version: "1.0.2", Hostname: "bench",
		Root: &oci.Root{Path: root, Readonly: true},
		Process: &oci.Process{
			Args: []string{"/true"}, Env: []string{"PATH=/"}, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &oci.LinuxCapabilities{},
		},
		Mounts: []oci.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &oci.Linux{
			Namespaces: []oci.LinuxNamespace{{Type: "pid"}, {Type: "network"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"}},
			Resources:  &oci.LinuxResources{Devices: []oci.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	filter, err := moby.GetDefaultProfile(spec)
	if err != nil {
		b.Fatal(err)
	}
	// Older libseccomp does not know the newest architectures and errno forms; the rules are what costs.
	spec.Linux.Seccomp = filter
	dir := b.TempDir()
	text, err := json.Marshal(spec)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}

// settle is longer than the kernel needs for clearing up after a container.
const settle = 20 * time.Millisecond

// BenchmarkStartToExit takes, in turns, a start to the exit of a static program
// with all namespaces but user, /proc, /dev, /sys, pivot_root, the default
// filter, no capabilities and a control group made and removed: by berth's
// launcher, by runc and by crun where they are installed. The bound has no
// filter, no group and no capabilities to drop; "core" is berth without a group.
func BenchmarkStartToExit(b *testing.B) {
	root := benchRoot(b)
	filter, _, err := seccomp.Compile(seccomp.Default(), seccomp.Options{})
	if err != nil {
		b.Fatal(err)
	}
	l := startLauncher(b)
	tree, err := cgroup.Open(cgroup.Options{Slice: fmt.Sprintf("berth-bench-%d.slice", os.Getpid())})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := tree.Remove(); err != nil {
			b.Error(err)
		}
	})
	spec := hostSpec("/true")
	spec.RootFS = RootFS{Path: root}
	spec.SealedStarter = true
	spec.Process.Seccomp = filter
	core, err := Compile(spec)
	if err != nil {
		b.Fatal(err)
	}
	spec.Cgroup = Cgroup{Unified: tree.Unified(), Legacy: tree.Legacy(), Optional: tree.Optional()}
	full, err := Compile(spec)
	if err != nil {
		b.Fatal(err)
	}
	bare := lowerBound(root)
	group, err := tree.Group("bench.service")
	if err != nil {
		b.Fatal(err)
	}
	var h *cgroup.Handles
	type contender struct {
		name  string
		run   func()
		after func() // its cleaning up; nil: none, or part of run
	}
	contenders := []contender{
		{name: "bound", run: func() { launchToExit(b, l, bare, Files{}) }},
		{name: "core", run: func() { launchToExit(b, l, core, Files{}) }},
		{name: "berth", run: func() {
			launchToExit(b, l, full, Files{Groups: func() (dir *os.File, procs map[string]*os.File, err error) {
				if err = group.Create(cgroup.Limits{}); err == nil {
					h, err = group.Open()
				}
				if err != nil {
					return nil, nil, err
				}
				return h.Dir, h.Procs, nil
			}})
		}, after: func() {
			h.Close()
			if err := group.Remove(); err != nil {
				b.Fatal(err)
			}
		}},
	}
	dir := bundle(b, root)
	state := b.TempDir()
	peers := onlyLegacy(b)
	for _, name := range []string{"runc", "crun"} {
		path, err := exec.LookPath(name)
		if err != nil {
			b.Logf("%s is not installed: not compared", name)
			continue
		}
		n := 0
		run := func() error {
			n++
			cmd := exec.Command(path, "--root", filepath.Join(state, name), "run", "--bundle", dir, fmt.Sprintf("berth-bench-%d-%d", os.Getpid(), n))
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w\n%s", name, err, out)
			}
			return nil
		}
		if err := peers(run); err != nil {
			b.Logf("%s does not run here: not compared: %v", name, err)
			continue
		}
		contenders = append(contenders, contender{name: name, run: func() {
			if err := peers(run); err != nil {
				b.Fatal(err)
			}
		}})
	}
	times := map[string][]time.Duration{}
	for b.Loop() {
		for _, c := range contenders {
			// The kernel takes the namespaces of the one before apart in the
			// background, under locks that the next start needs, and gives no
			// sign of its end. Who comes next must not pay for it.
			time.Sleep(settle)
			begin := time.Now()
			c.run()
			times[c.name] = append(times[c.name], time.Since(begin))
			if c.after != nil {
				c.after()
				times[c.name+"+remove"] = append(times[c.name+"+remove"], time.Since(begin))
			}
		}
	}
	medians := map[string]float64{}
	for name, t := range times {
		medians[name] = float64(median(t).Microseconds())
		b.ReportMetric(medians[name], name+"-us")
	}
	b.ReportMetric(medians["core"]/medians["bound"], "core/bound")
	b.ReportMetric(medians["berth"]/medians["bound"], "berth/bound")
	for _, peer := range []string{"runc", "crun"} {
		if medians[peer] > 0 {
			// Theirs removes the group too.
			b.ReportMetric(medians[peer]/medians["berth+remove"], peer+"/berth")
		}
	}
}
