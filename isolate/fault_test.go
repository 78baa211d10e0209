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
	mounts, err := os.ReadFile("/proc/self/mountinfo")
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

// reached starts p with a fault at inside step n, from 1; false when the start did not come to that step.
func reached(t *testing.T, p *program.Program, f Files, n int) (bool, *StepError) {
	t.Helper()
	prep, err := Prepare(p, f)
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	prep.failInside = n
	child, err := Spawn(prep)
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
}

// failEverywhere fails the start of a Spec at each of its steps and looks for what is left.
func failEverywhere(t *testing.T, spec *Spec) {
	t.Helper()
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	run(t, spec) // makes the volume, which stays
	mark := filepath.Join(spec.Mounts[0].Source, "main")
	os.Remove(mark)
	before := state(t)

	for n := 1; n <= len(p.Outside); n++ {
		_, err := prepare(p, Files{}, n)
		var step *StepError
		if !errors.As(err, &step) || step.Step != n-1 || step.Errno != syscall.EIO || step.Op != p.Outside[n-1].Sys.String() {
			t.Fatalf("outside step %d: %v", n-1, err)
		}
	}
	equal(t, "after the outside steps", state(t), before)

	missed := 0
	for n := 1; n <= len(p.Inside); n++ {
		hit, step := reached(t, p, Files{}, n)
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
	// Passed over are the masks of what this kernel does not have and the like.
	if missed > len(p.Inside)/4 {
		t.Errorf("%d of %d inside steps were never reached", missed, len(p.Inside))
	}
}
