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

// The client of Debian's package: another of that name may come first in PATH.
const dockerClient = "/usr/bin/docker"

// TestDocker has dockerd drive a runtime that was added to it, on an image
// imported from a root file system of this machine.
func TestDocker(t *testing.T) {
	runtime := inSandboxes(t, dockerClient, "dockerd", "containerd", "busybox", "tar")
	if runtime == "" {
		return
	}
	d := startDocker(t, runtime)
	archive := filepath.Join(t.TempDir(), "image.tar")
	if out, err := exec.Command("tar", "-cf", archive, "-C", busyboxRoot(t), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d.do("import", archive, "image")
	run := func(args ...string) []string { return append([]string{"run", "--network", "none"}, args...) }

	t.Run("run", func(t *testing.T) {
		d := d.of(t)
		d.want("hello", run("--rm", "image", "echo", "hello")...)
		d.status(3, run("--rm", "image", "sh", "-c", "exit 3")...)
		d.want("1000:1000", run("--rm", "--user", "1000:1000", "image", "sh", "-c", "echo $(id -u):$(id -g)")...)
		d.want("somebody", run("--rm", "--hostname", "somebody", "image", "hostname")...)
		d.want("Seccomp:\t2", run("--rm", "image", "grep", "Seccomp:", "/proc/self/status")...)
		d.want("CapEff:\t0000000000000000", run("--rm", "--cap-drop", "all", "image", "grep", "CapEff", "/proc/self/status")...)
		d.want("docker-init", run("--rm", "--init", "image", "cat", "/proc/1/comm")...)
		d.status(1, run("--rm", "--read-only", "image", "touch", "/x")...)
		d.want("in", run("--rm", "--tmpfs", "/tmp", "image", "sh", "-c", "echo in >/tmp/x && cat /tmp/x")...)
		volume := t.TempDir()
		d.do(run("--rm", "--volume", volume+":/data", "image", "touch", "/data/file")...)
		if _, err := os.Stat(filepath.Join(volume, "file")); err != nil {
			t.Error(err)
		}
		d.status(1, run("--rm", "--volume", volume+":/data:ro", "image", "touch", "/data/new")...)
		d.status(127, run("--rm", "image", "no-such-program")...)
		d.status(126, run("--rm", "image", "/etc")...)
	})
	t.Run("life", func(t *testing.T) {
		d := d.of(t)
		d.do(run("--detach", "--name", "life", "--memory", "64m", "--pids-limit", "50", "--health-cmd", "test -e /healthy", "--health-interval", "200ms", "image",
			"sh", "-c", "echo started; trap 'exit 7' TERM; while :; do sleep 0.05; done")...)
		d.until("started", "logs", "life")
		d.want(fmt.Sprint(64<<20), "exec", "life", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
		d.want("1000", "exec", "--user", "1000", "life", "id", "-u")
		d.status(5, "exec", "life", "sh", "-c", "exit 5")
		d.do("exec", "life", "touch", "/healthy")
		d.until("healthy", "inspect", "--format", "{{.State.Health.Status}}", "life")
		if out := d.do("stats", "--no-stream", "--format", "{{.MemUsage}}", "life"); !strings.Contains(out, "64MiB") {
			t.Errorf("stats: %s", out)
		}
		if out := d.do("top", "life"); !strings.Contains(out, "started") {
			t.Errorf("top: %s", out)
		}
		d.do("pause", "life")
		d.want("paused", "inspect", "--format", "{{.State.Status}}", "life")
		d.do("unpause", "life")
		d.do("update", "--cpus", "0.5", "--memory", "48m", "--memory-swap", "96m", "life")
		d.want(fmt.Sprint(48<<20), "exec", "life", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
		d.want("50000", "exec", "life", "cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
		d.do("restart", "life")
		d.until("started\nstarted", "logs", "life")
		d.do("stop", "--time", "20", "life")
		d.want("exited 7", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "life")
		d.do("start", "life")
		d.do("kill", "life")
		d.want("137", "wait", "life")
		d.do("rm", "life")
	})
	t.Run("terminal", func(t *testing.T) {
		d := d.of(t)
		all := append(d.base[1:len(d.base):len(d.base)], run("--rm", "--interactive", "--tty", "image", "sh", "-c", "tty; read x; echo got $x; read x")...)
		cmd := exec.Command(d.base[0], all...)
		// Its size is no matter here: docker sets it after the start, and loses it at times.
		master, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		expect(t, master, "/dev/pts/")
		if _, err := master.WriteString("this\r"); err != nil {
			t.Fatal(err)
		}
		expect(t, master, "got this")
		// The client may lose what is written right before the end.
		if _, err := master.WriteString("end\r"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// startDocker starts dockerd, which starts a containerd of its own, with a state
// of its own and no network, and ends it with the test.
func startDocker(t *testing.T, runtime string) *engine {
	t.Helper()
	dir := t.TempDir()
	startDaemon(t, "dockerd", "--host", "unix://"+dir+"/sock", "--data-root", dir+"/root", "--exec-root", "/run/docker-exec", "--pidfile", dir+"/pid",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs",
		"--log-level", "warn", "--add-runtime", "judged="+runtime, "--default-runtime", "judged")
	d := &engine{t: t, base: []string{dockerClient, "--host", "unix://" + dir + "/sock"}}
	d.until("", "version")
	return d
}
