package pid1test

import (
	"strings"
	"testing"

	"berth/isolate/vmtest"
)

// TestReset resets a machine, which comes up again.
func TestReset(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{Reboots: true})
	g.Up()
	g.Write("/tmp/before", "x")
	g.Rebooted(g.Reset)
	if out, status, err := g.Exec("cat", "/tmp/before"); status == 0 || err != nil {
		t.Errorf("cat gives %q, %v: the machine is not fresh", out, err)
	}
	if out := g.Run("berth", "list"); !strings.Contains(out, "vm-agent") {
		t.Errorf("berth list prints\n%s", out)
	}
	g.Quit()
}
