package pid1test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// TestSwitchRoot boots from an initramfs to a disk, which has a berthd of its own:
// written to, and read-only with what is written over it in memory.
func TestSwitchRoot(t *testing.T) {
	for name, c := range map[string]struct {
		line  string
		mount string // of the root, in /proc/mounts
	}{
		"label":   {"root=LABEL=root rw rootflags=noatime", "/dev/vda / ext4 rw,noatime"},
		"overlay": {"root=/dev/vda rootfstype=ext4 berth.overlay=tmpfs", "overlay / overlay rw,relatime,lowerdir=/run/berth-root/lower,"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk")
			vmtest.RootDisk(t, disk, "root", vmtest.Text("etc/where", "disk", 0o644))
			g := vmtest.Boot(t, vmtest.System{
				Bare: true, Disks: []string{disk}, Cmdline: c.line, Modules: []string{"overlay"},
				Files: append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"), vmtest.Text("etc/where", "initramfs", 0o644), vmtest.Text("only-initramfs", "", 0o644)),
			})
			g.Up()
			if got := g.Read("/etc/where"); got != "disk" {
				t.Errorf("the root is the %s", got)
			}
			if mounts := g.Read("/proc/mounts"); !strings.Contains(mounts, c.mount) || strings.Contains(mounts, "/sysroot") {
				t.Errorf("the mounts have no %q:\n%s", c.mount, mounts)
			}
			g.Shell("echo x > /written; test ! -e /only-initramfs; test -c /dev/vda || test -b /dev/vda; test -d /sys/fs/cgroup/berth.slice")
			if exe := g.Shell("readlink /proc/1/exe; tr '\\0' ' ' < /proc/1/cmdline"); !strings.HasPrefix(exe, "/usr/sbin/berthd\n") {
				t.Errorf("PID 1 is %s", exe)
			}
			record := g.Read("/run/berth/boot.json")
			for _, span := range []string{`"initramfs/kernel-modules"`, `"initramfs/root-file-system"`, `"file-systems"`, `{"done":true}`} {
				if !strings.Contains(record, span) {
					t.Errorf("the record has no %s:\n%s", span, record)
				}
			}
			if !strings.Contains(g.Console(), "checked /dev/vda: root: clean") {
				t.Error("the root was not checked")
			}
			g.Quit()
		})
	}
}

// TestNoRoot has no device of the name: the console tells why.
func TestNoRoot(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{Bare: true, Cmdline: "root=UUID=0000 rootwait=1"})
	g.WaitConsole(`\*\*\* berth: emergency \*\*\*`, 2*time.Minute)
	g.WaitConsole(`cannot use root=UUID=0000: there is no device UUID=0000: file does not exist \(waited 1s\)`, time.Minute)
	g.Quit()
}
