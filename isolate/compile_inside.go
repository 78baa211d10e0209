package isolate

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// begin makes the child safe to be in: not traceable, no signal handled or lost.
func (c *compiler) begin() {
	get := c.prctl(prctlOp(unix.PR_GET_DUMPABLE), program.N(0), program.N(0), "nobody may trace this process or open its descriptors before it executes")
	get.Check = true
	c.in(get)
	all := c.b.U64s(program.FmtSignals, ^uint64(0))
	c.in(program.Step{Sys: program.SysRtSigprocmask, Dst: program.None, Why: "signals wait until the program runs",
		Args: []program.Arg{program.Flag(program.FmtSigHow, unix.SIG_SETMASK), all, program.Null(), program.N(8)}})
	dfl := c.b.U64s(program.FmtDisposition, 0, 0, 0, 0)
	signals := program.Flag(program.FmtHex, ^uint64(1|1<<unix.SIGKILL|1<<unix.SIGSTOP))
	c.in(program.Step{Sys: program.SysRtSigaction, Dst: program.None, Why: "signals that were ignored are not",
		Args: []program.Arg{{Kind: program.Bit}, dfl, program.Null(), program.N(8)}, Loop: &signals},
		program.Step{Sys: program.SysRtSigaction, Dst: program.None, Why: "the last of them",
			Args: []program.Arg{program.N(64), dfl, program.Null(), program.N(8)}},
		program.Step{Sys: program.SysUmask, Dst: program.None, Why: "modes below are meant as they are", Args: []program.Arg{program.Flag(program.FmtOct, 0)}})
}

// joinGroups enters the v1 groups; on v2 the child was born in its group.
func (c *compiler) joinGroups(g Cgroup) {
	if g.Unified {
		c.b.P.BornIn = c.slot("cgroup")
	}
	for _, name := range slices.Sorted(slices.Values(g.Legacy)) {
		c.in(program.Step{Sys: program.SysWrite, Dst: program.None, Path: "cgroup.procs of " + name, Why: "enter the group of controller " + name,
			Args: []program.Arg{program.R(c.slot(regLegacy(name))), c.b.Str("0"), program.N(1)}, Check: true, Want: 1})
	}
	for _, name := range slices.Sorted(slices.Values(g.Optional)) {
		c.in(program.Step{Sys: program.SysWrite, Dst: program.None, Path: "cgroup.procs of " + name, Why: "enter the group of controller " + name,
			Args: []program.Arg{program.R(c.slot(regLegacy(name))), c.b.Str("0"), program.N(1)}, Check: true, Want: 1,
			If: c.b.LateValue(lateOptional(name)) + 1})
	}
}

func (c *compiler) joinNamespaces() {
	var own bool
	for _, ns := range c.spec.Namespaces.all() {
		if ns.Mode == NSNew && ns.flag == unix.CLONE_NEWCGROUP {
			own = true
		}
		if ns.Mode != NSJoin {
			continue
		}
		if c.joinsEarly(ns) {
			continue
		}
		reg := c.joinedReg(ns)
		if c.newUser() {
			// In a new user namespace the child may not enter what belongs to another.
			c.b.P.ForkIn = append(c.b.P.ForkIn, program.Enter{Reg: reg, Kind: ns.flag})
			continue
		}
		if ns.flag == unix.CLONE_NEWPID {
			// Of a PID namespace only children are members: see tail.
			c.bornLast = true
		}
		c.in(setns(ns, reg))
	}
	if own {
		c.in(program.Step{Sys: program.SysUnshare, Dst: program.None, Args: []program.Arg{program.Flag(program.FmtCloneFlags, unix.CLONE_NEWCGROUP)},
			Why: "a cgroup namespace whose root is the group just entered"})
	}
}

func setns(ns namedNS, reg int) program.Step {
	return program.Step{Sys: program.SysSetns, Dst: program.None, Path: cmp.Or(ns.Path, ns.Process), Why: "join the " + ns.name + " namespace",
		Args: []program.Arg{program.R(reg), program.Flag(program.FmtCloneFlags, ns.flag)}}
}

// joinsEarly tells whether a namespace is joined before the user namespace: it
// may belong to another one, over which the child has no privileges afterwards.
func (c *compiler) joinsEarly(ns namedNS) bool {
	u := c.spec.Namespaces.User
	return u != nil && u.Join != nil && !c.spec.Unprivileged && ns.Mode == NSJoin &&
		ns.flag&(unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS) != 0
}

// root attaches the new root file system on top of the host's. This process's
// root stays the host's until maskPaths is done: from there the private
// directories are cloned. Everything in the new root is reached by descriptor.
func (c *compiler) root() {
	c.in(because(c.makePrivate(), "no mount of the container reaches the host"))
	// /proc of the host goes with the host's root; any directory of it would do.
	c.in(because(c.attachAt(c.scratch, program.CWD(), "/proc"), "only what is attached can be cloned"))
	c.maskDir = c.template("hidden", "hidden directory")
	c.maskFile = c.template("hidden.file", "hidden file")

	c.in(because(c.attachAt(c.rootFD, program.CWD(), "/"), "attach the root file system"))
}

// template makes a read-only mount that masks are cloned from.
func (c *compiler) template(name, reg string) int {
	t := c.b.Register(reg)
	c.in(because(c.openTree(program.R(c.scratch), name, t, unix.OPEN_TREE_CLONE), "what masked paths show"),
		because(c.setattr(t, false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, 0, 0), "and nobody changes"),
		because(c.attachAt(t, program.R(c.scratch), name), "only what is attached can be cloned"))
	return t
}

// mountpoint opens a place of the root that no link may lead away from.
func (c *compiler) mountpoint(p string) int {
	reg := c.b.Register("at " + p)
	if c.creatable(p) {
		c.in(ignoring(because(c.mkdirat(c.rootFD, strings.TrimPrefix(p, "/"), 0o755), "where "+p+" is mounted"), unix.EEXIST))
	}
	s := c.open(c.rootFD, strings.TrimPrefix(p, "/"), reg, pathDir, noLinks)
	s.Path = p
	c.in(hint(because(s, "where "+p+" is mounted"), "the root file system needs a directory "+p+"; make it, or make the root writable"))
	return reg
}

func (c *compiler) builtinMounts() {
	const sealed = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if c.spec.RootFS.Host {
		c.hostRoot()
	}

	steps, proc := c.newFS("proc", "proc", sealed, nil, "a /proc of its PID namespace")
	c.procFS = proc
	c.kernelFS(steps, "pid")
	c.settings()
	c.makeLabelProc()
	c.in(because(c.attach(proc, c.mountpoint("/proc"), "/proc"), "a /proc of its PID namespace"))
	c.protectProc()
	if c.bornLast {
		c.procFS = program.None // this process is not in it
	}

	steps, sys := c.newFS("sysfs", "sys", sealed|unix.MOUNT_ATTR_RDONLY, nil, "a /sys of its network namespace")
	c.sysFS = sys
	c.kernelFS(steps, "network")
	c.in(because(c.attach(sys, c.mountpoint("/sys"), "/sys"), "a /sys of its network namespace"))
	c.enter(sys, "/sys")
	for _, p := range []string{"firmware", "devices/virtual/powercap"} {
		c.maskIn("/sys/", p, true)
	}
	c.cgroupFS()

	dev := c.clone("dev", "dev", unix.MOUNT_ATTR_NOEXEC, unix.MOUNT_ATTR_NODEV)
	c.in(because(c.attach(dev, c.mountpoint("/dev"), "/dev"), "a /dev of its own"))
	c.bindDevices(dev)
	steps, pts := c.newFS("devpts", "devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC,
		c.ptsOptions(), "terminals of its own")
	c.in(steps...)
	c.in(because(c.attachAt(pts, program.R(dev), "pts"), "terminals of its own"))
	c.in(because(c.attachAt(c.clone("shm", "shm", 0, 0), program.R(dev), "shm"), "shared memory of its own"))
	steps, mq := c.newFS("mqueue", "mqueue", sealed, nil, "message queues of its IPC namespace")
	for i := range steps {
		steps[i].Ignore = []unix.Errno{unix.ENODEV, unix.EBADF}
	}
	c.kernelFS(steps, "ipc")
	c.in(ignoring(because(c.attachAt(mq, program.R(dev), "mqueue"), "message queues of its IPC namespace"), unix.EBADF))
	if c.proc.Terminal && !c.spec.Unprivileged {
		c.in(because(c.attachAt(c.slot("console"), program.R(dev), "console"), "the terminal is the console too"))
	}
	for _, p := range []string{"/proc", "/sys", "/sys/fs/cgroup", "/dev/pts", "/dev/mqueue"} {
		c.place(p, false)
	}
	c.place("/dev", true)
	c.place("/dev/shm", true)
}

// cgroupFS mounts the container's own part of the groups on /sys/fs/cgroup;
// on a host without cgroup v2 there is nothing to be seen.
func (c *compiler) cgroupFS() {
	const p, why = "/sys/fs/cgroup", "its own part of the groups, read-only"
	if !c.spec.Cgroup.Unified || c.spec.Namespaces.Cgroup.Mode == NSHost {
		c.maskIn("/sys/", "fs/cgroup", true)
		return
	}
	at := c.b.Register("at " + p)
	s := c.open(c.sysFS, "fs/cgroup", at, pathDir, beneath)
	s.When = program.OnIgnored
	skip := c.in(ignoring(because(s, "where the groups are mounted"), unix.ENOENT))
	steps, mount := c.newFS("cgroup2", "cgroup fs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, nil, why)
	c.kernelFS(steps, "cgroup")
	c.in(because(c.attach(mount, at, p), why))
	c.b.Land(skip)
}

// clone gives a mount of a directory of the scratch memory.
func (c *compiler) clone(name, reg string, set, clear uint64) int {
	r := c.b.Register(reg)
	c.in(because(c.openTree(program.R(c.scratch), name, r, unix.OPEN_TREE_CLONE), "a private "+name))
	if set|clear != 0 {
		c.in(because(c.setattr(r, false, set, clear, 0), "what is allowed on it"))
	}
	return r
}

// hostRoot lays the private directories and the masks over the host's root.
func (c *compiler) hostRoot() {
	at := c.b.Register("target")
	item := program.Arg{Kind: program.Item, Fmt: program.FmtStr}
	each := func(list int, s program.Step) {
		s.Each = list
		c.in(s)
	}
	each(c.hostMounts, because(c.openat2(program.R(c.rootFD), item, at, pathOnly, inRoot), "where the host has a mount"))
	s := c.attach(0, at, "")
	s.Args[0] = program.Arg{Kind: program.ItemReg, Fmt: program.FmtFD}
	each(c.hostMounts, because(s, "the host's root has it there"))

	for _, d := range []struct{ name, at string }{{"tmp", "/tmp"}, {"var.tmp", "/var/tmp"}, {"run", "/run"}} {
		target := c.b.Register("at " + d.at)
		s := c.open(c.rootFD, d.at, target, pathDir, inRoot)
		c.in(because(s, "where the private "+d.at+" is mounted"))
		c.in(because(c.attach(c.clone(d.name, "private "+d.name, 0, 0), target, d.at), "a private "+d.at))
		c.place(d.at, true)
	}
	for _, m := range []struct{ list, template int }{{c.hostMasks, c.maskDir}, {c.hostMasks + 1, c.maskFile}} {
		clone := c.b.Register("mask")
		each(m.list, because(c.openat2(program.R(c.rootFD), item, at, pathOnly, inRoot), "a private path of the host"))
		each(m.list, because(c.openTree(program.R(m.template), "", clone, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH), "nothing is shown there"))
		each(m.list, because(c.attach(clone, at, ""), "nothing is shown there"))
	}
	for _, p := range hostMaskDirs {
		c.place(p, false)
	}
}

// enter makes the root of a mount that this program made the current directory,
// for maskIn and readOnlyIn, which are the cheapest that way.
func (c *compiler) enter(mount int, p string) {
	c.in(program.Step{Sys: program.SysFchdir, Dst: program.None, Path: p, Why: "paths below are of " + p, Args: []program.Arg{program.R(mount)}})
}

// maskIn masks p below the current directory. What is not there needs no mask.
// The source is a path of the host's root, which is this process's until pivot_root.
func (c *compiler) maskIn(prefix, p string, dir bool) {
	source := "/proc/hidden.file"
	if dir {
		source = "/proc/hidden"
	}
	s := c.bind(source, p, unix.MS_BIND)
	s.Path = prefix + p
	c.in(ignoring(because(s, "it shows nothing, if it is there"), unix.ENOENT))
}

// readOnlyIn makes p below the current directory read-only, if it is there.
func (c *compiler) readOnlyIn(prefix, p string) {
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	bind, remount := c.bind(p, p, unix.MS_BIND), c.bind("", p, flags)
	bind.Path, remount.Path, bind.When = prefix+p, prefix+p, program.OnIgnored
	skip := c.in(ignoring(because(bind, "it concerns the whole machine"), unix.ENOENT))
	c.in(because(remount, "it is read-only"))
	c.b.Land(skip)
}

func (c *compiler) bind(source, target string, flags uint64) program.Step {
	src := program.Null()
	if source != "" {
		src = c.b.Str(source)
	}
	return program.Step{Sys: program.SysMount, Dst: program.None, Args: []program.Arg{
		src, c.b.Str(target), program.Null(), program.Flag(program.FmtMount, flags), program.Null()}}
}

// protectProc masks and write-protects what of /proc concerns the whole machine.
func (c *compiler) protectProc() {
	c.enter(c.procFS, "/proc")
	for _, p := range []string{"acpi", "asound", "scsi"} {
		c.maskIn("/proc/", p, true)
	}
	for _, p := range []string{"interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats"} {
		c.maskIn("/proc/", p, false)
	}
	for _, p := range []string{"bus", "fs", "irq", "sys", "sysrq-trigger"} {
		c.readOnlyIn("/proc/", p)
	}
}

// userMounts attaches the further mounts in the order given.
func (c *compiler) userMounts() {
	for i, m := range c.spec.Mounts {
		r := c.mounts[i]
		at := c.b.Register("at " + m.Target)
		c.target(m.Target, at, r.isDir)
		c.in(hint(because(c.attach(r.fd, at, m.Target), "mount "+m.Target), "source and target must both be directories, or neither"))
		c.place(m.Target, (m.Type == Tmpfs || m.Type == Volume) && !m.ReadOnly)
	}
}

// target opens the place of a mount, and makes it first where that is allowed.
// isDir is the late value that tells a directory from a file, or None.
func (c *compiler) target(target string, at, isDir int) {
	why := "where " + target + " is mounted"
	s := c.open(c.rootFD, target, at, pathOnly, inRoot)
	s.Why = why
	if !c.creatable(target) {
		s.Hint = "the target must exist where berth may not make it; make it, mount a tmpfs above it, or make the root writable"
		c.in(s)
		return
	}
	s.Ignore, s.Jump = []unix.Errno{unix.ENOENT}, 1
	found := c.in(s)
	dirs := strings.Split(strings.Trim(path.Clean(target), "/"), "/")
	parent := c.rootFD
	for i, name := range dirs {
		last := i == len(dirs)-1
		mk := ignoring(because(c.mkdirat(parent, name, 0o755), why), unix.EEXIST)
		if last && isDir != program.None {
			mk.If = isDir + 1
			c.in(mk)
			c.in(ignoring(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: name, Why: why, If: isDir + 1, Unless: true, Args: []program.Arg{
				program.R(parent), c.b.Str(name), program.Flag(program.FmtMode, unix.S_IFREG|0o644), program.N(0)}}, unix.EEXIST))
			break
		}
		c.in(mk)
		if !last {
			next := c.b.Register("above " + target)
			c.in(because(c.open(c.rootFD, "/"+strings.Join(dirs[:i+1], "/"), next, pathDir, inRoot), why))
			parent = next
		}
	}
	c.in(because(c.open(c.rootFD, target, at, pathOnly, inRoot), why))
	c.b.Land(found)
}

// maskPaths applies the unit's own masks and write protections; then the new
// root becomes this process's root, and the host's is detached.
func (c *compiler) maskPaths() {
	at := c.b.Register("target")
	clone := c.b.Register("mask")
	for _, p := range c.spec.ReadonlyPaths {
		skip := c.openIfThere(p, at, "read-only, if it is there")
		c.in(because(c.openTree(program.R(at), "", clone, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE), p+" is read-only"),
			because(c.setattr(clone, true, unix.MOUNT_ATTR_RDONLY, 0, 0), p+" is read-only"),
			because(c.attach(clone, at, p), p+" is read-only"))
		c.b.Land(skip)
	}
	for _, p := range c.spec.MaskedPaths {
		c.mask(p, at, program.R(c.maskDir), clone,
			because(c.openTree(program.R(c.maskFile), "", clone, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH), "it is a file"))
	}
	c.in(
		program.Step{Sys: program.SysFchdir, Dst: program.None, Path: "/", Why: "pivot_root works on the current directory", Args: []program.Arg{program.R(c.rootFD)}},
		program.Step{Sys: program.SysPivotRoot, Dst: program.None, Path: "/", Args: []program.Arg{c.b.Str("."), c.b.Str(".")},
			Why: "the root file system is the root now", Hint: "the host's own root must not be an initramfs"},
		program.Step{Sys: program.SysUmount2, Dst: program.None, Path: "/", Why: "the host's root is gone",
			Args: []program.Arg{c.b.Str("."), program.Flag(program.FmtUmount, unix.MNT_DETACH)}})
}

// settings writes what is set through /proc, before it is read-only, and what the namespaces need.
func (c *compiler) settings() {
	spec := c.spec
	name := spec.Hostname
	if spec.Namespaces.UTS.Mode == NSNew {
		name = cmp.Or(name, Hostname(spec.Name))
	}
	if name != "" {
		c.in(program.Step{Sys: program.SysSethostname, Dst: program.None, Path: name, Why: "the hostname",
			Args: []program.Arg{c.b.Str(name), program.N(len(name))}})
	}
	c.domainname()
	c.timeNamespace()
	c.loopback()
	c.sysctls()
}

// Hostname makes a host name of a container's name: "worker@eu" gives
// "worker-eu". It is what Compile takes where Spec.Hostname is empty.
func Hostname(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), maxHostname)]
}
