package isolate

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// maxOption is the longest value that fsconfig(2) takes.
const maxOption = 255

// procFiles are what may be mounted below /proc: what resource views such as
// lxcfs emulate. Anything else there could make a process write its own
// settings to a file of the container's choice.
var procFiles = []string{"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo", "/proc/stat",
	"/proc/swaps", "/proc/uptime", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}

// checkBare refuses what Bare cannot do, or what no container may have.
func (m *Mount) checkBare() error {
	target := path.Clean(m.Target)
	if below(target, "/proc") {
		switch {
		case target == "/proc" && (m.Type == FileSystem && m.FSType == "proc" || m.Type == Bind || m.Type == Remount):
		case target == "/proc":
			return fmt.Errorf("only a proc file system can be mounted on /proc, not %s", cmp.Or(m.FSType, "this"))
		case m.Type != Remount && !slices.Contains(procFiles, target):
			return fmt.Errorf("%s is inside /proc, where only these can be mounted: %s", target, strings.Join(procFiles, ", "))
		}
	}
	switch m.Type {
	case Volume:
		return fmt.Errorf("a volume on %s in a bare container: make the directory and bind it", target)
	case Tmpfs:
		for _, id := range []string{m.User, m.Group} {
			if _, err := strconv.ParseUint(id, 10, 32); id != "" && err != nil {
				return fmt.Errorf("the owner %q of %s must be a number in a bare container", id, target)
			}
		}
	case FileSystem:
		if m.FSType == "" || strings.ContainsRune(m.FSType, 0) {
			return fmt.Errorf("no type of the file system on %s is given", target)
		}
	}
	for _, o := range m.Data {
		if strings.ContainsRune(o, 0) || len(m.Source)+len(strings.Join(m.Data, ",")) >= 4096 {
			return fmt.Errorf("the options of the mount on %s are longer than a page, or have a NUL in them", target)
		}
	}
	if m.CopyUp && (m.Type != FileSystem || m.FSType != "tmpfs") {
		return fmt.Errorf("only a tmpfs can begin with a copy, not what is mounted on %s", target)
	}
	return nil
}

// bareOutsideMounts opens the sources of bind mounts, and finds out what only
// the host can tell of the others.
func (c *compiler) bareOutsideMounts() {
	for i := range c.spec.Mounts {
		m := &c.spec.Mounts[i]
		what := mountText(i, m)
		regs := mountRegs{isDir: program.None, made: program.None}
		switch {
		case m.Type == Bind:
			regs.fd, regs.isDir = c.b.Register(what), c.b.LateValue(what+" is a directory")
			if c.clonesInside(m) {
				source := c.b.Register("source of " + what)
				s := c.openat2(program.CWD(), c.b.Str(m.Source), source, pathOnly, 0)
				s.Path = m.Source
				c.out(hint(because(s, what), noSource), program.Step{Sys: program.OpIsDir, Dst: program.None, Path: m.Source, Args: []program.Arg{program.R(source)},
					Why: "its target is made like it", Data: isDirData{source, regs.isDir}})
				break
			}
			c.out(c.cloneSource(m, regs.fd, what))
			c.out(c.hostSide(regs.fd, m.Recursive, m.Target)...)
			c.out(c.attributes(m, regs.fd, what, true)...)
			c.out(c.allowed(m, regs.fd, what)...)
			if m.IDMap != nil {
				c.out(c.idmap(regs.fd, c.idmapNS(m.IDMap), m.IDMap.Recursive && m.Recursive, m.Target))
			}
			c.isDirectory(m.Source, &regs, what)
		case m.CopyUp:
			steps, fd := c.newFS("tmpfs", what, 0, nil, what)
			regs.fd = fd
			ctx := int(steps[0].Dst)
			c.out(steps[0])
			c.out(c.options(m, ctx, what)...)
			c.out(steps[1:]...)
			c.out(program.Step{Sys: program.OpCopyUp, Dst: program.None, Path: m.Target, Why: "it begins with a copy of what lies there",
				Args: []program.Arg{program.R(c.rootFD), c.b.Str(m.Target), program.R(fd)}, Data: copyUpData{c.rootFD, m.Target, fd, m.modeGiven()},
				Hint: "the tmpfs must be large enough"})
			c.out(c.attributes(m, fd, what, true)...)
		case m.Type == FileSystem && m.FSType == "tmpfs" && !m.modeGiven():
			regs.mode = c.b.List("mode of " + m.Target)
			c.out(program.Step{Sys: program.OpTargetMode, Dst: program.None, Path: m.Target, Why: "a tmpfs has the mode of what it lies on",
				Args: []program.Arg{program.R(c.lookupRoot), c.b.Str(m.Target)}, Data: targetModeData{c.lookupRoot, m.Target, regs.mode}})
		case m.Type == CgroupFS:
			c.outsideCgroupFS()
		}
		c.mounts = append(c.mounts, regs)
	}
}

// noSource is the hint for a bind mount of what is not there.
const noSource = "is the source there on the host?"

// clonesInside tells whether the child clones the source of a bind mount
// itself, from its copy of the host's mounts, which are what the clone is to be
// to the host. Then /proc/self/mountinfo shows the mounts in the order given: by
// when they were made, since Linux 6.8. In a user namespace the child may not
// do it, and what is shared with the host is not shared with the copy.
func (c *compiler) clonesInside(m *Mount) bool {
	n := &c.spec.Namespaces
	return !c.inside && n.User == nil && n.Mount.Mode == NSNew && m.IDMap == nil && c.toHost() != unix.MS_SHARED
}

func (c *compiler) cloneSource(m *Mount, fd int, what string) program.Step {
	flags := uint64(unix.OPEN_TREE_CLONE)
	if m.Recursive || c.inside { // as for the root, see insideRoot
		flags |= unix.AT_RECURSIVE
	}
	return hint(because(c.openTree(program.CWD(), m.Source, fd, flags), what), noSource)
}

// modeGiven tells whether the options of a file system say the mode of its root.
func (m *Mount) modeGiven() bool {
	return slices.ContainsFunc(m.Data, func(o string) bool { return strings.HasPrefix(o, "mode=") })
}

// attributes gives the steps that set what is allowed on a mount, and how it
// spreads; with what the mount has from its making left out unless all is set.
func (c *compiler) attributes(m *Mount, fd int, what string, all bool) (steps []program.Step) {
	set, clear := m.Set, m.Clear
	if all {
		set |= mountAttrs(m)
	}
	add := func(recursive bool, set, clear, propagation uint64, why string) {
		if set|clear|propagation == 0 {
			return
		}
		if (set|clear)&unix.MOUNT_ATTR__ATIME != 0 {
			clear |= unix.MOUNT_ATTR__ATIME // the kernel takes them as one value
		}
		s := because(c.setattr(fd, recursive, set, clear, propagation), why)
		s.Path = m.Target
		steps = append(steps, s)
	}
	add(true, m.SetRecursive, m.ClearRecursive, 0, "what is not allowed on "+what+" and below")
	add(false, set, clear, 0, "what is not allowed on "+what)
	if !c.isUnbindable(m) {
		add(m.Propagation&unix.MS_REC != 0, 0, 0, m.Propagation&^unix.MS_REC, "how mounts spread from "+what)
	}
	return steps
}

// allowed gives the step for what is allowed again on a bind mount though
// nobody asks for it, which the kernel refuses where a mount namespace that owns
// the source has locked it (mount_namespaces(7)).
func (c *compiler) allowed(m *Mount, fd int, what string) []program.Step {
	if m.ClearIfAllowed == 0 {
		return nil
	}
	s := ignoring(because(c.setattr(fd, false, 0, m.ClearIfAllowed, 0), "nothing else is forbidden on "+what), unix.EPERM)
	s.Path = m.Target
	return []program.Step{s}
}

// bareMounts makes and attaches the mounts in the order given.
func (c *compiler) bareMounts() {
	for i := range c.spec.Mounts {
		m := &c.spec.Mounts[i]
		c.bareMount(m, &c.mounts[i], mountText(i, m))
	}
}

func (c *compiler) bareMount(m *Mount, r *mountRegs, what string) {
	at := c.b.Register("at " + m.Target)
	if m.Type == Remount {
		c.remount(m, at, what)
		return
	}
	kind := targetDir
	if r.isDir != program.None {
		kind = r.isDir
	}
	c.bareTarget(m, at, kind)
	if m.Type == Bind && c.clonesInside(m) {
		c.in(c.cloneSource(m, r.fd, what))
		c.in(c.attributes(m, r.fd, what, true)...)
		c.in(c.allowed(m, r.fd, what)...)
	}
	if path.Clean(m.Target) == "/proc" && m.Type == Bind {
		c.expectFS(r.fd, unix.PROC_SUPER_MAGIC, true, "what is bound on /proc must be a proc file system")
	}
	switch {
	case m.Type == Bind, m.CopyUp:
	case m.Type == CgroupFS:
		c.cgroupMount(m, at)
		return
	case m.long():
		c.mountLong(m, at, what)
		return
	default:
		c.newBareFS(m, r, what)
	}
	c.in(hint(because(c.attach(r.fd, at, m.Target), what), "source and target must both be directories, or neither"))
}

// newBareFS makes a file system in the container's namespaces.
func (c *compiler) newBareFS(m *Mount, r *mountRegs, what string) {
	fstype := m.FSType
	if m.Type == Tmpfs {
		fstype = "tmpfs"
	}
	attrs := mountAttrs(m) | m.Set
	if fstype == "tmpfs" || path.Clean(m.Target) == "/dev" {
		attrs &^= unix.MOUNT_ATTR_RDONLY // not before what is mounted below it has its place
	}
	steps, fd := c.newFS(fstype, what, attrs, nil, what)
	if attrs != mountAttrs(m)|m.Set {
		c.finally = append(c.finally, because(c.setattr(fd, false, unix.MOUNT_ATTR_RDONLY, 0, 0), what+" is read-only"))
	}
	for i := range steps {
		steps[i].Hint = "the kernel must have the file system " + fstype + " and take these options"
	}
	r.fd = fd
	ctx := steps[0].Dst
	all := append(steps[:1:1], c.options(m, ctx, what)...)
	if r.mode != 0 {
		s := c.fsOption(ctx, "mode", program.Arg{Kind: program.Item, Fmt: program.FmtStr})
		s.Each = r.mode
		all = append(all, s)
	}
	c.kernelFS(append(all, steps[1:]...), shownNS[fstype])
	rest := *m
	rest.Set, rest.Clear = 0, 0
	c.in(c.attributes(&rest, fd, what, false)...)
	if fstype == "devpts" {
		c.ptsFS = fd
	}
}

// shownNS are the file systems that show a namespace, and which.
var shownNS = map[string]string{"proc": "pid", "sysfs": "network", "mqueue": "ipc", "cgroup2": "cgroup"}

// pseudoFS are file systems for which read-only is a matter of the mount alone.
var pseudoFS = []string{"proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs"}

// options gives the steps that hand a file system its options.
func (c *compiler) options(m *Mount, ctx int, what string) (steps []program.Step) {
	add := func(key string, value *string) {
		s := program.Step{Sys: program.SysFsconfig, Dst: program.None, Path: key, Why: "option " + key, Hint: "does the file system know this option? the kernel's log may say more"}
		if value == nil {
			s.Args = []program.Arg{program.R(ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_SET_FLAG), c.b.Str(key), program.Null(), program.N(0)}
		} else {
			s.Args = []program.Arg{program.R(ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_SET_STRING), c.b.Str(key), c.b.Str(*value), program.N(0)}
		}
		steps = append(steps, s)
	}
	if m.Type == Tmpfs {
		mode := "0" + strconv.FormatUint(uint64(cmp.Or(m.Mode, 0o755)), 8)
		add("mode", &mode)
		if m.User != "" {
			add("uid", &m.User)
		}
		if m.Group != "" {
			add("gid", &m.Group)
		}
		if m.Size > 0 {
			size := strconv.FormatInt(m.Size, 10)
			add("size", &size)
		}
		return steps
	}
	if m.Source != "" {
		add("source", &m.Source)
	}
	for _, o := range m.Data {
		if key, value, ok := strings.Cut(o, "="); ok {
			add(key, &value)
		} else if o != "" {
			add(o, nil)
		}
	}
	if (m.ReadOnly || m.Set&unix.MOUNT_ATTR_RDONLY != 0) && !slices.Contains(pseudoFS, m.FSType) && !slices.Contains(m.Data, "ro") {
		add("ro", nil)
	}
	return steps
}

// long tells whether an option is longer than fsconfig takes.
func (m *Mount) long() bool {
	return m.Type == FileSystem && (len(m.Source) > maxOption || slices.ContainsFunc(m.Data, func(o string) bool {
		key, value, _ := strings.Cut(o, "=")
		return len(key) > maxOption || len(value) > maxOption
	}))
}

// mountLong mounts with mount(2), which takes a page of options. Its target is
// the current directory, which is the descriptor that was resolved.
func (c *compiler) mountLong(m *Mount, at int, what string) {
	flags, rest := mountFlags(mountAttrs(m) | m.Set)
	source := program.Null()
	if m.Source != "" {
		source = c.b.Str(m.Source)
	}
	c.in(program.Step{Sys: program.SysFchdir, Dst: program.None, Path: m.Target, Why: "where the next step mounts", Args: []program.Arg{program.R(at)}},
		program.Step{Sys: program.SysMount, Dst: program.None, Path: m.Target, Why: what, Hint: "the kernel must have the file system " + m.FSType + " and take these options",
			Args: []program.Arg{source, c.b.Str("."), c.b.Str(m.FSType), program.Flag(program.FmtMount, flags), c.b.Str(strings.Join(m.Data, ","))}})
	left := *m
	left.Set, left.Clear = rest, 0
	steps := c.attributes(&left, at, what, false)
	if len(steps) > 0 {
		c.in(because(c.open(c.rootFD, m.Target, at, pathDir, inRoot), what))
		c.in(steps...)
	}
}

// mountFlags turns attributes of mount_setattr into the flags of mount(2), and
// gives those that have none.
func mountFlags(attrs uint64) (flags, rest uint64) {
	rest = attrs
	for _, f := range [][2]uint64{{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID}, {unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC}, {unix.MOUNT_ATTR_NOATIME, unix.MS_NOATIME}, {unix.MOUNT_ATTR_STRICTATIME, unix.MS_STRICTATIME},
		{unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME}, {unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW}} {
		if attrs&f[0] != 0 {
			flags |= f[1]
			rest &^= f[0]
		}
	}
	return flags, rest
}

// remount changes the mount that is at the target already. What is not given
// stays as it is, as with mount(8); mount(2) would take nosuid and the like away.
func (c *compiler) remount(m *Mount, at int, what string) {
	c.in(hint(because(c.open(c.rootFD, m.Target, at, pathOnly, inRoot), what), "what is remounted must be there"))
	if len(m.Data) > 0 {
		ctx := c.b.Register("context of " + m.Target)
		c.in(hint(program.Step{Sys: program.SysFspick, Dst: ctx, Path: m.Target, Why: what,
			Args: []program.Arg{program.R(at), c.b.Str(""), program.Flag(program.FmtFspick, unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)}}, "the target must be a mount point"))
		c.in(c.options(m, ctx, what)...)
		c.in(program.Step{Sys: program.SysFsconfig, Dst: program.None, Path: m.Target, Why: what, Args: []program.Arg{
			program.R(ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_CMD_RECONFIGURE), program.Null(), program.Null(), program.N(0)}})
	}
	for _, s := range c.attributes(m, at, what, true) {
		s.Hint = "the target must be a mount point"
		c.in(s)
	}
}

// mountText names a mount of a bare container, for messages.
func mountText(i int, m *Mount) string {
	return "mount " + strconv.Itoa(i+1) + " on " + m.Target
}
