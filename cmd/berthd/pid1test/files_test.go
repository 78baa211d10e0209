package pid1test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// disk makes a disk with what a program of the host writes to it.
func disk(t *testing.T, name string, command ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := vmtest.Disk(path, 8); err != nil {
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
		Modules: []string{"loop"},
		Disks:   []string{data, disk(t, "swap", "mkswap", "-L", "space")},
		Files: append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"),
			vmtest.Text("etc/fstab", `# a machine with a disk
LABEL=my\040data /data/deep ext4 noatime,nosuid,x-mount.mkdir=0700 0 2
/data/deep /inner none bind,ro
LABEL=space none swap pri=7
tmpfs /cache tmpfs size=1m,mode=0711 0 0
LABEL=missing /missing ext4 nofail,x-systemd.device-timeout=2s
/dev/vda /later ext4 noauto
LABEL=late /late ext2 nofail
`, 0o644),
			vmtest.File{Name: "late.image", Mode: 0o100600, From: disk(t, "late", "mkfs.ext2", "-q", "-L", "late")},
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
		if strings.Contains(mounts, " /later ") || strings.Contains(mounts, "/missing") {
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
	// A device that appears later is mounted when it does.
	g.Shell("losetup /dev/loop0 /late.image")
	g.Eventually("the late device is mounted", func() bool { return strings.Contains(g.Read("/proc/mounts"), "/dev/loop0 /late ext2 rw") })
	// A reset while files are written leaves a journal to play back.
	g.Shell("rm /data/deep/id; (i=0; while :; do i=$((i+1)); echo $i > /data/deep/f$((i%64)); sync; done) </dev/null >/dev/null 2>&1 &")
	g.Eventually("files are written", func() bool { return strings.Contains(g.Shell("ls /data/deep"), "f9") })
	g.Rebooted(g.Reset)
	look()
	if text := g.Run("dmesg"); !strings.Contains(text, "checked /dev/vda: my_data: recovering journal") {
		t.Error("the disk was not checked, or had nothing to play back")
	}
	if out := g.Run("/usr/sbin/fsck.ext4", "-n", "/dev/vda"); !strings.Contains(out, "clean") {
		t.Errorf("fsck says %s", out)
	}
	g.Quit()
}

// TestDamaged has a disk that no check repairs by itself: the emergency shell
// comes, and the machine does not run its units without its data.
func TestDamaged(t *testing.T) {
	data := disk(t, "data", "mkfs.ext4", "-q", "-L", "data")
	f, err := os.OpenFile(data, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(4096); at < 1<<20; at += 4096 { // group descriptors, bitmaps, inodes; not the superblock
		if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", 4096)), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	g := vmtest.Boot(t, vmtest.System{Disks: []string{data}, Cmdline: "fsck.mode=force", Files: append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"),
		vmtest.Text("etc/fstab", "LABEL=data /data ext4 defaults 0 2\n", 0o644))})
	g.WaitConsole(`\*\*\* berth: emergency \*\*\*`, 2*time.Minute)
	g.WaitConsole(`The duty "file-systems" of the boot failed: .*/etc/fstab:1: cannot use the file system on /dev/vda: `, time.Minute)
	g.Quit()
}

// TestModules has modules by name and with parameters, and one that is
// blacklisted; those of the machine's devices come by themselves, or the agent
// could not be spoken with.
func TestModules(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{
		Bare: true, Modules: []string{"loop", "softdog", "dm_mod", "xfs"}, Cmdline: "modules_load=dm-mod loop.max_part=3 sysctl.kernel.modprobe=/none",
		Files: []vmtest.File{
			vmtest.Directory("etc/modules-load.d", 0o755), vmtest.Directory("etc/modprobe.d", 0o755),
			vmtest.Text("etc/modules-load.d/a.conf", "# some\nloop\nsoftdog\nnothing-like-it\n", 0o644),
			vmtest.Text("etc/modprobe.d/a.conf", "options loop max_loop=5\nblacklist softdog\n", 0o644),
		},
	})
	g.Up()
	modules := g.Shell("cut -d' ' -f1 /proc/modules")
	for name, want := range map[string]bool{"loop": true, "dm_mod": true, "virtio_console": true, "virtio_pci": true, "softdog": false, "xfs": false} {
		if got := strings.Contains("\n"+modules, "\n"+name+"\n"); got != want {
			t.Errorf("%s is loaded: %t, want %t", name, got, want)
		}
	}
	if got := g.Shell("cat /sys/module/loop/parameters/max_loop /sys/module/loop/parameters/max_part"); got != "5\n3\n" {
		t.Errorf("loop's parameters: %q", got)
	}
	// What the kernel asks for by itself berthd loads, as nobody else does.
	g.Shell("mkdir /tmp/x; mount -t xfs /dev/loop0 /tmp/x 2>/dev/null || grep '^xfs ' /proc/modules")
	if text := g.Run("dmesg"); !strings.Contains(text, "/etc/modules-load.d/a.conf:4: cannot load nothing-like-it: there is no module nothing-like-it for the running kernel") {
		t.Error("nobody tells of a module that is not there")
	}
	g.Quit()
}

// TestCheckReboots: a check that asks for a reboot gets one, before anything uses
// the file system.
func TestCheckReboots(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{Disks: []string{disk(t, "data", "mkfs.ext4", "-q", "-L", "data")}, Files: []vmtest.File{
		vmtest.Text("usr/sbin/fsck.ext4", "#!/bin/sh\nexit 3\n", 0o755), vmtest.Text("etc/fstab", "LABEL=data /data ext4 defaults 0 2\n", 0o644)}})
	g.Ended(2 * time.Minute)
	if text := g.Console(); !strings.Contains(text, "rebooting: the check of a file system asks for it") || strings.Contains(text, "vm-agent") {
		t.Error("it did not reboot for that")
	}
}
