package pid1test

import (
	"strings"
	"testing"

	"berth/isolate/vmtest"
)

// TestInitramfs lets the kernel execute berthd in an initramfs, with nothing
// before it. Containers leave their root there too, the agent's for one.
func TestInitramfs(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{Bare: true})
	g.Up()
	mounts := g.Read("/proc/self/mountinfo")
	for _, kind := range []string{"proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "cgroup2", "securityfs"} {
		if !strings.Contains(mounts, " - "+kind+" ") {
			t.Errorf("no %s is mounted:\n%s", kind, mounts)
		}
	}
	if out := g.Run("berth", "list"); !strings.Contains(out, "vm-agent  completed") {
		t.Errorf("berth list prints\n%s", out)
	}
	g.Quit()
}
