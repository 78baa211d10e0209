package pid1test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/isolate/vmtest"
)

// disk makes a disk with what a program of the host writes to it.
func disk(t *testing.T, name string, command ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := vmtest.Disk(path, 64); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(command[0], append(command[1:], path)...).CombinedOutput(); err != nil {
		t.Logf("%s", out)
		vmtest.SkipOrFail(t, err)
	}
	return path
}

// withLibraries gives a program of the host with the libraries that it takes.
func withLibraries(t *testing.T, name, to string) []vmtest.File {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		vmtest.SkipOrFail(t, err)
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []vmtest.File{vmtest.Copy(to, path)}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			real, err := filepath.EvalSymlinks(word)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, vmtest.Copy(strings.TrimPrefix(word, "/"), real))
		}
	}
	return files
}

// TestFiles boots a machine with something in each kind of file, and resets it
// while it writes: its disk is checked and mounted at the next boot.
func TestFiles(t *testing.T) {
	data := disk(t, "data", "mkfs.ext4", "-q", "-L", "my data")
	s := vmtest.System{
		Reboots: true,
		Disks:   []string{data, disk(t, "swap", "mkswap", "-L", "space")},
		Files: append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"),
			vmtest.Text("etc/fstab", `# a machine with a disk
LABEL=my\040data /data/deep ext4 noatime,nosuid,x-mount.mkdir=0700 0 2
/data/deep /inner none bind,ro
LABEL=space none swap pri=7
tmpfs /cache tmpfs size=1m,mode=0711 0 0
LABEL=missing /missing ext4 nofail,x-systemd.device-timeout=2s
/dev/vda /later ext4 noauto
`, 0o644),
			vmtest.Directory("etc/sysctl.d", 0o755), vmtest.Directory("etc/tmpfiles.d", 0o755),
			vmtest.Text("etc/sysctl.d/10.conf", "kernel.panic = 17\nnet.ipv4.ip_forward = 1\n-no.such = 1\n", 0o644),
			vmtest.Text("etc/sysctl.conf", "kernel.panic = 18\n", 0o644),
			vmtest.Text("etc/tmpfiles.d/web.conf", "d /run/web 2750 0 7\nf /data/deep/id 0640 - - - %m\nL /run/link - - - - web\n", 0o644),
		),
	}
	g := vmtest.Boot(t, s)
	g.Up()
	look := func() {
		t.Helper()
		mounts, swaps := g.Read("/proc/mounts"), g.Read("/proc/swaps")
		for _, want := range []string{
			"/dev/vda /data/deep ext4 rw,nosuid,noatime", "/dev/vda /inner ext4 ro,", "tmpfs /cache tmpfs rw,relatime,size=1024k,mode=711",
		} {
			if !strings.Contains(mounts, want) {
				t.Errorf("%q is not mounted:\n%s", want, mounts)
			}
		}
		if strings.Contains(mounts, "/later") || strings.Contains(mounts, "/missing") {
			t.Errorf("too much is mounted:\n%s", mounts)
		}
		if f := strings.Fields(swaps); len(f) < 10 || f[5] != "/dev/vdb" || f[9] != "7" {
			t.Errorf("swap:\n%s", swaps)
		}
		for path, want := range map[string]string{"/proc/sys/kernel/panic": "18", "/proc/sys/net/ipv4/ip_forward": "1", "/data/deep/id": strings.TrimSpace(g.Read("/etc/machine-id"))} {
			if got := strings.TrimSpace(g.Read(path)); got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
		}
		if got := g.Shell("stat -c '%a %g' /run/web /data /data/deep/id; readlink /run/link"); got != "2750 7\n700 0\n640 0\nweb\n" {
			t.Errorf("files: %q", got)
		}
	}
	look()
	// A reset while files are written leaves a journal to play back.
	g.Shell("rm /data/deep/id; (i=0; while :; do i=$((i+1)); echo $i > /data/deep/f$((i%64)); sync; done) </dev/null >/dev/null 2>&1 &")
	g.Eventually("files are written", func() bool { return strings.Contains(g.Shell("ls /data/deep"), "f9") })
	g.Rebooted(g.Reset)
	look()
	if text := g.Console(); !strings.Contains(text, "checked /dev/vda: my_data: recovering journal") {
		t.Error("the disk was not checked, or had nothing to play back")
	}
	if out := g.Run("/usr/sbin/fsck.ext4", "-n", "/dev/vda"); !strings.Contains(out, "clean") {
		t.Errorf("fsck says %s", out)
	}
	g.Quit()
}
