package fstab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/machine/fsck"

	"golang.org/x/sys/unix"
)

// world makes the test binary mount a root's fstab in a mount namespace of its own.
const world = "BERTH_TEST_FSTAB"

func TestMain(m *testing.M) {
	if root := os.Getenv(world); root != "" {
		os.Exit(live(root))
	}
	os.Exit(m.Run())
}

// live mounts twice, and tells what is mounted then and what went wrong.
func live(root string) int {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Println(err)
		return 1
	}
	for _, turn := range []string{"first", "again"} {
		begun := time.Now()
		job := Begin(context.Background(), Config{Root: root, Fsck: fsck.Options{Mode: "skip", Locks: root + "/run/fsck"}, Note: func(s string) { fmt.Println(turn, "note:", s) }})
		problems, _ := job.Required()
		if took := time.Since(begun); took > 20*time.Second {
			fmt.Println(turn, "took", took)
		}
		for _, p := range problems {
			fmt.Printf("%s required: %s %t\n", turn, p, p.Minor)
		}
		for _, p := range job.Wait()[len(problems):] {
			fmt.Printf("%s later: %s %t\n", turn, p, p.Minor)
		}
		table, _ := os.ReadFile("/proc/self/mounts")
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); strings.HasPrefix(f[1], root) {
				fmt.Println(turn, strings.TrimPrefix(f[1], root), f[2], f[3])
			}
		}
	}
	return 0
}

func TestJob(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, to mount")
		}
		t.Skip("needs root, to mount")
	}
	root := t.TempDir()
	text := `tmpfs /data/sub tmpfs mode=0700,size=1m,x-mount.mkdir=0711
/data/sub/inner /bound none bind,ro,nofail
tmpfs /data tmpfs mode=0755,size=2m,noexec
/made /twice none bind
/file /etc/file none bind
tmpfs /bad tmpfs nonsense=1
tmpfs /bad/below tmpfs defaults
LABEL=none-such /late ext4 nofail,x-systemd.device-timeout=1s
LABEL=none-such /needed ext4 x-systemd.device-timeout=100ms
tmpfs /not tmpfs noauto
/nothing none swap sw
garbage
`
	for path, content := range map[string]string{"etc/fstab": text, "file": "x", "made/x": "x"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755), os.WriteFile(filepath.Join(root, path), []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), world+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := string(out)
	for _, want := range []string{
		"first /data tmpfs rw,noexec,relatime,size=2048k,mode=755",
		"first /data/sub tmpfs rw,relatime,size=1024k,mode=700",
		"again /data/sub tmpfs rw,relatime,size=1024k,mode=700",
		"first /twice ",
		"first /etc/file ",
		"first required: /etc/fstab:2: cannot mount " + root + "/data/sub/inner on " + root + "/bound as none: opening the source: no such file or directory true",
		"first required: /etc/fstab:6: cannot mount tmpfs on " + root + "/bad as tmpfs: the option nonsense=1: invalid argument (tmpfs: Unknown parameter 'nonsense') false",
		"first required: /etc/fstab:7: cannot mount /bad/below: /bad, which it needs, is not mounted false",
		"first later: /etc/fstab:8: cannot mount /late: there is no device LABEL=none-such: file does not exist (waited 1s) true",
		"first required: /etc/fstab:9: cannot mount /needed: there is no device LABEL=none-such: file does not exist (waited 100ms); look at /sys/class/block; write nofail if the machine can do without it false",
		"first required: /etc/fstab:11: cannot use swap on /nothing: no such file or directory false",
		"first required: /etc/fstab:12: the line has fewer than two fields; write it as",
		"first note: waiting for the device LABEL=none-such for /late",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q", want)
		}
	}
	for _, line := range []string{"first /data ", "again /data ", "again /data/sub ", "again /twice "} {
		if n := strings.Count(got, "\n"+line); n != 1 {
			t.Errorf("%q comes %d times", line, n)
		}
	}
	if strings.Contains(got, " /not ") || strings.Contains(got, "took") || t.Failed() {
		t.Errorf("got\n%s", got)
	}
}
