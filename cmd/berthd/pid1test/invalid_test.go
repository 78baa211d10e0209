package pid1test

import (
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// TestInvalidUnits boots a machine for the first time with a unit file that is not
// valid: a shell on the console tells so, comes again until it is mended, and all
// units start then.
func TestInvalidUnits(t *testing.T) {
	const within = 3 * time.Minute
	g := vmtest.Boot(t, vmtest.System{
		Cmdline: "quiet",
		Files: []vmtest.File{
			vmtest.Text("etc/shadow", "root:"+rootPassword+":1::::::\n", 0o600),
			vmtest.Text(vmtest.Units+"/web.toml", "[service]\ncommnd = ['/bin/true']\n[rootfs]\nhost = true\n", 0o644),
		},
	})
	login := func() {
		t.Helper()
		g.WaitConsole(`(?s)No unit was started.*web\.toml:2:1.*commnd.*normal startup\):`, within) // sulogin asks
		g.Type("secret\n")
		g.WaitConsole(`# `, within)
	}
	login()
	g.Type("exit\n")
	login()
	g.Type("sed -i s/commnd/command/ /" + vmtest.Units + "/web.toml\n")
	g.Up()
	g.Run("berth", "poweroff", "--no-wait")
	g.Ended(within)
}
