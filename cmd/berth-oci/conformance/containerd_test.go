package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestContainerd has containerd drive a runtime by its client ctr, on a root file
// system that is no image.
func TestContainerd(t *testing.T) {
	runtime := inSandboxes(t, "containerd", "ctr", "busybox")
	if runtime == "" {
		return
	}
	c := startContainerd(t)
	root := busyboxRoot(t)
	// The arguments of run: options, then the name, then the command.
	run := func(options []string, args ...string) []string {
		all := append([]string{"run", "--runc-binary", runtime, "--runc-root", "/run/state"}, options...)
		return append(append(all, "--rootfs", root), args...)
	}
	t.Run("run", func(t *testing.T) {
		c := c.of(t)
		c.want("hello", run([]string{"--rm"}, "a", "/bin/echo", "hello")...)
		c.status(3, run([]string{"--rm"}, "a", "/bin/sh", "-c", "exit 3")...)
		c.want("in", run([]string{"--rm", "--no-pivot"}, "a", "/bin/echo", "in")...)
		c.want("v", run([]string{"--rm", "--env", "K=v"}, "a", "/bin/sh", "-c", "echo $K")...)
		c.want("Seccomp:\t2", run([]string{"--rm", "--seccomp"}, "a", "/bin/grep", "Seccomp:", "/proc/self/status")...)
		c.status(1, run([]string{"--rm", "--read-only"}, "a", "/bin/touch", "/x")...)
		volume := t.TempDir()
		mount := "type=bind,src=" + volume + ",dst=/data,options=rbind:rw"
		c.do(run([]string{"--rm", "--mount", mount}, "a", "/bin/touch", "/data/file")...)
		if _, err := os.Stat(filepath.Join(volume, "file")); err != nil {
			t.Error(err)
		}
		if out := c.status(1, run([]string{"--rm"}, "a", "/bin/no-such-program")...); !strings.Contains(out, "no-such-program") {
			t.Errorf("the reason is lost: %s", out)
		}
	})
	t.Run("life", func(t *testing.T) {
		c := c.of(t)
		c.do(run([]string{"--detach", "--cpus", "0.5", "--memory-limit", fmt.Sprint(64 << 20)}, "life", "/bin/sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done")...)
		c.until("RUNNING", "task", "ls")
		c.want("1000", "task", "exec", "--exec-id", "e1", "--user", "1000", "life", "/bin/id", "-u")
		c.status(5, "task", "exec", "--exec-id", "e2", "life", "/bin/sh", "-c", "exit 5")
		for file, want := range map[string]string{"memory/default/life/memory.limit_in_bytes": fmt.Sprint(64 << 20), "cpu/default/life/cpu.cfs_quota_us": "50000"} {
			if text, err := os.ReadFile(filepath.Join(groupRoot, file)); err != nil || strings.TrimSpace(string(text)) != want {
				t.Errorf("%s: %q, not %s: %v", file, text, want, err)
			}
		}
		if out := c.do("task", "ps", "life"); len(strings.Split(out, "\n")) < 2 {
			t.Errorf("ps: %s", out)
		}
		if out := c.do("task", "metrics", "life"); !strings.Contains(out, "memory") || !strings.Contains(out, fmt.Sprint(64<<20)) {
			t.Errorf("metrics: %s", out)
		}
		c.do("task", "pause", "life")
		c.until("PAUSED", "task", "ls")
		c.do("task", "resume", "life")
		c.until("RUNNING", "task", "ls")
		c.do("task", "kill", "--signal", "SIGTERM", "life")
		c.until("STOPPED", "task", "ls")
		if out := c.status(0, "task", "delete", "life"); !strings.Contains(out, "exit code 7") {
			t.Errorf("the status is lost: %s", out)
		}
		c.do("container", "delete", "life")
		c.do(run([]string{"--detach"}, "forced", "/bin/sleep", "1000")...)
		c.status(0, "task", "delete", "--force", "forced")
		c.do("container", "delete", "forced")
		c.want("", "container", "ls", "--quiet")
	})
	t.Run("terminal", func(t *testing.T) {
		c := c.of(t)
		cmd := exec.Command(c.base[0], append(c.base[1:len(c.base):len(c.base)], run([]string{"--rm", "--tty"}, "tty", "/bin/sh", "-c", "tty; stty size; read x; echo got $x")...)...)
		master, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		expect(t, master, "/dev/pts/")
		if _, err := master.WriteString("this\r"); err != nil {
			t.Fatal(err)
		}
		expect(t, master, "got this")
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		c.do(run([]string{"--detach"}, "host", "/bin/sleep", "1000")...)
		inner := exec.Command(c.base[0], append(c.base[1:len(c.base):len(c.base)], "task", "exec", "--tty", "--exec-id", "e1", "host", "/bin/tty")...)
		second, err := pty.Start(inner)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		expect(t, second, "/dev/pts/")
		if err := inner.Wait(); err != nil {
			t.Error(err)
		}
		c.status(0, "task", "delete", "--force", "host")
		c.do("container", "delete", "host")
	})
}

// startContainerd starts it with a state of its own and ends it with the test.
func startContainerd(t *testing.T) *engine {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "sock")
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		dir+"/root", dir+"/state", socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, "containerd", "--log-level", "warn", "--config", config)
	c := &engine{t: t, base: []string{"ctr", "--address", socket}}
	c.until("", "version")
	return c
}
