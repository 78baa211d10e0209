package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// rootlessPrograms is the variable that tells a process of these tests that it
// runs as an ordinary user, and where it finds the programs.
const rootlessPrograms = "BERTH_TEST_ROOTLESS"

// rootlessTests are those of the other tests that are an ordinary user's too: the
// rest needs limits, further users, the host's namespaces, or to look into
// processes that only root may look into.
var rootlessTests = []string{
	"TestHooks", "TestReloadOfUnits", "TestOrder", "TestRestarts", "TestShutdown", "TestHangup",
	"TestReloadFiles", "TestReloadInvalid", "TestReloadSettles", "TestTakeOverShutdown", "TestInit", "TestReexec",
	"TestLogFiles", "TestInvalidReload", "TestLogsCommand", "TestEventsAndWait", "TestJSON", "TestHistory",
}

// TestRootlessSuite runs them as one, with a control group that is delegated to
// the user and without.
func TestRootlessSuite(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"berth", "berthd"} {
		text, err := os.ReadFile(binary(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, ordinaryUser, ordinaryUser); err != nil {
		t.Fatal(err)
	}
	for name, group := range map[string]*os.File{"without groups": nil, "delegated": delegatedGroup(t)} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.v", "-test.timeout=5m", "-test.run=^("+strings.Join(rootlessTests, "|")+")$")
			cmd.Dir = "/"
			cmd.Env = append(os.Environ(), rootlessPrograms+"="+dir, "HOME="+tmp, "TMPDIR="+tmp)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}}
			if group != nil {
				cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
			}
			out, err := cmd.CombinedOutput()
			for _, test := range rootlessTests {
				if !strings.Contains(string(out), "--- PASS: "+test+" ") {
					t.Errorf("%s does not pass as user %d", test, ordinaryUser)
				}
			}
			if err != nil || t.Failed() {
				t.Errorf("%v\n%s", err, tail(string(out), 32<<10))
			}
		})
	}
}

// delegatedGroup makes a v2 group for the user, which is removed at the end; nil where there is no v2.
func delegatedGroup(t *testing.T) *os.File {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		root += "/unified"
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no cgroup v2")
	}
	dir := filepath.Join(root, fmt.Sprintf("berthd-test-user-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for _, f := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(dir, f), ordinaryUser, ordinaryUser); err != nil {
			t.Fatal(err)
		}
	}
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group.Close() })
	return group
}
