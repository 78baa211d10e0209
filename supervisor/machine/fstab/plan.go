package fstab

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/supervisor/machine/blkid"
	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/mount"
)

// Step is what is to be done for an entry.
type Step struct {
	Entry
	Mount mount.Options
	// Device: the source is a block device, which is waited for.
	Device bool
	Tag    blkid.Tag // where it is named by one
	// After are steps that come before, by their place in the list: what it is
	// mounted on or what its source lies on. If one fails, so does this.
	After []int
	// Check: it is checked before. First: it is the only check while it runs.
	Check, First bool
	// Wanted: the boot goes on without it (nofail, _netdev).
	Wanted  bool
	Network bool
	Timeout time.Duration // how long the device is waited for; 0: for ever
	Mkdir   fs.FileMode   // of a mount point that is made
	Swap    SwapOptions
}

// SwapOptions are those of swapon(8).
type SwapOptions struct {
	Priority int // -1: the kernel's choice
	Discard  string
}

// defaultTimeout is how long a device is waited for, as systemd waits.
const defaultTimeout = 90 * time.Second

// virtual are types without a device.
var virtual = map[string]bool{"tmpfs": true, "ramfs": true, "proc": true, "sysfs": true, "devtmpfs": true, "devpts": true, "cgroup": true, "cgroup2": true,
	"overlay": true, "debugfs": true, "tracefs": true, "securityfs": true, "configfs": true, "efivarfs": true, "hugetlbfs": true, "mqueue": true,
	"bpf": true, "pstore": true, "fusectl": true, "binfmt_misc": true, "9p": true, "virtiofs": true, "nfsd": true, "rpc_pipefs": true, "fuse": true}

// network are types that need a network, as _netdev says of others.
var network = map[string]bool{"nfs": true, "nfs4": true, "cifs": true, "smb3": true, "ceph": true, "afs": true, "glusterfs": true, "sshfs": true, "fuse.sshfs": true, "ncpfs": true}

// told are options of systemd that mean more than mounting at boot.
var told = []string{"x-systemd.automount", "x-systemd.makefs", "x-systemd.growfs", "x-systemd.requires", "x-systemd.requires-mounts-for", "x-systemd.before", "x-systemd.after",
	"x-systemd.wanted-by", "x-systemd.required-by", "x-systemd.idle-timeout", "x-systemd.pcrfs", "x-systemd.validatefs"}

// Plan gives the steps for the entries that are mounted at boot, in the order of
// the file. An entry with options that are not covered is a problem and no step.
func Plan(entries []Entry) ([]Step, conf.Problems) {
	var steps []Step
	var problems conf.Problems
	for _, e := range entries {
		s, notes, err := plan(e)
		for _, n := range notes {
			problems = append(problems, conf.Problem{File: e.File, Line: e.Line, What: n, Minor: true})
		}
		if err != nil {
			problems = append(problems, conf.Problem{File: e.File, Line: e.Line, What: fmt.Sprintf("cannot mount %s: %v", e.Target, err)})
			continue
		}
		if !s.Mount.Has("noauto") {
			steps = append(steps, s)
		}
	}
	order(steps)
	return steps, problems
}

func plan(e Entry) (s Step, notes []string, err error) {
	s = Step{Entry: e, Timeout: defaultTimeout, Mkdir: 0o755, Swap: SwapOptions{Priority: -1}}
	list := e.Options
	if e.Swap() {
		list = s.swap(list)
	}
	if s.Mount, err = mount.Parse(list); err != nil {
		return s, nil, err
	}
	o := &s.Mount
	for _, key := range told {
		if o.Has(key) {
			notes = append(notes, fmt.Sprintf("the option %s is not covered; %s is mounted without", key, e.Target))
		}
	}
	s.Network = o.Has("_netdev") || network[e.Type] || strings.HasPrefix(e.Type, "nfs")
	s.Wanted = o.Has("nofail") || s.Network
	if v, ok := o.Value("x-systemd.device-timeout"); ok {
		if s.Timeout, err = duration(v); err != nil {
			return s, notes, err
		}
	}
	for _, key := range []string{"x-mount.mkdir", "X-mount.mkdir"} {
		if v, _ := o.Value(key); v != "" {
			mode, err := strconv.ParseUint(v, 8, 32)
			if err != nil || mode > 0o7777 {
				return s, notes, fmt.Errorf("%s=%s: it is no mode such as 0755", key, v)
			}
			s.Mkdir = fs.FileMode(mode)
		}
	}
	var tagged bool
	s.Tag, tagged = blkid.ParseTag(e.Source)
	s.Device = !o.Bind && !virtual[e.Type] && !s.Network && (tagged || strings.HasPrefix(e.Source, "/dev/"))
	if !s.Device && strings.Contains(e.Source, "UUID=") && !tagged {
		return s, notes, fmt.Errorf("%q names no device", e.Source)
	}
	s.Check = s.Device && e.Pass > 0 && !e.Swap()
	s.First = s.Check && e.Pass == 1
	return s, notes, nil
}

// swap takes the options of swapon(8) out of the list.
func (s *Step) swap(list []string) []string {
	var rest []string
	for _, word := range list {
		key, value, valued := strings.Cut(word, "=")
		switch key {
		case "pri":
			if n, err := strconv.Atoi(value); err == nil {
				s.Swap.Priority = min(max(n, -1), 32767)
			}
		case "discard":
			if s.Swap.Discard = "all"; valued {
				s.Swap.Discard = value
			}
		case "sw", "defaults":
		default:
			rest = append(rest, word)
		}
	}
	return rest
}

// duration reads a time span of systemd.time(7): "90", "90s", "1min 30s", "infinity".
func duration(s string) (time.Duration, error) {
	if s == "infinity" || s == "0" {
		return 0, nil
	}
	units := map[string]time.Duration{"": time.Second, "s": time.Second, "sec": time.Second, "ms": time.Millisecond, "m": time.Minute, "min": time.Minute, "h": time.Hour, "hr": time.Hour, "d": 24 * time.Hour}
	total := time.Duration(0)
	rest := strings.TrimSpace(s)
	for rest != "" {
		n := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		number, err := strconv.Atoi(rest[:n])
		rest = strings.TrimLeft(rest[n:], " ")
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		unit, ok := units[rest[:letters]]
		if err != nil || !ok || number > 1e6 {
			return 0, fmt.Errorf("%q is no time such as 90s", s)
		}
		total += time.Duration(number) * unit
		rest = strings.TrimLeft(rest[letters:], " ")
	}
	if total <= 0 {
		return 0, fmt.Errorf("%q is no time such as 90s", s)
	}
	return total, nil
}

// order fills in After: a mount comes after those that its mount point lies on,
// and after those that its source lies on.
func order(steps []Step) {
	for i := range steps {
		s := &steps[i]
		for j := range steps {
			other := &steps[j]
			if i == j || other.Entry.Swap() || other.Mount.Remount {
				continue
			}
			below := !s.Entry.Swap() && within(s.Target, other.Target) && (s.Target != other.Target || j < i)
			source := !s.Device && strings.HasPrefix(s.Source, "/") && within(s.Source, other.Target)
			if below || source && other.Target != s.Target {
				s.After = append(s.After, j)
			}
		}
		slices.SortFunc(s.After, cmp.Compare)
	}
	breakCycles(steps)
}

// within tells whether a path lies in a directory, or is it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// breakCycles takes out what makes steps wait for each other: two bind mounts on
// each other's sources. Those that come first in the file are done first.
func breakCycles(steps []Step) {
	state := make([]int, len(steps)) // 0 not seen, 1 being looked at, 2 done
	var visit func(i int)
	visit = func(i int) {
		state[i] = 1
		s := &steps[i]
		s.After = slices.DeleteFunc(s.After, func(j int) bool {
			if state[j] == 0 {
				visit(j)
			}
			return state[j] == 1
		})
		state[i] = 2
	}
	for i := range steps {
		if state[i] == 0 {
			visit(i)
		}
	}
}
