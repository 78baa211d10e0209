package pid1test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// downLimit is for a shutdown, on a machine that has much else to do.
const downLimit = 3 * time.Minute

// imageOf makes a file with an ext4 file system of so many MiB.
func imageOf(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := vmtest.Disk(path, size); err != nil {
		t.Fatal(err)
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		vmtest.SkipOrFail(t, err)
	}
	if out, err := exec.Command(mkfs, "-q", "-F", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// clean tells whether the file system on a disk was unmounted: nothing is left in
// its journal, and it says so.
func clean(t *testing.T, disk string) {
	t.Helper()
	out, err := exec.Command("dumpe2fs", "-h", disk).CombinedOutput()
	if err != nil {
		t.Fatalf("dumpe2fs: %v\n%s", err, out)
	}
	if text := string(out); strings.Contains(text, "needs_recovery") || !strings.Contains(text, "Filesystem state:         clean") {
		t.Errorf("the disk was not unmounted:\n%s", text)
	}
	if out, err := exec.Command("e2fsck", "-fn", disk).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// unit is a shell script as a unit on the machine's own root.
func unit(script string, more ...string) string {
	return "[service]\ncommand = ['/bin/sh', '-c', '''" + script + "''']\n[rootfs]\nhost = true\n" + strings.Join(more, "\n") + "\n"
}

func unitFile(name, text string) vmtest.File {
	return vmtest.Text(vmtest.Units+"/"+name+".toml", text, 0o644)
}

func settings(lines ...string) vmtest.File {
	return vmtest.Text("etc/berth/berthd.toml", "[daemon]\n"+strings.Join(lines, "\n")+"\n", 0o644)
}

// TestPowerOff switches off a machine with all that can be in the way: a unit
// that never ends by itself, a process outside of all units that ignores what it
// is asked, an ext4 on a disk that it is busy with, and on that one the file of
// another, by a loop and a dm device, and swap in a third. The limits hold, the disk is clean, and the last
// line tells what was killed.
func TestPowerOff(t *testing.T) {
	disk := imageOf(t, 64)
	tools, err := newCollection(nil)
	if err == nil {
		err = tools.add("usr/sbin/dmsetup")
	}
	if err != nil {
		vmtest.SkipOrFail(t, err)
	}
	g := vmtest.Boot(t, vmtest.System{
		Disks: []string{disk}, Modules: []string{"ext4", "loop", "dm_mod"},
		Files: append(tools.files,
			vmtest.Directory("usr/lib64", 0o755), vmtest.Link("lib64", "usr/lib64"), vmtest.Directory("usr/lib/x86_64-linux-gnu", 0o755),
			vmtest.Copy("inner.img", imageOf(t, 8)),
			settings(`shutdown-timeout = "5s"`),
			unitFile("web", unit(`trap 'exit 0' TERM; while :; do sleep 0.1; done`)),
			unitFile("wedged", unit(`trap "" TERM; while :; do sleep 1; done`, "[[stop.steps]]", "signal = 'TERM'", "wait = 'infinity'")),
		),
	})
	g.Up()
	g.Shell(`mkdir /data && mount -t ext4 /dev/vda /data && cp /inner.img /data/inner.img && mkdir /data/inner
losetup /dev/loop0 /data/inner.img
DM_DISABLE_UDEV=1 dmsetup create layer --table "0 16384 linear /dev/loop0 0"
mount -t ext4 /dev/mapper/layer /data/inner && echo written >/data/inner/file && echo written >/data/file
dd if=/dev/zero of=/data/swap bs=1M count=4 2>/dev/null && mkswap /data/swap >/dev/null && swapon /data/swap
(trap "" TERM HUP; cd /data/inner; while :; do sleep 1; done) </dev/null >/dev/null 2>&1 &`)
	began := time.Now()
	if out := g.Run("berth", "poweroff", "--no-wait", "--reason", "the test"); out != "" {
		t.Errorf("berth poweroff prints %q", out)
	}
	g.WaitConsole(`berthd: power off, asked for by root \(berth poweroff --no-wait --reason the test\): "the test": stopping 2 units, at most 5s`, downLimit)
	line := g.WaitConsole(`berthd: power off: killed (1 process|2 processes) \((.*)\); everything is unmounted\r?\n`, downLimit)
	if !strings.Contains(line[2], " sh") {
		t.Errorf("the last line is %q", line[0])
	}
	g.Ended(downLimit)
	t.Logf("down after %v", time.Since(began).Round(time.Millisecond))
	clean(t, disk)
	if text := g.Console(); !strings.Contains(text, "Power down") || strings.Contains(text, "Kernel panic") {
		t.Error("the kernel did not switch the machine off")
	}
}

// TestReboots does with one machine what comes back: kexec, which is refused, a
// soft reboot, a reboot, one by force, one by the kernel alone, and at last halt.
func TestReboots(t *testing.T) {
	disk := imageOf(t, 64)
	g := vmtest.Boot(t, vmtest.System{
		Reboots: true, Disks: []string{disk}, Modules: []string{"ext4"},
		Files: []vmtest.File{
			unitFile("web", unit(`while :; do sleep 1000; done`)),
			unitFile("slow", unit(`trap "" TERM; while :; do sleep 1; done`, "[stop]", "timeout = '10m'")),
		},
	})
	g.Up()
	out, status, err := g.Exec("berth", "kexec")
	if err != nil || status != 1 || !strings.Contains(out, "cannot kexec: ") {
		t.Errorf("berth kexec: status %d, %v\n%s", status, err, out)
	}
	boot := g.Read("/proc/sys/kernel/random/boot_id")
	supervisor := g.Shell("pidof berthd | wc -w")
	mount := func() { g.Shell("mkdir -p /data && mount -t ext4 /dev/vda /data && echo x >>/data/file") }
	mount()
	g.Write("/run/before", "x")
	g.Run("berth", "kill", "--signal", "KILL", "slow") // its time is another test's
	g.Run("berth", "stop", "slow")
	g.Rebooted(func() { g.Run("berth", "soft-reboot", "--no-wait") })
	if g.Read("/proc/sys/kernel/random/boot_id") != boot {
		t.Error("a soft reboot has started another kernel")
	}
	if g.Read("/run/before") != "x" {
		t.Error("/run was not kept")
	}
	if now := g.Shell("pidof berthd | wc -w"); now != supervisor {
		t.Errorf("%s processes of berthd, before it were %s", now, supervisor)
	}
	if out := g.Shell("cat /proc/mounts; readlink /proc/1/exe"); strings.Contains(out, "/data") {
		t.Errorf("still mounted:\n%s", out)
	}
	g.Eventually("the units are up again", func() bool { return strings.Contains(g.Run("berth", "list"), "running") })

	// Onto the next root, which is this one and a file.
	g.Shell(`mkdir /run/nextroot && mount -t tmpfs none /run/nextroot && cd / && cp -a bin sbin lib usr etc var root home mnt srv /run/nextroot
mkdir /run/nextroot/tmp && touch /run/nextroot/next`)
	g.Run("berth", "kill", "--signal", "KILL", "slow")
	g.Run("berth", "stop", "slow")
	g.Rebooted(func() { g.Run("berth", "soft-reboot", "--no-wait") })
	g.Read("/next")
	if g.Read("/proc/sys/kernel/random/boot_id") != boot || g.Read("/run/before") != "x" {
		t.Error("it was another kernel, or /run was not kept")
	}
	if out := g.Shell("cat /proc/mounts"); strings.Contains(out, "nextroot") {
		t.Errorf("still mounted:\n%s", out)
	}

	mount()
	g.Run("berth", "stop", "--no-block", "slow")
	g.Run("berth", "kill", "--signal", "KILL", "slow")
	g.Rebooted(func() { g.Run("berth", "reboot", "--no-wait") })
	if g.Read("/proc/sys/kernel/random/boot_id") == boot {
		t.Error("a reboot goes on with the same kernel")
	}
	g.WaitConsole(`berthd: reboot: .*everything is unmounted`, downLimit)

	// By the kernel alone.
	g.Rebooted(func() { _, _, _ = g.Exec("berth", "reboot", "-ff") }) // it does not answer any more

	// A unit with ten minutes is waited for, but not by force.
	mount()
	g.Eventually("slow runs", func() bool { return strings.Contains(g.Run("berth", "list"), "slow") })
	g.Run("berth", "poweroff", "--no-wait") // the first one stands
	if out, status, err := g.Exec("berth", "halt", "--no-wait"); err != nil || status != 1 || !strings.Contains(out, "a shutdown is under way already, to power off") {
		t.Errorf("berth halt after berth poweroff: status %d, %v\n%s", status, err, out)
	}
	g.Run("berth", "halt", "--force", "--no-wait")
	g.WaitConsole(`berthd: power off: killed (?:1 process|2 processes) \(slow \d+ sh.*\); everything is unmounted`, downLimit)
	g.Ended(downLimit)
	clean(t, disk)
}

// TestHalt: the processors stop, and the disk is clean.
func TestHalt(t *testing.T) {
	disk := imageOf(t, 64)
	g := vmtest.Boot(t, vmtest.System{Disks: []string{disk}, Modules: []string{"ext4"}})
	g.Up()
	g.Shell("mkdir /data && mount -t ext4 /dev/vda /data && echo x >/data/file")
	g.Run("berth", "halt", "--no-wait")
	g.WaitConsole(`berthd: halt: .*everything is unmounted`, downLimit)
	g.WaitConsole(`System halted`, downLimit)
	g.Quit()
	clean(t, disk)
}
