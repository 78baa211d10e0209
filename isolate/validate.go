package isolate

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// These bound what a Spec may ask for, so that the image fits its limits.
const (
	maxMounts   = 160
	maxBare     = 1000 // the same for a bare container, which may have all devices of the host
	maxStrings  = 1 << 20
	maxExtra    = 200
	maxHostname = 64
)

func (s *Spec) validate() error {
	if s == nil {
		return errors.New("there is no spec")
	}
	if !s.keepsRoot() {
		if err := s.RootFS.validate(); err != nil {
			return err
		}
	}
	if err := s.validateBare(); err != nil {
		return err
	}
	most := maxMounts
	if s.Bare {
		most = maxBare
	}
	if len(s.Mounts)+len(s.MaskedPaths)+len(s.ReadonlyPaths)+len(s.Devices) > most {
		return fmt.Errorf("more than %d mounts, masked paths, read-only paths and devices", most)
	}
	for i := range s.Mounts {
		if err := s.Mounts[i].validate(); err != nil {
			return fmt.Errorf("mount %d: %w", i+1, err)
		}
	}
	if err := s.Namespaces.validate(); err != nil {
		return err
	}
	if s.Namespaces.UTS.Mode == NSHost && (s.Hostname != "" || s.Domainname != "") {
		return errors.New("a hostname or domain name needs a UTS namespace of its own")
	}
	if len(s.Domainname) > maxHostname || strings.ContainsRune(s.Domainname, 0) {
		return fmt.Errorf("domain name %q is longer than %d bytes or has a NUL in it", s.Domainname, maxHostname)
	}
	if len(s.Hostname) > maxHostname || strings.ContainsRune(s.Hostname, 0) {
		return fmt.Errorf("hostname %q is longer than %d bytes or has a NUL in it", s.Hostname, maxHostname)
	}
	if s.Init && s.Namespaces.PID.Mode != NSNew {
		return errors.New("an init needs a PID namespace of its own")
	}
	for i, args := range s.PreStart {
		if err := checkArgs(args); err != nil {
			return fmt.Errorf("pre-start command %d: %w", i+1, err)
		}
	}
	for _, p := range s.MaskedPaths {
		if err := checkTarget(p); err != nil {
			return fmt.Errorf("masked path: %w", err)
		}
	}
	for _, p := range s.ReadonlyPaths {
		if err := checkTarget(p); err != nil {
			return fmt.Errorf("read-only path: %w", err)
		}
	}
	for _, d := range s.Devices {
		if err := checkTarget(d.Path); err != nil {
			return fmt.Errorf("device: %w", err)
		}
		if d.Make != nil {
			if err := d.Make.check(d.Path); err != nil {
				return err
			}
		} else if !strings.HasPrefix(path.Clean(d.Path), "/dev/") {
			return fmt.Errorf("device %q is not below /dev", d.Path)
		}
	}
	for k, v := range s.Sysctl {
		if err := s.Namespaces.CheckSysctl(k, v); err != nil {
			return err
		}
	}
	if err := s.validateUser(); err != nil {
		return err
	}
	if u := s.Namespaces.User; u != nil && u.Join == nil && s.Namespaces.Time != nil && s.Namespaces.Time.Join != nil {
		return errors.New("a container with a new user namespace cannot join a time namespace, which belongs to another one")
	}
	return s.Process.validate()
}

func (r *RootFS) validate() error {
	kinds := 0
	for _, set := range []bool{r.Host, r.Path != "", len(r.Layers) > 0} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return errors.New("the root file system must be exactly one of the host's, a path, and layers")
	}
	for _, p := range append([]string{r.Path}, r.Layers...) {
		if p != "" && checkSource(p) != nil {
			return checkSource(p)
		}
	}
	switch r.Writable {
	case ReadOnly, Ephemeral:
	case Persistent:
		if err := checkSource(r.StateDir); err != nil {
			return fmt.Errorf("the directory of a persistent root: %w", err)
		}
	case Direct:
		if r.Path == "" {
			return errors.New("only a root given by its path can be written directly")
		}
	default:
		return fmt.Errorf("unknown kind of writable root %d", r.Writable)
	}
	if r.IDMap != nil {
		if err := r.IDMap.validate(); err != nil {
			return fmt.Errorf("the map of the root file system: %w", err)
		}
	}
	return checkPropagation(r.Propagation)
}

func (m *Mount) validate() error {
	if err := checkTarget(m.Target); err != nil {
		return err
	}
	if path.Clean(m.Target) == "/" {
		return errors.New("the target is the root itself")
	}
	switch m.Type {
	case Bind, Volume:
		if err := checkSource(m.Source); err != nil {
			return err
		}
	case FileSystem, CgroupFS, Remount: // see checkBare
	case Tmpfs:
		if m.Size < 0 {
			return fmt.Errorf("size %d is negative", m.Size)
		}
	default:
		return fmt.Errorf("unknown mount type %d", m.Type)
	}
	if m.IDMap != nil {
		if m.IDMap.Joined && len(m.IDMap.UIDs)+len(m.IDMap.GIDs) > 0 {
			return errors.New("its map is given, and is that of the user namespace that is joined")
		}
		if err := m.IDMap.validate(); err != nil && !m.IDMap.Joined {
			return fmt.Errorf("its map: %w", err)
		}
		if m.Type != Bind && m.Type != Volume {
			return errors.New("only a bind mount or a volume can have a map of its own")
		}
	}
	if m.Mode&^0o7777 != 0 {
		return fmt.Errorf("mode %#o has more than permissions in it", m.Mode)
	}
	return checkPropagation(m.Propagation)
}

func (n *Namespaces) validate() error {
	if n.Time != nil && n.Time.Join != nil && n.Time.Join.Mode != NSJoin {
		return errors.New("the time namespace to join has another mode")
	}
	for _, ns := range n.all() {
		if ns.Mode == NSJoin && (ns.Path == "") == (ns.Process == "") {
			return fmt.Errorf("the %s namespace to join must be given by exactly one of path and process", ns.name)
		}
		if ns.Mode < NSNew || ns.Mode > NSJoin {
			return fmt.Errorf("unknown mode %d of the %s namespace", ns.Mode, ns.name)
		}
	}
	return nil
}

// all is list with the time namespace, if one is joined, and the mount
// namespace: last, since what is before may need what is on the host.
func (n *Namespaces) all() []namedNS {
	list := n.list()
	if n.Time != nil && n.Time.Join != nil {
		list = append(list, namedNS{*n.Time.Join, "time", unix.CLONE_NEWTIME})
	}
	return append(list, namedNS{n.Mount, "mount", unix.CLONE_NEWNS})
}

type namedNS struct {
	Namespace
	name string
	flag uint64
}

func (n *Namespaces) list() []namedNS {
	return []namedNS{
		{n.PID, "pid", unix.CLONE_NEWPID},
		{n.UTS, "uts", unix.CLONE_NEWUTS},
		{n.IPC, "ipc", unix.CLONE_NEWIPC},
		{n.Network, "network", unix.CLONE_NEWNET},
		{n.Cgroup, "cgroup", unix.CLONE_NEWCGROUP},
	}
}

func (p *Process) validate() error {
	if err := checkArgs(p.Args); err != nil {
		return fmt.Errorf("the command: %w", err)
	}
	size := 0
	for _, e := range p.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("environment entry %q is not NAME=VALUE", e)
		}
		size += len(e)
	}
	if size > maxStrings {
		return fmt.Errorf("the environment has more than %d bytes", maxStrings)
	}
	if p.Dir != "" {
		if err := checkTarget(p.Dir); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
	}
	if p.ExtraFiles < 0 || p.ExtraFiles > maxExtra {
		return fmt.Errorf("%d descriptors to pass, want 0 to %d", p.ExtraFiles, maxExtra)
	}
	if err := p.validateSeccomp(); err != nil {
		return err
	}
	if err := p.validateLandlock(); err != nil {
		return err
	}
	if p.Umask&^0o777 != 0 {
		return fmt.Errorf("umask %#o is more than 0777", p.Umask)
	}
	c := p.Capabilities
	switch {
	case c.Effective&^c.Permitted != 0:
		return errors.New("the effective capabilities go beyond the permitted ones")
	case c.Ambient&^(c.Permitted&c.Inheritable) != 0:
		return errors.New("an ambient capability must be permitted and inheritable too")
	}
	if err := p.Scheduling.validate(); err != nil {
		return err
	}
	if p.Console && p.Terminal {
		return errors.New("a console of its own and standard input as the terminal exclude each other")
	}
	for _, l := range []string{p.AppArmor, p.SELinux} {
		if strings.ContainsRune(l, 0) || len(l) > 4096 {
			return fmt.Errorf("label %q is longer than a page or has a NUL in it", l)
		}
	}
	for _, r := range p.Rlimits {
		if r.Resource < 0 || r.Resource > 15 {
			return fmt.Errorf("unknown resource limit %d", r.Resource)
		}
		if r.Soft > r.Hard {
			return fmt.Errorf("limit %s: the soft limit is above the hard one", r.Name)
		}
	}
	return nil
}

// CheckSysctl tells why a kernel parameter cannot be set to value in a container
// with these namespaces; nil if it can be, as far as its name tells. The name is
// written with dots or with slashes.
func (n *Namespaces) CheckSysctl(key, value string) error {
	p := SysctlPath(key)
	if key == "" || strings.ContainsAny(key+value, "\x00\n") || path.Clean("/"+p) != "/"+p {
		return fmt.Errorf("sysctl %q is not a name such as net.core.somaxconn", key)
	}
	host := ""
	switch {
	case strings.HasPrefix(p, "net/"):
		if n.Network.Mode == NSHost {
			host = "network"
		}
	case strings.HasPrefix(p, "fs/mqueue/"), strings.HasPrefix(p, "kernel/msg"), strings.HasPrefix(p, "kernel/sem"), strings.HasPrefix(p, "kernel/shm"):
		if n.IPC.Mode == NSHost {
			host = "ipc"
		}
	case p == "kernel/domainname", p == "kernel/hostname":
		if n.UTS.Mode == NSHost {
			host = "uts"
		}
	default:
		return fmt.Errorf("sysctl %q belongs to the whole machine, not to a container; set it on the host", key)
	}
	if host != "" {
		return fmt.Errorf("sysctl %q would change the host: it needs a %s namespace of its own", key, host)
	}
	return nil
}

// SysctlPath is the file of a setting below /proc/sys. As with sysctl(8), the separator that
// comes first decides, and the other one then stands for itself:
// net.ipv4.conf.eth0/100.forwarding is the setting of the interface eth0.100.
func SysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i < 0 || key[i] == '/' {
		return strings.TrimPrefix(key, "/")
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

func checkArgs(args []string) error {
	if len(args) == 0 || args[0] == "" {
		return errors.New("there is nothing to execute")
	}
	size := 0
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %q has a NUL in it", a)
		}
		size += len(a)
	}
	if size > maxStrings {
		return fmt.Errorf("the arguments have more than %d bytes", maxStrings)
	}
	return nil
}

func checkTarget(p string) error {
	if !strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0) || len(p) >= unix.PathMax {
		return fmt.Errorf("%q is not an absolute path", p)
	}
	return nil
}

func checkSource(p string) error { return checkTarget(p) }

func checkPropagation(v uint64) error {
	switch v &^ unix.MS_REC {
	case 0, unix.MS_PRIVATE, unix.MS_SLAVE, unix.MS_SHARED, unix.MS_UNBINDABLE:
		return nil
	}
	return fmt.Errorf("propagation %#x is none of private, slave, shared and unbindable", v)
}
