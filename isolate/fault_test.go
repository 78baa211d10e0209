package isolate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// everything is a Spec that uses every part of the compiler.
func everything(t testing.TB) *Spec {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	spec := shell("echo executed >/run/mark/main")
	spec.RootFS.Writable, spec.RootFS.StateDir = Ephemeral, ""
	spec.Mounts = []Mount{
		{Type: Bind, Source: dir, Target: "/run/mark"},
		{Type: Tmpfs, Target: "/new/tmpfs", User: "daemon"},
		{Type: Volume, Source: filepath.Join(dir, "v"), Target: "/new/volume"},
	}
	spec.MaskedPaths, spec.ReadonlyPaths = []string{"/opt", "/etc/hostname"}, []string{"/srv"}
	spec.Sysctl = map[string]string{"net.core.somaxconn": "99"}
	spec.PreStart = [][]string{{"true"}}
	spec.Init = true
	nice := 1
	spec.Process.Scheduling.Nice, spec.Process.Scheduling.OOMScoreAdjust = &nice, &nice
	spec.Process.Rlimits = []Rlimit{{unix.RLIMIT_CORE, "core", 0, 0}}
	spec.Process.Seccomp = denyMkdir(mkdirNumbers...)
	spec.Process.User = "daemon"
	spec.Process.Landlock = &Landlock{BestEffort: true, Rules: systemRules(LandlockRule{Path: "/run/mark", Write: true})}
	return spec
}

// state is what a failed start could leave behind on the machine.
func state(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && !strings.Contains(to, "/proc/") && !strings.HasPrefix(to, "anon_inode:[event") {
			list = append(list, to)
		}
	}
	sort.Strings(list)
	children := ""
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		c, _ := os.ReadFile(f)
		children += string(c)
	}
	return fmt.Sprintf("children %q\ndescriptors %q\n%s", children, list, mounts)
}

// spawn is Spawn that says the runtime's word too.
func spawn(prep *Prepared) (*Child, error) {
	prep.Continue() // an error when the child does not wait for that
	return Spawn(prep)
}

// reached starts p with a fault at inside step n, from 1; false when the start did not come to that step.
func reached(t *testing.T, p *program.Program, f Files, n int) (bool, *StepError) {
	t.Helper()
	prep, err := prepare(p, f, 0, n)
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	child, err := spawn(prep)
	if err == nil {
		child.Wait()
		return false, nil
	}
	var step *StepError
	if !errors.As(err, &step) {
		t.Fatalf("step %d: %v", n-1, err)
	}
	return true, step
}

func TestFailureAtEveryStepLeavesNothing(t *testing.T) {
	needRoot(t)
	failEverywhere(t, everything(t))
	t.Run("sealed starter", func(t *testing.T) {
		spec := everything(t)
		spec.SealedStarter, spec.Init = true, false // so it is all done in the child that was forked
		failEverywhere(t, spec)
	})
}

// failEverywhere fails the start of a Spec at each of its steps and looks for what is left.
func failEverywhere(t *testing.T, spec *Spec) {
	t.Helper()
	everyStep(t, spec, Files{}, filepath.Join(spec.Mounts[0].Source, "main"), 4)
}

// everythingBare is a Spec that uses most of what only a bare container has.
func everythingBare(t testing.TB) (*Spec, Files) {
	dir := t.TempDir()
	spec := bareSpec(t, "echo executed >/mark/main")
	os.MkdirAll(filepath.Join(spec.RootFS.Path, "etc/copy/deep"), 0o755)
	persona, policy, oom := uint64(8), 3, 10
	spec.Mounts = append(spec.Mounts,
		Mount{Type: Bind, Source: dir, Target: "/mark", Recursive: true, SetRecursive: unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE, NoSymlinks: true},
		Mount{Type: FileSystem, FSType: "tmpfs", Target: "/etc/copy", CopyUp: true},
		Mount{Type: FileSystem, FSType: "tmpfs", Target: "/etc/ro", Set: unix.MOUNT_ATTR_RDONLY},
		Mount{Type: FileSystem, FSType: "overlay", Source: "overlay", Target: "/opt", Data: []string{"lowerdir=/usr" + strings.Repeat("/.", 150) + ":/etc"}},
		Mount{Type: Remount, Target: "/mark", Set: unix.MOUNT_ATTR_NOEXEC})
	spec.RootFS.Writable, spec.RootFS.Propagation = ReadOnly, unix.MS_SLAVE|unix.MS_REC
	spec.Namespaces.Cgroup.Mode = NSHost
	spec.Namespaces.Time = &TimeNamespace{Monotonic: 3600e9}
	spec.Domainname = "domain"
	spec.SyncRuntime = true
	spec.CreateContainer, spec.StartContainer = []Hook{{Path: "/bin/true"}}, []Hook{{Path: "/bin/true"}}
	spec.Devices = []DeviceNode{{Path: "/dev/x/fuse", Make: &Node{Type: 'c', Major: 10, Minor: 229, Mode: 0o660, GID: 5}}}
	spec.Sysctl = map[string]string{"net.core.somaxconn": "99"}
	spec.Process.Console, spec.Process.ConsoleHeight = true, 24
	spec.Process.Dir = "/work"
	spec.Process.Personality = &persona
	spec.Process.Scheduling = Scheduling{Policy: &policy, Flags: 1, OOMScoreAdjust: &oom, InitialAffinity: []int{0}, FinalAffinity: []int{0}}
	spec.Process.Seccomp = denyMkdir(mkdirNumbers...)
	return spec, Files{HookState: hookState(t, "{}")}
}

func TestFailureAtEveryStepOfABareStartLeavesNothing(t *testing.T) {
	needRoot(t)
	spec, files := everythingBare(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range pair {
		f := os.NewFile(uintptr(fd), "socket")
		defer f.Close()
		files.Console = f
	}
	// The terminals stay where they were sent, which keeps them open; there is room for all.
	if err := unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	everyStep(t, spec, files, filepath.Join(spec.Mounts[len(spec.Mounts)-5].Source, "main"), 2)
}

// everyStep starts spec once as it is, and then with a fault at each of its
// steps. Of those inside at most a part of 1/part may never be reached: the masks of
// what this kernel does not have, the making of what is there already.
func everyStep(t *testing.T, spec *Spec, f Files, mark string, part int) {
	t.Helper()
	if os.Getuid() != 0 { // such tests are run away from others' mounts as a whole
		everyStepHere(t, spec, f, mark, part)
		return
	}
	withMounts(t, func() { everyStepHere(t, spec, f, mark, part) })
}

func everyStepHere(t *testing.T, spec *Spec, f Files, mark string, part int) {
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	if hit, step := reached(t, p, f, 0); hit { // makes what stays, such as volumes
		t.Fatal(step)
	}
	os.Remove(mark)
	before := state(t)

	for n := 1; n <= len(p.Outside); n++ {
		_, err := prepare(p, f, n, 0)
		var step *StepError
		if !errors.As(err, &step) || step.Step != n-1 || step.Errno != syscall.EIO || step.Op != p.Outside[n-1].Sys.String() {
			t.Fatalf("outside step %d: %v", n-1, err)
		}
	}
	equal(t, "after the outside steps", state(t), before)

	missed := 0
	for n := 1; n <= len(p.Inside); n++ {
		hit, step := reached(t, p, f, n)
		if !hit {
			missed++
			os.Remove(mark)
			continue
		}
		if step.Step != len(p.Outside)+n-1 || step.Errno != syscall.EIO || step.Op != p.Inside[n-1].Sys.String() || step.Why == "" {
			t.Errorf("inside step %d: %v", n-1, step)
		}
		if _, err := os.Stat(mark); err == nil {
			t.Fatalf("inside step %d failed, and the program was executed", n-1)
		}
	}
	equal(t, "after the inside steps", state(t), before)
	if missed > len(p.Inside)/part {
		t.Errorf("%d of %d inside steps were never reached", missed, len(p.Inside))
	}
}
