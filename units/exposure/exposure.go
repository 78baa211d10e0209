// Package exposure says how much of the machine a unit's program could reach if
// it were taken over, from the unit alone: a table of what is open, each with a
// weight and the key that would close it, and a score. It is pure.
package exposure

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"berth/units"
)

// Finding is one way in which a unit may be exposed.
type Finding struct {
	Key    string `json:"key"` // of the unit file
	Title  string `json:"title"`
	Weight int    `json:"weight"` // 1 to 10: how much an attacker gains
	// Exposed is how far it is open: 0 not at all, 1 wholly.
	Exposed float64 `json:"exposed"`
	// Why tells what is open, "" if nothing is; Advice what would close it.
	Why    string `json:"why,omitempty"`
	Advice string `json:"advice,omitempty"`
}

// Report is the assessment of one unit.
type Report struct {
	Unit string `json:"unit"`
	// Score is 0 (shut) to 10 (open): the weights of what is exposed, as a part
	// of all. Word is it in a word: shut, tight, fair, loose or open.
	Score    float64   `json:"score"`
	Word     string    `json:"word"`
	Findings []Finding `json:"findings"`
}

// Assess looks at a unit. Findings are in the order of the unit file.
func Assess(u *units.Unit) Report {
	r := Report{Unit: u.Name}
	var open, all float64
	for _, c := range checks {
		f := Finding{Key: c.key, Title: c.title, Weight: c.weight}
		f.Exposed, f.Why = c.look(u)
		if f.Exposed > 0 {
			f.Advice = c.advice
		}
		open += f.Exposed * float64(f.Weight)
		all += float64(f.Weight)
		r.Findings = append(r.Findings, f)
	}
	r.Score = float64(int(open/all*100+0.5)) / 10
	r.Word = word(r.Score)
	return r
}

func word(score float64) string {
	for _, w := range []struct {
		below float64
		word  string
	}{{1, "shut"}, {2, "tight"}, {4, "fair"}, {6, "loose"}} {
		if score < w.below {
			return w.word
		}
	}
	return "open"
}

type check struct {
	key, title string
	weight     int
	advice     string
	look       func(*units.Unit) (exposed float64, why string)
}

// checks are in the order of the unit file. Weights: 10 is the whole machine, 5
// another service or much of the kernel, 1 a trifle.
var checks = []check{
	{"service.user", "The program is not root", 10, "name a user of the root file system", func(u *units.Unit) (float64, string) {
		switch isRoot := u.Service.User == "" || u.Service.User == "root" || u.Service.User == "0"; {
		case isRoot && u.Namespaces.User == "new":
			return 0.1, "it is root in a user namespace of its own"
		case isRoot && len(u.Capabilities.Keep) == 0:
			return 0.4, "it runs as root, without capabilities: files of root are its own"
		case isRoot:
			return 1, "it runs as root"
		}
		return 0, ""
	}},
	{"rootfs", "It sees a root file system of its own", 3, "give it a path, layers or an image of its own", func(u *units.Unit) (float64, string) {
		if u.RootFS.Host {
			return 0.5, "it can read what is on the host and not masked"
		}
		return 0, ""
	}},
	{"rootfs.writable", "It cannot change its root file system", 2, "\"none\", with a volume for what it has to write", func(u *units.Unit) (float64, string) {
		switch u.RootFS.Writable {
		case "persistent":
			return 1, "what it writes stays over restarts, programs and libraries too"
		case "ephemeral":
			return 0.3, "it can change its programs and libraries until it stops"
		}
		return 0, ""
	}},
	{"mount", "It can write nothing of the host", 8, "add \"ro\" to options, or use a volume", writableMounts},
	{"mount.options", "It cannot execute what it has written to its mounts", 1, "add \"noexec\" to options", func(u *units.Unit) (float64, string) {
		for _, m := range u.Mounts {
			if !slices.Contains(m.Options, "ro") && !slices.Contains(m.Options, "noexec") {
				return 1, fmt.Sprintf("it can write and execute on %s", m.Target)
			}
		}
		return 0, ""
	}},
	namespace("mount", 8, "it sees and may change the host's mounts", func(n units.Namespaces) string { return n.Mount }),
	namespace("pid", 6, "it sees all processes of the host", func(n units.Namespaces) string { return n.PID }),
	namespace("network", 5, "it reaches what listens on the host's loopback, and every network", func(n units.Namespaces) string { return n.Network }),
	namespace("ipc", 4, "it shares the host's System V and POSIX memory", func(n units.Namespaces) string { return n.IPC }),
	namespace("uts", 1, "it sees, and with SYS_ADMIN sets, the host's name", func(n units.Namespaces) string { return n.UTS }),
	namespace("cgroup", 2, "it sees the host's control groups", func(n units.Namespaces) string { return n.Cgroup }),
	namespace("user", 4, "its user ids are the host's", func(n units.Namespaces) string { return n.User }),
	{"cgroup.memory-max", "Its memory is limited", 3, "set it to what the program needs", func(u *units.Unit) (float64, string) {
		if u.Cgroup.MemoryMax == nil || *u.Cgroup.MemoryMax == units.Max {
			return 1, "it can take all memory"
		}
		return 0, ""
	}},
	{"cgroup.pids-max", "Its processes are limited", 3, "set it to a few times what the program needs", func(u *units.Unit) (float64, string) {
		if u.Cgroup.PidsMax == nil || *u.Cgroup.PidsMax == units.Max {
			return 1, "it can take all process ids"
		}
		return 0, ""
	}},
	{"cgroup.cpu-max", "Its processor time is limited", 1, "set it where other services must not suffer", func(u *units.Unit) (float64, string) {
		if (u.Cgroup.CPUMax == nil || *u.Cgroup.CPUMax == units.CPU(units.Max)) && u.Cgroup.CPUWeight == nil {
			return 1, "it can take all processors, with the weight of any other"
		}
		return 0, ""
	}},
	{"cgroup.delegate", "It cannot make control groups", 1, "false, unless the program manages containers", func(u *units.Unit) (float64, string) {
		if u.Cgroup.Delegate {
			return 1, "it may make and move groups below its own"
		}
		return 0, ""
	}},
	{"capabilities.keep", "It keeps no capabilities that matter", 10, "keep only those that it needs", capabilities},
	{"security.no-new-privileges", "It gains no privileges by executing programs", 6, "true", func(u *units.Unit) (float64, string) {
		if !u.Security.NoNewPrivileges {
			return 1, "set-user-ID programs and file capabilities work"
		}
		return 0, ""
	}},
	{"security.seccomp", "Its system calls are filtered", 8, "\"default\", or a profile", func(u *units.Unit) (float64, string) {
		switch {
		case u.Security.Seccomp == "unconfined":
			return 1, "every system call is open"
		case len(u.Security.AllowSyscalls) > 0:
			return 0.2, "the filter lets more through: " + strings.Join(u.Security.AllowSyscalls, ", ")
		}
		return 0, ""
	}},
	{"security.landlock", "Landlock, AppArmor or SELinux confines it", 2, "list the paths that it needs", func(u *units.Unit) (float64, string) {
		if len(u.Security.Landlock) == 0 && u.Security.AppArmor == "" && u.Security.SELinuxLabel == "" {
			return 1, "file permissions and mounts alone guard files"
		}
		return 0, ""
	}},
	{"device", "It has no devices of the host", 6, "take the entry out", devices},
	{"scheduling.cpu-policy", "It cannot hold up the machine", 2, "\"other\"", func(u *units.Unit) (float64, string) {
		if u.Scheduling.CPUPolicy == "fifo" || u.Scheduling.CPUPolicy == "rr" {
			return 1, "a real-time program that loops stops all others"
		}
		return 0, ""
	}},
}

func namespace(name string, weight int, why string, of func(units.Namespaces) string) check {
	advice := "\"new\""
	return check{"namespaces." + name, "Its " + name + " namespace is its own", weight, advice, func(u *units.Unit) (float64, string) {
		switch ns := of(u.Namespaces); {
		case ns == "host":
			return 1, why
		case strings.HasPrefix(ns, "unit:"):
			return 0.3, "it shares that of " + ns
		case strings.HasPrefix(ns, "path:"):
			return 0.5, "it enters that of " + ns
		}
		return 0, ""
	}}
}

// severe are places of the host whose writing gives the machine away.
var severe = []string{"/", "/etc", "/usr", "/bin", "/sbin", "/lib", "/boot", "/root", "/dev", "/proc", "/sys", "/run", "/var", "/var/run", "/var/run/docker.sock", "/run/docker.sock", "/run/containerd"}

func writableMounts(u *units.Unit) (float64, string) {
	worst, why := 0.0, ""
	for _, m := range u.Mounts {
		if m.Type != "bind" || slices.Contains(m.Options, "ro") {
			continue
		}
		level, text := 0.3, fmt.Sprintf("it can write %s", m.Source)
		if slices.Contains(severe, path.Clean(m.Source)) {
			level, text = 1, text+", and with it take over the machine"
		}
		if level > worst {
			worst, why = level, text
		}
	}
	return worst, why
}

// gains are the capabilities by what they give: 1 is the machine itself. Those
// not named here count 0.1.
var gains = map[string]float64{
	"SYS_ADMIN": 1, "SYS_MODULE": 1, "SYS_RAWIO": 1, "SYS_PTRACE": 0.8, "SYS_BOOT": 0.5, "BPF": 0.8, "PERFMON": 0.5,
	"DAC_READ_SEARCH": 0.8, "DAC_OVERRIDE": 0.6, "SETUID": 0.4, "SETGID": 0.4, "SETFCAP": 0.4, "SETPCAP": 0.4,
	"CHOWN": 0.4, "FOWNER": 0.4, "MKNOD": 0.4, "NET_ADMIN": 0.6, "NET_RAW": 0.3, "SYS_CHROOT": 0.3, "SYS_TIME": 0.4,
	"MAC_ADMIN": 0.6, "MAC_OVERRIDE": 0.6, "AUDIT_CONTROL": 0.4, "SYSLOG": 0.3, "SYS_RESOURCE": 0.3, "CHECKPOINT_RESTORE": 0.5,
	"KILL": 0.2, "IPC_OWNER": 0.2, "NET_BIND_SERVICE": 0.02,
}

func capabilities(u *units.Unit) (float64, string) {
	worst, names := 0.0, []string(nil)
	for _, c := range u.Capabilities.Keep {
		g, ok := gains[c]
		if !ok {
			g = 0.1
		}
		if u.Namespaces.User == "new" {
			g /= 4 // they count inside only
		}
		worst = max(worst, g)
		names = append(names, c)
	}
	if worst == 0 {
		return 0, ""
	}
	return worst, "it keeps " + strings.Join(names, ", ")
}

func devices(u *units.Unit) (float64, string) {
	worst, why := 0.0, ""
	for _, d := range u.Devices {
		level := 0.3
		if name := path.Base(d.Path); d.Access != "r" && (slices.Contains([]string{"mem", "kmem", "port", "fuse", "kvm"}, name) || strings.HasPrefix(name, "sd") || strings.HasPrefix(name, "vd") || strings.HasPrefix(name, "nvme") || strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "loop")) {
			level = 1
			if name == "fuse" || name == "kvm" {
				level = 0.5
			}
		}
		if level > worst {
			worst, why = level, fmt.Sprintf("it has %s (%s)", d.Path, d.Access)
		}
	}
	return worst, why
}
