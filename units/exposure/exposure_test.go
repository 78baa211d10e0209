package exposure

import (
	"strings"
	"testing"

	"berth/units"
)

func decode(t *testing.T, text string) *units.Unit {
	t.Helper()
	u, ds := units.Decode("x", []units.Source{{Path: "x.toml", Text: []byte(text)}})
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	return u
}

const plain = "[service]\ncommand = '/bin/true'\n"

// TestKeysClose opens one thing after the other and looks that it is found, at
// its key, and makes the score worse.
func TestKeysClose(t *testing.T) {
	hardened := "[service]\ncommand = '/bin/true'\nuser = 'web'\n[rootfs]\npath = '/srv/root'\n"
	base := Assess(decode(t, hardened))
	for key, text := range map[string]string{
		"service.user":               plain + "[rootfs]\npath = '/srv/root'\n",
		"rootfs":                     "[service]\ncommand = '/bin/true'\nuser = 'web'\n[rootfs]\nhost = true\n",
		"rootfs.writable":            hardened + "writable = 'persistent'\n",
		"mount":                      hardened + "[[mount]]\nsource = '/etc'\ntarget = '/etc'\n",
		"mount.options":              hardened + "[[mount]]\nsource = '/srv/x'\ntarget = '/x'\n",
		"namespaces.network":         hardened + "[namespaces]\nnetwork = 'host'\n",
		"namespaces.pid":             hardened + "[namespaces]\npid = 'host'\n",
		"namespaces.ipc":             hardened + "[namespaces]\nipc = 'host'\n",
		"namespaces.uts":             hardened + "[namespaces]\nuts = 'host'\n",
		"namespaces.cgroup":          hardened + "[namespaces]\ncgroup = 'host'\n",
		"cgroup.delegate":            hardened + "[cgroup]\ndelegate = true\n",
		"capabilities.keep":          hardened + "[capabilities]\nkeep = ['SYS_ADMIN']\n",
		"security.no-new-privileges": hardened + "[security]\nno-new-privileges = false\n",
		"security.seccomp":           hardened + "[security]\nseccomp = 'unconfined'\n",
		"device":                     hardened + "[[device]]\npath = '/dev/vda'\naccess = 'rw'\n",
		"scheduling.cpu-policy":      hardened + "[scheduling]\ncpu-policy = 'fifo'\ncpu-priority = 5\n",
	} {
		r := Assess(decode(t, text))
		if r.Score <= base.Score {
			t.Errorf("%s: score %v is not above %v", key, r.Score, base.Score)
		}
		for _, f := range r.Findings {
			if f.Key == key && (f.Exposed == 0 || f.Why == "" || f.Advice == "") {
				t.Errorf("%s is not found: %+v", key, f)
			}
		}
	}
	// And what it says closes, closes.
	for key, text := range map[string]string{
		"namespaces.user":    hardened + "[namespaces]\nuser = 'new'\n",
		"cgroup.memory-max":  hardened + "[cgroup]\nmemory-max = '64M'\n",
		"cgroup.pids-max":    hardened + "[cgroup]\npids-max = 64\n",
		"cgroup.cpu-max":     hardened + "[cgroup]\ncpu-max = '50%'\n",
		"security.landlock":  hardened + "[security]\nlandlock = [{ path = '/', access = 'rx' }]\n",
		"cgroup.memory-high": hardened,
	} {
		for i, f := range Assess(decode(t, text)).Findings {
			if f.Key == key && (f.Exposed != 0 || base.Findings[i].Exposed == 0) {
				t.Errorf("%s: %+v, before %+v", key, f, base.Findings[i])
			}
		}
	}
}

// TestKeysExist: the advice names keys and tables that there are.
func TestKeysExist(t *testing.T) {
	for _, c := range checks {
		key := strings.Replace(c.key, "mount.", "mount[].", 1)
		if _, ok := units.FieldOf(key); !ok {
			t.Errorf("there is no key %s", c.key)
		}
	}
	for name := range gains {
		if _, ds := units.Decode("x", []units.Source{{Path: "x.toml", Text: []byte(plain + "[rootfs]\npath = '/r'\n[capabilities]\nkeep = ['" + name + "']\n")}}); ds.HasErrors() {
			t.Errorf("%s: %v", name, ds)
		}
	}
}

// TestScale holds the ends of the scale.
func TestScale(t *testing.T) {
	worst := Assess(decode(t, plain+`
[rootfs]
host = true
writable = 'ephemeral'
[namespaces]
pid = 'host'
network = 'host'
ipc = 'host'
uts = 'host'
cgroup = 'host'
[capabilities]
keep = ['SYS_ADMIN']
[security]
no-new-privileges = false
seccomp = 'unconfined'
[[mount]]
source = '/'
target = '/host'
[[device]]
path = '/dev/vda'
access = 'rwm'
`))
	if worst.Word != "open" {
		t.Errorf("everything open: %v, %s", worst.Score, worst.Word)
	}
	best := Assess(decode(t, `[service]
command = '/bin/true'
user = 'web'
[rootfs]
path = '/srv/root'
[namespaces]
user = 'new'
[cgroup]
memory-max = '64M'
pids-max = 64
cpu-max = '50%'
[security]
landlock = [{ path = '/', access = 'rx' }]
`))
	if best.Score != 0 || best.Word != "shut" {
		t.Errorf("everything closed: %v, %s", best.Score, best.Word)
	}
	if d := Assess(decode(t, plain+"[rootfs]\nhost = true\n")); d.Score > 3 {
		t.Errorf("the defaults on the host's root: %v, %s: %+v", d.Score, d.Word, d.Findings)
	}
}
