package main

import (
	"testing"

	"berth/isolate/vmtest"
)

// guestPrograms is where the virtual machine has what binary and probe give.
const guestPrograms = "/usr/lib/berth-test"

// stages are the places that berthd is started in in the virtual machine. In the
// first one it is also put to what does not depend on the place.
var stages = []vmtest.Stage{
	{Name: "root", Tests: "^(TestGuest.*|TestKills|TestReexec|TestDevices|TestDefaultContainer|TestHealth(Kinds|Hostile|Kill)?|TestReadyProbes|TestNotify(Roots|Access|WithoutSupervisor)|TestMainPID|TestFDStore|TestWatchdog)$", Skip: "^TestDefaultContainer$/^capsh$"},
	{Name: "clock", Tests: "^TestClockSet$"},
	{Name: delegated, Group: "system.slice/tests.service", Tests: "^TestGuestGroups$"},
	{Name: "shell", Group: "user.slice/session.scope", Others: true, Tests: "^TestGuestGroups$"},
	{Name: "container", Group: "machine.slice/container", Others: true, Namespace: true, Tests: "^TestGuestGroups$"},
}

// delegated is the stage in which berthd is alone in its group; see place.
const delegated = "delegated"

// guestBase is the group that berth.slice is made in, as the daemon sees it. In a
// group that other processes are in as well it cannot be.
var guestBase = map[string]string{"root": "/", delegated: "/system.slice/berthd.service", "shell": "/", "container": "/"}

// TestVM boots a virtual machine with another kernel, nothing but cgroup v2, and
// every capability, and runs berthd in it: most of this package's tests, and
// those of vm_guest_test.go.
func TestVM(t *testing.T) {
	vmtest.Need(t)
	files, err := guestFiles(t)
	if err != nil {
		vmtest.SkipOrFail(t, err)
	}
	vmtest.Run(t, vmtest.Machine{Files: files, Modules: []string{"overlay", "loop"}, Stages: stages})
}

// guestFiles are a small Unix, with things in it that no container may see.
func guestFiles(t *testing.T) ([]vmtest.File, error) {
	files, err := vmtest.SmallUnix()
	return append(files,
		vmtest.Directory("usr/lib/berth-test", 0o755),
		vmtest.Text("root/secret", "x", 0o600), vmtest.Directory("home/user", 0o755), vmtest.Text("boot/secret", "x", 0o600),
		vmtest.Copy("usr/lib/berth-test/berthd", binary(t, "berthd")),
		vmtest.Copy("usr/lib/berth-test/berth", binary(t, "berth")),
		vmtest.Copy("usr/lib/berth-test/probe", probe(t)),
		vmtest.Copy("usr/lib/berth-test/notify", notifier(t)),
	), err
}
