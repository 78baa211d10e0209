// Package container translates a unit to what package isolate and package
// cgroup understand. It is the only place that knows both sides, and it is what
// the daemon, berth plan, berth run and berth spec have in common: the same unit
// gives the same container everywhere.
package container

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/supervisor/terminal"
	"berth/units"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// Environment is what the translation needs to know beyond the unit.
type Environment struct {
	// StateDir holds persistent layers (layers/UNIT) and volumes (volumes/NAME).
	StateDir string
	// Unified, Legacy and Optional: how the child enters its groups, see isolate.Cgroup.
	Unified          bool
	Legacy, Optional []string
	// IDs gives the first of the idrange.Size ids outside that a unit has for its
	// user namespace where its maps are automatic; see package idrange.
	IDs func(unit string) (first uint32, err error)
	// Notify is the path on the host of the notification socket of a unit that is
	// to have one (units.Unit.Notify); "": none.
	Notify string
	// Sealed: the executable of who forks is as isolate.Spec.SealedStarter says.
	Sealed bool
	// Ordinary is the user that berth runs as where that is not root.
	Ordinary *Ordinary
}

// Container is a unit translated.
type Container struct {
	Spec   *isolate.Spec
	Limits cgroup.Limits
	// UnknownCalls are names in the unit's seccomp profile that no system call has.
	// They have no effect, and are worth a warning.
	UnknownCalls []string
}

// Build translates a unit. It reads what the unit names on the host:
// environment files, seccomp profiles, device nodes; nothing else is touched.
// The unit must be valid. Safe for concurrent use.
func Build(u *units.Unit, env Environment) (*Container, error) {
	spec := &isolate.Spec{
		Name:          u.Name,
		SealedStarter: env.Sealed,
		Hostname:      u.Namespaces.Hostname,
		Init:          u.Service.Init,
		MaskedPaths:   u.Security.MaskedPaths,
		ReadonlyPaths: u.Security.ReadonlyPaths,
		Sysctl:        u.Sysctl,
		Cgroup:        isolate.Cgroup{Unified: env.Unified, Legacy: env.Legacy, Optional: env.Optional},
	}
	if spec.Hostname == "" && u.Namespaces.UTS == "new" {
		spec.Hostname = isolate.Hostname(u.Name)
	}
	for _, c := range u.Service.PreStart {
		spec.PreStart = append(spec.PreStart, c)
	}
	var err error
	if spec.RootFS, err = rootFS(u, env); err != nil {
		return nil, err
	}
	spec.Mounts = mounts(u, env)
	if spec.Namespaces, err = namespaces(&u.Namespaces); err != nil {
		return nil, err
	}
	if err := userNamespace(spec, u, env); err != nil {
		return nil, err
	}
	if spec.Process, err = process(u); err != nil {
		return nil, err
	}
	if env.Notify != "" {
		notification(spec, u, env.Notify)
	}
	c := &Container{Spec: spec}
	if spec.Process.Seccomp, spec.Process.SeccompFlags, c.UnknownCalls, err = filter(u); err != nil {
		return nil, err
	}
	for _, d := range u.Devices {
		spec.Devices = append(spec.Devices, isolate.DeviceNode{Path: d.Path})
	}
	if c.Limits, err = Limits(u); err == nil && env.Ordinary != nil {
		err = env.Ordinary.apply(c, u)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func rootFS(u *units.Unit, env Environment) (isolate.RootFS, error) {
	r := isolate.RootFS{Host: u.RootFS.Host, Path: u.RootFS.Path, Layers: u.RootFS.Layers}
	switch u.RootFS.Writable {
	case "none", "":
		r.Writable = isolate.ReadOnly
	case "ephemeral":
		r.Writable = isolate.Ephemeral
	case "persistent":
		r.Writable = isolate.Persistent
		r.StateDir = filepath.Join(env.StateDir, "layers", u.Name)
	default:
		return r, fmt.Errorf("cannot build the root of %s: unknown rootfs.writable %q", u.Name, u.RootFS.Writable)
	}
	return r, nil
}

var propagations = map[string]uint64{"": 0, "private": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "shared": unix.MS_SHARED}

func mounts(u *units.Unit, env Environment) []isolate.Mount {
	var out []isolate.Mount
	for _, m := range u.Mounts {
		o := isolate.Mount{
			Source: m.Source, Target: m.Target,
			User: m.User, Group: m.Group,
			Propagation: propagations[m.Propagation],
			NoSuid:      true, NoDev: true,
		}
		switch m.Type {
		case "tmpfs":
			o.Type = isolate.Tmpfs
			if m.Size != nil && *m.Size > 0 {
				o.Size = int64(*m.Size)
			}
		case "volume":
			o.Type = isolate.Volume
			o.Source = filepath.Join(env.StateDir, "volumes", m.Source)
		}
		if m.Type != "bind" && o.User == "" {
			o.User = u.Service.User
			if o.Group == "" {
				o.Group = u.Service.Group
			}
		}
		if m.Mode != "" {
			o.Mode, _ = units.Mode(m.Mode) // validated by units
		}
		for _, opt := range m.Options { // rw, nosuid and nodev say what is so anyway
			switch opt {
			case "ro":
				o.ReadOnly = true
			case "noexec":
				o.NoExec = true
			case "noatime":
				o.NoAtime = true
			case "rbind":
				o.Recursive = true
			}
		}
		out = append(out, o)
	}
	return out
}

func namespaces(n *units.Namespaces) (isolate.Namespaces, error) {
	var out isolate.Namespaces
	for _, e := range []struct {
		value string
		to    *isolate.Namespace
	}{{n.PID, &out.PID}, {n.UTS, &out.UTS}, {n.IPC, &out.IPC}, {n.Cgroup, &out.Cgroup}, {n.Network, &out.Network}} {
		kind, arg, _ := strings.Cut(e.value, ":")
		switch kind {
		case "new":
			e.to.Mode = isolate.NSNew
		case "host":
			e.to.Mode = isolate.NSHost
		case "unit":
			e.to.Mode, e.to.Process = isolate.NSJoin, arg
		case "path":
			e.to.Mode, e.to.Path = isolate.NSJoin, arg
		default:
			return out, fmt.Errorf("cannot use namespace %q: want new, host, unit:NAME or path:FILE", e.value)
		}
	}
	switch kind, arg, _ := strings.Cut(n.Time, ":"); kind {
	case "host", "":
	case "new":
		out.Time = &isolate.TimeNamespace{Monotonic: time.Duration(n.TimeMonotonicOffset), Boottime: time.Duration(n.TimeBoottimeOffset)}
	case "unit":
		out.Time = &isolate.TimeNamespace{Join: &isolate.Namespace{Mode: isolate.NSJoin, Process: arg}}
	case "path":
		out.Time = &isolate.TimeNamespace{Join: &isolate.Namespace{Mode: isolate.NSJoin, Path: arg}}
	default:
		return out, fmt.Errorf("cannot use time namespace %q: want new, host, unit:NAME or path:FILE", n.Time)
	}
	return out, nil
}

// Joined gives the units whose namespaces u enters: their main processes must
// be handed to isolate.Prepare under these names.
func Joined(u *units.Unit) []string {
	var out []string
	n := &u.Namespaces
	for _, v := range []string{n.PID, n.UTS, n.IPC, n.Cgroup, n.Network, n.Time} {
		if name, ok := strings.CutPrefix(v, "unit:"); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// defaultFiles is the soft limit of open files where the unit gives none, as
// systemd's.
const defaultFiles = 1024

func process(u *units.Unit) (isolate.Process, error) {
	s := &u.Service
	p := isolate.Process{
		Args: s.Command, Dir: s.WorkingDirectory,
		User: s.User, Group: s.Group, Groups: s.Groups,
		NoNewPrivileges: u.Security.NoNewPrivileges,
		Terminal:        s.Terminal != "",
		AppArmor:        u.Security.AppArmor, SELinux: u.Security.SELinuxLabel,
	}
	umask, ok := units.Mode(s.Umask)
	if !ok {
		return p, fmt.Errorf("cannot use umask %q: not an octal number", s.Umask)
	}
	p.Umask = umask
	var err error
	if p.Env, err = environment(u); err != nil {
		return p, err
	}
	if p.Capabilities, err = capabilities(&u.Capabilities); err != nil {
		return p, err
	}
	for _, name := range slices.Sorted(maps.Keys(u.Limits)) {
		l := u.Limits[name]
		res, ok := units.RlimitNumber(name)
		if !ok {
			return p, fmt.Errorf("cannot limit %q: no such resource limit", name)
		}
		p.Rlimits = append(p.Rlimits, isolate.Rlimit{Resource: res, Name: name, Soft: uint64(l.Soft), Hard: uint64(l.Hard)})
	}
	if _, given := u.Limits["nofile"]; !given {
		// berthd has raised its own; programs that use select(2) or loop over all
		// descriptors want the usual soft limit.
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return p, fmt.Errorf("cannot read the limit of open files: %w", err)
		}
		p.Rlimits = append(p.Rlimits, isolate.Rlimit{Resource: unix.RLIMIT_NOFILE, Name: "nofile", Soft: min(defaultFiles, l.Max), Hard: l.Max})
	}
	if p.Scheduling, err = scheduling(&u.Scheduling); err != nil {
		return p, err
	}
	p.Landlock = landlock(&u.Security)
	return p, nil
}

// environment is the unit's own: environment files in order, then environment; and
// TERM where it has a terminal and says nothing of it.
func environment(u *units.Unit) ([]string, error) {
	vars := map[string]string{}
	for _, file := range u.Service.EnvironmentFiles {
		path, optional := strings.CutPrefix(file, "-")
		text, err := os.ReadFile(path)
		if optional && os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the environment file: %w", err)
		}
		if err := parseEnvironment(path, text, vars); err != nil {
			return nil, err
		}
	}
	maps.Copy(vars, u.Service.Environment)
	if _, given := vars["TERM"]; !given && u.Service.Terminal != "" {
		vars["TERM"] = terminal.Type(u.Service.Terminal)
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, k+"="+vars[k])
	}
	return out, nil
}

const maxEnvironmentLine = 1 << 20

// parseEnvironment reads lines KEY=VALUE; empty lines and those that begin with
// # or ; are passed over, a value in matching quotes loses them.
func parseEnvironment(path string, text []byte, into map[string]string) error {
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, maxEnvironmentLine)
	n := 1
	for ; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		k = strings.TrimSpace(strings.TrimPrefix(k, "export "))
		if !ok || k == "" || strings.ContainsAny(k, " \t\x00") || strings.ContainsRune(v, 0) {
			return fmt.Errorf("cannot read the environment file: %s:%d: want KEY=VALUE", path, n)
		}
		v = strings.TrimSpace(v)
		if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
			v = v[1 : len(v)-1]
		}
		into[k] = v
	}
	if sc.Err() != nil { // reading from memory nothing else can fail
		return fmt.Errorf("cannot read the environment file: %s:%d: the line is longer than %d bytes", path, n, maxEnvironmentLine)
	}
	return nil
}

func capabilities(c *units.Capabilities) (isolate.Capabilities, error) {
	mask := func(names []string) (m uint64, err error) {
		for _, n := range names {
			nr, ok := CapabilityNumber(n)
			if !ok {
				return 0, fmt.Errorf("cannot keep capability %q: no such capability", n)
			}
			m |= 1 << nr
		}
		return m, nil
	}
	keep, err := mask(c.Keep)
	if err != nil {
		return isolate.Capabilities{}, err
	}
	ambient, err := mask(c.Ambient)
	if err != nil {
		return isolate.Capabilities{}, err
	}
	// Inheritable is what ambient needs and no more: a set wider than that is
	// how file capabilities leak (CVE-2022-24769).
	return isolate.Capabilities{Bounding: keep, Permitted: keep, Effective: keep, Inheritable: ambient, Ambient: ambient}, nil
}

// CapabilityNumber gives the number of a capability named without CAP_.
func CapabilityNumber(name string) (int, bool) {
	for _, c := range capability.ListKnown() {
		if strings.EqualFold(c.String(), name) || strings.EqualFold("CAP_"+c.String(), name) {
			return int(c), true
		}
	}
	return 0, false
}

// ioClassShift is IOPRIO_CLASS_SHIFT of linux/ioprio.h.
const ioClassShift = 13

var (
	ioClasses   = map[string]int{"realtime": 1, "best-effort": 2, "idle": 3}
	cpuPolicies = map[string]int{"other": unix.SCHED_NORMAL, "fifo": unix.SCHED_FIFO, "rr": unix.SCHED_RR, "batch": unix.SCHED_BATCH, "idle": unix.SCHED_IDLE}
)

func scheduling(s *units.Scheduling) (isolate.Scheduling, error) {
	out := isolate.Scheduling{Nice: s.Nice, OOMScoreAdjust: s.OOMScoreAdjust}
	if s.IOClass != "" {
		class, ok := ioClasses[s.IOClass]
		if !ok {
			return out, fmt.Errorf("cannot use scheduling.io-class %q", s.IOClass)
		}
		prio := class << ioClassShift
		if class != 3 {
			level := 4
			if s.IOPriority != nil {
				level = *s.IOPriority
			}
			prio |= level
		}
		out.IOPriority = &prio
	}
	if s.CPUPolicy != "" {
		policy, ok := cpuPolicies[s.CPUPolicy]
		if !ok {
			return out, fmt.Errorf("cannot use scheduling.cpu-policy %q", s.CPUPolicy)
		}
		out.Policy = &policy
		if s.CPUPriority != nil {
			out.Priority = *s.CPUPriority
		}
	}
	return out, nil
}
