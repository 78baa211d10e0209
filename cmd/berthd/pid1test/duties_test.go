package pid1test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// rootPassword is crypt(5) of "secret".
const rootPassword = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG."

// TestEmergencyShells boots with both words that ask for a shell, and looks at
// what the duties of the boot have made of the machine.
func TestEmergencyShells(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{
		Bare:    true,
		Cmdline: "berth.emergency single berth.hostname=pid1 berth.nonsense",
		Files:   []vmtest.File{vmtest.Text("etc/shadow", "root:"+rootPassword+":1::::::\n", 0o600)},
	})
	const within = 3 * time.Minute
	login := func() {
		t.Helper()
		g.WaitConsole(`normal startup\):`, within) // sulogin asks
		g.Type("secret\n")
		g.WaitConsole(`# `, within)
	}
	g.WaitConsole(`emergency \*\*\*\n\nThe kernel's command line asks for it \(berth\.emergency\)`, within)
	login()
	// Job control needs a session with the console as its controlling terminal.
	g.Type("tty; cat /proc/sys/kernel/hostname; cat /sys/class/net/lo/flags; sleep 1000 & jobs; kill %1; echo \"end of $((40+2))\"\n")
	said := g.WaitConsole(`(?s).*end of 42`, within)[0]
	for _, want := range []string{"/dev/ttyS0\n", "\npid1\n", "0x9\n", "Running"} {
		if !strings.Contains(said, want) {
			t.Errorf("the emergency shell lacks %q in:\n%s", want, said)
		}
	}
	if strings.Contains(said, "can't access tty") {
		t.Errorf("the shell has no terminal:\n%s", said)
	}
	g.Type("exit\n")
	g.WaitConsole(`emergency \*\*\*\n\nThe kernel's command line asks for it \(single\)`, within)
	login()
	g.Type("exit 3\n")
	g.Up()

	id := strings.TrimSpace(g.Read("/etc/machine-id"))
	if !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{19}$`).MatchString(id) {
		t.Errorf("the machine ID is %q", id)
	}
	for path, want := range map[string]string{
		"/proc/sys/kernel/hostname": "pid1", "/proc/sys/kernel/ctrl-alt-del": "0", "/proc/sys/kernel/printk_devkmsg": "on",
	} {
		if got := strings.TrimSpace(g.Read(path)); got != want {
			t.Errorf("%s has %q, want %q", path, got, want)
		}
	}
	mounts := g.Read("/proc/1/mounts")
	for _, want := range []string{
		"proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n", "sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0\n",
		"devtmpfs /dev devtmpfs rw,nosuid,", "devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,",
		"tmpfs /dev/shm tmpfs rw,nosuid,nodev", "tmpfs /run tmpfs rw,nosuid,nodev", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0\n",
		"securityfs /sys/kernel/security securityfs rw,nosuid,nodev,noexec,relatime 0 0\n",
	} {
		if strings.Count(mounts, want) != 1 {
			t.Errorf("%q is not once among the mounts:\n%s", want, mounts)
		}
	}
	if out := g.Run("stat", "-c", "%s %a", "/var/lib/berth/random-seed"); out != "32 600\n" {
		t.Errorf("the random seed is %q", out)
	}
	log := g.Run("dmesg")
	if !strings.Contains(log, "berth.nonsense") {
		t.Errorf("nothing is said of a word that is not known:\n%s", log)
	}
	spans := map[string]bool{}
	var order []string
	for line := range strings.Lines(g.Read("/run/berth/boot.json")) {
		var l struct {
			Span *struct {
				Name       string
				Begin, End int64
				Error      string
			}
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if s := l.Span; s != nil && s.End > 0 {
			if spans[s.Name] = true; s.Error != "" {
				t.Errorf("%s failed: %s", s.Name, s.Error)
			}
			order = append(order, s.Name)
			if !strings.HasSuffix(s.Name, "shell") && s.Name != "single" {
				t.Logf("%-16s %8.3f ms", s.Name, float64(s.End-s.Begin)/1e6)
			}
		}
	}
	if !spans["kernel"] || !spans["random-seed"] || !slices.IsSortedFunc([]int{slices.Index(order, "kernel"), slices.Index(order, "console"), slices.Index(order, "single")}, func(a, b int) int { return a - b }) {
		t.Errorf("the record has %q", order)
	}
	g.Quit()
}
