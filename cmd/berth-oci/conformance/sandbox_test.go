package conformance

// Where others' programs run: namespaces and control groups of their own, below
// an init whose end takes everything with it.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// initEnv tells the test binary to be a sandbox's init, and how.
const initEnv = "BERTH_CONFORMANCE_INIT"

func TestMain(m *testing.M) {
	if text := os.Getenv(initEnv); text != "" {
		os.Exit(sandboxInit(text))
	}
	os.Exit(m.Run())
}

// command is what runs in a sandbox.
type command struct {
	Args, Env []string
	Dir       string
	Deadline  time.Duration
	Covered   []string // directories whose changes are kept for the time of the command only
}

// outcome is what came of it.
type outcome struct {
	Stdout, Stderr string
	Status         int // as of a shell: 128 + signal
	Late           bool
}

// sandbox is a place where commands run one after the other, each in namespaces
// and groups of its own. It belongs to one goroutine's thread, whose private
// mount namespace shows every v1 hierarchy that the host has or could have:
// runtimes of Debian 12 refuse hybrid hosts as soon as a controller is on v2, and
// the suite knows v1 only. Safe for one user at a time.
type sandbox struct {
	calls chan func()
	slice string          // the group's name in every hierarchy
	own   bool            // the hierarchies are the host's own, as it has mounted them
	lacks map[string]bool // controllers that are in use on v2 and so have no hierarchy
}

var sandboxes atomic.Int32

// groupPrefix begins the name of every sandbox's group.
const groupPrefix = "berth-conformance-"

// newSandbox makes a place; the test's end takes it away.
func newSandbox(t testing.TB) *sandbox {
	t.Helper()
	return newPlace(t, false)
}

// newPlace is newSandbox or, asMounted, with the host's hierarchies as they are.
func newPlace(t testing.TB, asMounted bool) *sandbox {
	t.Helper()
	s := &sandbox{own: asMounted, calls: make(chan func()), slice: fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), sandboxes.Add(1))}
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		// Never unlocked: the thread ends with the goroutine, and its mounts with it.
		runtime.LockOSThread()
		for call := range s.calls {
			call()
		}
	}()
	var err error
	s.do(func() { err = s.prepare() })
	t.Cleanup(func() {
		close(s.calls)
		done.Wait()
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sandbox) do(call func()) {
	done := make(chan struct{})
	s.calls <- func() { defer close(done); call() }
	<-done
}

// groupRoot is where the hierarchies are mounted, here and in the sandbox.
const groupRoot = "/sys/fs/cgroup"

// hierarchies are this machine's v1 hierarchies by their mount option.
func hierarchies() ([]string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if controllers := strings.Split(line, ":")[1]; controllers != "" {
			all = append(all, controllers)
		}
	}
	return all, nil
}

// further are the controllers that the suite or a runtime wants to see and that
// could have a hierarchy. Where one is in use on v2 the sandbox is without it.
func further() ([]string, error) {
	known, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(known)) {
		f := strings.Fields(line)
		switch f[0] {
		case "hugetlb", "net_cls", "net_prio", "perf_event":
			if f[1] == "0" && f[3] == "1" {
				all = append(all, f[0])
			}
		}
	}
	return all, nil
}

// mountHierarchies puts all on a tmpfs of its own. Only the machine's own group
// namespace may make those that are not there yet.
func mountHierarchies(all []string) error {
	if err := unix.Mount("tmpfs", groupRoot, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs at %s: %w", groupRoot, err)
	}
	for _, h := range all {
		dir := filepath.Join(groupRoot, strings.TrimPrefix(h, "name="))
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = unix.Mount("cgroup", dir, "cgroup", 0, strings.Replace(h, "name=", "none,name=", 1))
		}
		if err == unix.EBUSY { // in use on v2
			err = os.Remove(dir)
		}
		if err != nil {
			return fmt.Errorf("cannot mount the hierarchy of %s: %w", h, err)
		}
	}
	return nil
}

func (s *sandbox) prepare() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	more, err := further()
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if s.own {
		return removeStale()
	}
	if err := mountHierarchies(append(all, more...)); err != nil {
		return err
	}
	s.lacks = map[string]bool{}
	for _, name := range more {
		if _, err := os.Stat(filepath.Join(groupRoot, name)); err != nil {
			s.lacks[name] = true
		}
	}
	return removeStale()
}

// removeStale removes the groups of test processes that were killed.
func removeStale() error {
	groups, err := filepath.Glob(filepath.Join(groupRoot, "*", groupPrefix+"*"))
	if err != nil {
		return err
	}
	var stale []string
	for _, group := range groups {
		name := strings.TrimPrefix(filepath.Base(group), groupPrefix)
		pid, err := strconv.Atoi(strings.Split(name, "-")[0])
		if err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			stale = append(stale, group)
		}
	}
	return removeTrees(stale)
}

// groups are the sandbox's own in every hierarchy.
func (s *sandbox) groups() ([]string, error) {
	return filepath.Glob(filepath.Join(groupRoot, "*", s.slice))
}

func (s *sandbox) makeGroups() error {
	entries, err := os.ReadDir(groupRoot)
	if err != nil {
		return err
	}
	for _, e := range entries {
		var fs unix.Statfs_t
		if err := unix.Statfs(filepath.Join(groupRoot, e.Name()), &fs); err != nil || fs.Type != unix.CGROUP_SUPER_MAGIC && fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue // a place for one that is not mounted
		}
		dir := filepath.Join(groupRoot, e.Name(), s.slice)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if e.Name() != "cpuset" {
			continue
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(groupRoot, e.Name(), name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), bytes.TrimSpace(value), 0)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// removeGroups removes them with everything below. Their processes have been
// killed; the last of a frozen group die when it is thawed.
func (s *sandbox) removeGroups() error {
	groups, err := s.groups()
	if err != nil {
		return err
	}
	return removeTrees(groups)
}

func removeTrees(groups []string) error {
	var failed error
	for _, group := range groups {
		var dirs []string
		err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
				thaw := filepath.Join(path, "freezer.state")
				if _, err := os.Stat(thaw); err == nil {
					return os.WriteFile(thaw, []byte("THAWED"), 0)
				}
			}
			return err
		})
		failed = errors.Join(failed, err)
		for i := len(dirs) - 1; i >= 0; i-- {
			failed = errors.Join(failed, removeGroup(dirs[i]))
		}
	}
	return failed
}

// removeGroup retries for as long as the kernel needs to bury the last process.
func removeGroup(dir string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(dir)
		if err != unix.EBUSY || time.Now().After(end) {
			if err != nil {
				return fmt.Errorf("cannot remove %s: %w", dir, err)
			}
			return nil
		}
	}
}

// run runs a command to its end or its deadline. Nothing of it is left then: no
// process, mount, group, interface or file.
func (s *sandbox) run(c command) (out outcome, err error) {
	s.do(func() { out, err = s.runHere(c) })
	return out, err
}

func (s *sandbox) runHere(c command) (outcome, error) {
	if err := s.makeGroups(); err != nil {
		return outcome{}, errors.Join(err, s.removeGroups())
	}
	groups, err := s.groups()
	if err != nil {
		return outcome{}, err
	}
	second := "eth0"
	if all, err := net.Interfaces(); err == nil && len(all) > 1 {
		second = all[1].Name
	}
	text, err := json.Marshal(initArgs{Groups: groups, Args: c.Args, Env: c.Env, Dir: c.Dir, Covered: c.Covered, Interface: second})
	if err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), initEnv+"="+string(text))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	err = cmd.Run()
	out := outcome{Stdout: stdout.String(), Stderr: stderr.String(), Status: cmd.ProcessState.ExitCode(), Late: ctx.Err() != nil}
	if cmd.ProcessState == nil {
		return out, errors.Join(err, s.removeGroups())
	}
	if out.Status == initFailed {
		return out, errors.Join(errors.New(out.Stderr), s.removeGroups())
	}
	return out, s.removeGroups()
}
