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

// TestPodman has podman drive a runtime through a container's life, on an image
// imported from a root file system of this machine.
func TestPodman(t *testing.T) {
	runtime := inSandboxes(t, "podman", "conmon", "busybox", "tar")
	if runtime == "" {
		return
	}
	dir := t.TempDir()
	p := &engine{t: t, base: []string{
		"podman", "--root", dir + "/root", "--runroot", dir + "/runroot", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", runtime,
	}, env: []string{"DISABLE_HC_SYSTEMD=true"}}
	// podman asks for limits that root may not have to give here.
	run := func(args ...string) []string {
		return append([]string{"run", "--network", "none", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"}, args...)
	}
	archive := filepath.Join(dir, "image.tar")
	if out, err := exec.Command("tar", "-cf", archive, "-C", busyboxRoot(t), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.do("import", "--quiet", archive, "image")

	t.Run("run", func(t *testing.T) {
		p := p.of(t)
		p.want("hello", run("--rm", "image", "echo", "hello")...)
		p.status(3, run("--rm", "image", "sh", "-c", "exit 3")...)
		p.want("1000:1000", run("--rm", "--user", "1000:1000", "image", "sh", "-c", "echo $(id -u):$(id -g)")...)
		p.want("1000", run("--rm", "--user", "user", "image", "id", "-u")...)
		p.want("somebody", run("--rm", "--hostname", "somebody", "image", "hostname")...)
		p.want("/data v", run("--rm", "--workdir", "/data", "--env", "K=v", "image", "sh", "-c", "echo $PWD $K")...)
		p.want("CapEff:\t0000000000000000", run("--rm", "--cap-drop", "all", "image", "grep", "CapEff", "/proc/self/status")...)
		p.want("Seccomp:\t2", run("--rm", "image", "grep", "Seccomp:", "/proc/self/status")...)
		p.want("1", run("--rm", "--sysctl", "net.ipv4.ip_forward=1", "image", "cat", "/proc/sys/net/ipv4/ip_forward")...)
		p.want("in", run("--rm", "--tmpfs", "/tmp", "image", "sh", "-c", "echo in >/tmp/x && cat /tmp/x")...)
		if out := p.status(1, run("--rm", "--read-only", "image", "touch", "/x")...); !strings.Contains(out, "Read-only file system") {
			t.Errorf("a read-only root: %s", out)
		}
	})
	t.Run("cannot execute", func(t *testing.T) {
		p := p.of(t)
		p.status(127, run("--rm", "image", "no-such-program")...)
		p.status(126, run("--rm", "image", "/etc")...)
	})
	t.Run("volume", func(t *testing.T) {
		p := p.of(t)
		volume := t.TempDir()
		p.do(run("--rm", "--volume", volume+":/data", "image", "sh", "-c", "echo kept >/data/file")...)
		if text, err := os.ReadFile(filepath.Join(volume, "file")); err != nil || string(text) != "kept\n" {
			t.Errorf("%q %v", text, err)
		}
		p.want("kept", run("--rm", "--volume", volume+":/data:ro", "image", "cat", "/data/file")...)
		p.status(1, run("--rm", "--volume", volume+":/data:ro", "image", "touch", "/data/new")...)
	})
	t.Run("user namespace", func(t *testing.T) {
		p := p.of(t)
		p.want("0 0 100000 65536", run("--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "image", "sh", "-c", "echo $(id -u) $(cat /proc/self/uid_map)")...)
	})
	t.Run("life", func(t *testing.T) {
		p := p.of(t)
		p.do(run("--detach", "--name", "life", "--memory", "64m", "--pids-limit", "50", "image",
			"sh", "-c", "echo started; echo wrong >&2; trap 'exit 7' TERM; while :; do sleep 0.05; done")...)
		p.until("started", "logs", "life")
		p.until("running", "inspect", "--format", "{{.State.Status}}", "life")
		p.want(fmt.Sprint(64<<20), "exec", "life", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
		p.want("50", "exec", "life", "cat", "/sys/fs/cgroup/pids/pids.max")
		p.want("1000", "exec", "--user", "1000", "life", "id", "-u")
		p.want("v /data", "exec", "--env", "K=v", "--workdir", "/data", "life", "sh", "-c", "echo $K $PWD")
		p.status(5, "exec", "life", "sh", "-c", "exit 5")
		p.status(127, "exec", "life", "no-such-program")
		p.want("sh", "exec", "life", "cat", "/proc/1/comm")
		if out := p.do("top", "life", "pid", "args"); !strings.Contains(out, "started") {
			t.Errorf("top: %s", out)
		}
		if out := p.do("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "life"); !strings.Contains(out, "67.11MB") {
			t.Errorf("stats: %s", out)
		}
		p.do("pause", "life")
		p.want("paused", "inspect", "--format", "{{.State.Status}}", "life")
		p.do("unpause", "life")
		p.want("running", "inspect", "--format", "{{.State.Status}}", "life")
		p.do("update", "--cpus", "0.5", "life")
		p.want("50000", "exec", "life", "cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
		p.do("restart", "life")
		p.until("started\nstarted", "logs", "life")
		p.do("stop", "--time", "20", "life")
		p.want("exited 7", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "life")
		p.do("start", "life")
		p.want("running", "inspect", "--format", "{{.State.Status}}", "life")
		p.do("kill", "--signal", "KILL", "life")
		p.want("137", "wait", "life")
		p.do("rm", "life")
		p.do(run("--detach", "--name", "forced", "image", "sleep", "1000")...)
		p.do("rm", "--force", "--time", "0", "forced")
		p.want("", "ps", "--all", "--quiet")
	})
	t.Run("create", func(t *testing.T) {
		p := p.of(t)
		args := run("--name", "made", "image", "sleep", "1000")
		args[0] = "create"
		p.do(args...)
		p.do("init", "made")
		p.want("initialized", "inspect", "--format", "{{.State.Status}}", "made")
		p.do("start", "made")
		p.want("running", "inspect", "--format", "{{.State.Status}}", "made")
		p.do("rm", "--force", "--time", "0", "made")
		p.do(args...)
		p.do("init", "made")
		p.do("rm", "made")
	})
	t.Run("healthcheck", func(t *testing.T) {
		p := p.of(t)
		p.do(run("--detach", "--name", "health", "--health-cmd", "test -e /healthy", "--health-retries", "1", "image", "sleep", "1000")...)
		p.status(1, "healthcheck", "run", "health")
		p.want("unhealthy", "inspect", "--format", "{{.State.Health.Status}}", "health")
		p.do("exec", "health", "touch", "/healthy")
		p.status(0, "healthcheck", "run", "health")
		p.want("healthy", "inspect", "--format", "{{.State.Health.Status}}", "health")
		p.do("rm", "--force", "--time", "0", "health")
	})
	t.Run("terminal", func(t *testing.T) {
		p := p.of(t)
		if out := p.do(run("--rm", "--tty", "image", "tty")...); !strings.HasPrefix(out, "/dev/pts/") {
			t.Errorf("tty says %q", out)
		}
		p.status(1, run("--rm", "image", "tty")...)
		p.do(run("--detach", "--tty", "--name", "terminal", "image", "sh", "-c", "tty; sleep 1000")...)
		p.until("/dev/pts/", "logs", "terminal")
		if out := p.do("exec", "--tty", "terminal", "tty"); !strings.HasPrefix(out, "/dev/pts/") {
			t.Errorf("exec --tty: tty says %q", out)
		}
		p.do("rm", "--force", "--time", "0", "terminal")
		// From a terminal of one's own, with its size.
		all := append(p.base[1:len(p.base):len(p.base)], run("--rm", "--interactive", "--tty", "image", "sh", "-c", "stty size; read x; echo got $x")...)
		cmd := exec.Command(p.base[0], all...)
		cmd.Env = append(os.Environ(), p.env...)
		master, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		expect(t, master, "33 77")
		if _, err := master.WriteString("this\r"); err != nil {
			t.Fatal(err)
		}
		expect(t, master, "got this")
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}
