package oci

import (
	"maps"
	"math"
	"slices"
	"strings"

	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultUmask is what other runtimes give where the configuration does not.
const defaultUmask = 0o022

func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// process translates the container's first program, or one that is added to it.
func (t *translator) process(p *specs.Process) {
	if p == nil {
		t.fault("process", "give process.args and process.cwd", "it is missing: there is nothing to execute")
		return
	}
	out := &t.spec.Process
	out.ExtraFiles = t.opt.PreserveFDs
	out.InheritKeyring = t.opt.NoNewKeyring
	out.NoNewPrivileges = p.NoNewPrivileges
	out.Args = t.args(p)
	out.Env = t.environment(p.Env)
	if p.Cwd == "" {
		t.fault("process.cwd", `write "/" if in doubt`, "it is missing")
	} else {
		out.Dir = t.absolute("process.cwd", p.Cwd)
	}
	t.terminal(p)
	t.user(&p.User)
	out.Capabilities = t.capabilities(p.Capabilities)
	out.Rlimits = t.rlimits(p.Rlimits)
	t.labels(p)
	t.scheduling(p)
	t.personality()
	t.memoryPolicy()
}

func (t *translator) args(p *specs.Process) []string {
	if p.CommandLine != "" {
		t.fault("process.commandLine", "use process.args", "it is for Windows")
	}
	if len(p.Args) == 0 || p.Args[0] == "" {
		t.fault("process.args", "", "it is missing or begins with an empty string: there is nothing to execute")
	}
	for i, a := range p.Args {
		if strings.ContainsRune(a, 0) {
			t.fault(index("process.args", i), "", "%s has a NUL in it", quote(a))
		}
	}
	return p.Args
}

// environment checks the entries; of those with the same name the last one counts.
func (t *translator) environment(list []string) []string {
	var out []string
	at := map[string]int{}
	for i, e := range list {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || strings.ContainsRune(e, 0) {
			t.fault(index("process.env", i), "", "%s is not NAME=VALUE", quote(e))
			continue
		}
		if n, twice := at[name]; twice {
			out[n] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

func (t *translator) terminal(p *specs.Process) {
	out := &t.spec.Process
	switch {
	case p.Terminal && !t.opt.Console:
		t.fault("process.terminal", "give a socket for the terminal's master (--console-socket), or do not detach", "there is nobody to take the terminal")
	case !p.Terminal && t.opt.Console:
		t.fault("process.terminal", "set it, or give no socket for a terminal (--console-socket)", "no terminal is wanted, but there is a socket to send one to")
	}
	out.Console = p.Terminal
	if !p.Terminal || p.ConsoleSize == nil {
		return
	}
	for _, s := range []struct {
		path  string
		value uint
		to    *uint16
	}{{"process.consoleSize.height", p.ConsoleSize.Height, &out.ConsoleHeight}, {"process.consoleSize.width", p.ConsoleSize.Width, &out.ConsoleWidth}} {
		if s.value > math.MaxUint16 {
			t.fault(s.path, "", "%d is more than %d", s.value, math.MaxUint16)
		}
		*s.to = uint16(s.value)
	}
}

func (t *translator) user(u *specs.User) {
	out := &t.spec.Process
	if u.Username != "" {
		t.fault("process.user.username", "use process.user.uid and gid", "it is for Windows")
	}
	out.IDs = &isolate.IDs{UID: u.UID, GID: u.GID, Groups: u.AdditionalGids}
	out.Umask = defaultUmask
	if u.Umask != nil {
		out.Umask = *u.Umask
		if *u.Umask&^0o777 != 0 {
			t.fault("process.user.umask", "it is a decimal number: 18 is 022", "%d, in octal %#o, is more than 0777", *u.Umask, *u.Umask)
		}
	}
	// NGROUPS_MAX of linux/limits.h
	if len(u.AdditionalGids) > 65536 {
		t.fault("process.user.additionalGids", "", "it has %d entries, the kernel takes 65536", len(u.AdditionalGids))
		return
	}
	ns := t.spec.Namespaces.User
	if ns == nil || ns.Join != nil {
		return
	}
	if !mapped(ns.Map.UIDs, u.UID) {
		t.fault("process.user.uid", "", "%d is not mapped by linux.uidMappings", u.UID)
	}
	if !mapped(ns.Map.GIDs, u.GID) {
		t.fault("process.user.gid", "", "%d is not mapped by linux.gidMappings", u.GID)
	}
	for i, g := range u.AdditionalGids {
		if !mapped(ns.Map.GIDs, g) {
			t.fault(index("process.user.additionalGids", i), "", "%d is not mapped by linux.gidMappings", g)
		}
	}
	if ns.DenySetgroups && len(u.AdditionalGids) > 0 {
		t.fault("process.user.additionalGids", "map a range of ids", "an ordinary user who maps only his own id cannot set groups")
	}
}

// rlimitNumbers are those of setrlimit(2) on the architectures that berth runs on.
var rlimitNumbers = map[string]int{
	"RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
	"RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11,
	"RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}

func (t *translator) rlimits(list []specs.POSIXRlimit) []isolate.Rlimit {
	var out []isolate.Rlimit
	seen := map[string]bool{}
	for i, l := range list {
		where := index("process.rlimits", i)
		number, ok := rlimitNumbers[l.Type]
		switch {
		case !ok:
			t.fault(where+".type", "see setrlimit(2) for the names, such as RLIMIT_NOFILE", "unknown resource limit %s", quote(l.Type))
		case seen[l.Type]:
			t.fault(where+".type", "leave one of them out", "%s is given twice", l.Type)
		case l.Soft > l.Hard:
			t.fault(where+".soft", "", "%d is above the hard limit, %d", l.Soft, l.Hard)
		}
		seen[l.Type] = true
		out = append(out, isolate.Rlimit{Resource: number, Name: strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_")), Soft: l.Soft, Hard: l.Hard})
	}
	return out
}

func (t *translator) labels(p *specs.Process) {
	out := &t.spec.Process
	out.AppArmor, out.SELinux = p.ApparmorProfile, p.SelinuxLabel
	for _, l := range []struct{ path, value string }{{"process.apparmorProfile", p.ApparmorProfile}, {"process.selinuxLabel", p.SelinuxLabel}} {
		if strings.ContainsAny(l.value, "\x00\n") {
			t.fault(l.path, "", "%s has a NUL or a line break in it", quote(l.value))
		}
	}
}

// perLinux32 is PER_LINUX32 of linux/personality.h.
const perLinux32 = 0x8

func (t *translator) personality() {
	p := t.linux.Personality
	if p == nil {
		return
	}
	var domain uint64
	switch p.Domain {
	case specs.PerLinux:
	case specs.PerLinux32:
		domain = perLinux32
	default:
		t.fault("linux.personality.domain", "want LINUX or LINUX32", "unknown execution domain %s", quote(string(p.Domain)))
	}
	if len(p.Flags) > 0 {
		t.fault("linux.personality.flags", "leave them out", "the runtime-spec defines none, and %s is one", quote(string(p.Flags[0])))
	}
	t.spec.Process.Personality = &domain
}
