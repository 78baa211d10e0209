package isolate

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// bare compiles a container that is what its Spec says and nothing besides, as
// an OCI bundle has it. The order is that of the OCI runtime-spec's lifecycle:
// namespaces, mounts, devices, the runtime's hooks, the container's own hooks,
// masks, and then the root becomes the root.
func (c *compiler) bare() {
	s := c.spec
	c.outsideCaps()
	c.outsideNamespaces()
	c.outsideUserNamespace()
	if s.Unprivileged {
		c.lookupRoot = c.openForLookup()
	} else {
		c.bareOutsideRoot()
		c.bareOutsideMounts()
	}

	if s.NoPivot {
		c.kernelMounts = c.b.List("host's /proc or /sys")
		c.out(program.Step{Sys: program.OpKernelMounts, Dst: program.None, Why: "what must not be left below the new root", Data: kernelMountsData{c.kernelMounts}})
	}

	c.begin()
	c.userNamespace()
	c.initialAffinity(s.Cgroup)
	c.joinGroups(s.Cgroup)
	c.joinNamespaces()
	if s.Unprivileged {
		c.inside = true
		c.bareOutsideRoot()
		c.bareOutsideMounts()
		c.inside = false
	}
	if s.ownProc() {
		c.makeProc()
	}
	c.makeLabelProc()
	c.timeNamespace()
	c.names()
	if s.keepsRoot() {
		c.in(because(c.cwdDir("/", c.rootFD), "the root of the mount namespace that was joined"))
		c.bareSync()
		c.stage(func() { c.process(s.PreStart, s.Init) })
		return
	}
	c.stage(c.bareRoot)
	c.stage(c.bareMounts)
	c.stage(c.bareDevices)
	c.bareConsole()
	c.bareWorkDir()
	c.bareSync()
	c.createContainer()
	c.stage(c.bareFinish)
	c.stage(func() { c.process(s.PreStart, s.Init) })
}

// keepsRoot tells whether the container has the root of the mount namespace that it joins.
func (s *Spec) keepsRoot() bool {
	return s.Namespaces.Mount.Mode == NSJoin && s.RootFS.empty()
}

// ownProc tells whether the start writes anything to /proc.
func (s *Spec) ownProc() bool {
	p := &s.Process
	return len(s.Sysctl) > 0 || p.Scheduling.OOMScoreAdjust != nil ||
		s.Namespaces.Time != nil && s.Namespaces.Time.Join == nil
}

// hostMounts is the mount namespace of the starter, for a container that is to be in it.
const hostMounts = "the host's mount namespace"

// bareOutsideRoot builds the root file system as a detached mount, and looks up what is needed of it.
func (c *compiler) bareOutsideRoot() {
	r := &c.spec.RootFS
	c.rootFD = c.b.Register("root")
	if !c.inside {
		c.lookupRoot = c.rootFD
	}
	if c.spec.Namespaces.Mount.Mode == NSHost {
		s := c.openat2(program.CWD(), c.b.Str("/proc/thread-self/ns/mnt"), c.b.Register(hostMounts), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		s.Path = hostMounts
		c.out(because(s, "the container's mounts are made in a namespace of their own, and it leaves that"))
		c.b.P.CloneFlags |= unix.CLONE_NEWNS
	}
	switch {
	case c.spec.keepsRoot():
		c.lookupRoot = program.None
	case c.inside && (len(r.Layers) > 0 || r.Writable == Ephemeral || r.Writable == Persistent):
		c.insideOverlay()
	case len(r.Layers) > 0 || r.Writable == Ephemeral || r.Writable == Persistent:
		c.outsideOverlay(0)
	default:
		c.out(hint(because(c.openTree(program.CWD(), r.Path, c.rootFD, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE), "the root file system"), "is the directory there?"))
		c.out(c.hostSide(c.rootFD, true, r.Path)...)
		c.out(because(c.setattr(c.rootFD, false, 0, 0, unix.MS_PRIVATE), "what is mounted below it stays in the container"))
		if r.IDMap != nil {
			c.out(c.idmap(c.rootFD, c.idmapNS(r.IDMap), r.IDMap.Recursive, r.Path))
		}
	}
	c.outsideUser()
}

// hostSide gives the steps that make a clone of the host's mounts what
// RootFS.Propagation says: by default a slave, so that what the host unmounts
// goes away here too, while nothing goes back.
func (c *compiler) hostSide(mount int, recursive bool, p string) []program.Step {
	to := c.toHost()
	if to == unix.MS_SHARED { // a clone of a shared mount is its peer already
		return nil
	}
	s := because(c.setattr(mount, recursive, 0, 0, to), "how mounts of the host spread to it")
	s.Path = p
	return []program.Step{s}
}

// toHost is what the container's mounts are to those of the host.
func (c *compiler) toHost() uint64 {
	switch v := c.spec.RootFS.Propagation &^ unix.MS_REC; v {
	case 0, unix.MS_SLAVE:
		return unix.MS_SLAVE
	case unix.MS_SHARED:
		return v
	}
	return unix.MS_PRIVATE
}

// outsideUser finds out who the program runs as.
func (c *compiler) outsideUser() {
	p := c.proc
	data := c.lookupProcess(c.lookupRoot)
	why := "the user, and its groups and home"
	if p.IDs != nil {
		why = "the user is given; its home, if the environment has none"
	}
	c.out(program.Step{Sys: program.OpLookup, Dst: program.None, Path: "/etc/passwd", Why: why,
		Hint: "use a numeric id, or add the name to /etc/passwd or /etc/group of the root file system",
		Args: []program.Arg{c.b.Str(p.User), c.b.Str(p.Group)}, Data: data})
}

// bareRoot attaches the root where its directory is, so that hooks find the
// container's mounts there; only then it is moved to the root.
func (c *compiler) bareRoot() {
	r := &c.spec.RootFS
	if c.spec.Namespaces.Mount.Mode != NSJoin {
		s := because(c.makePrivate(), "no mount of the container reaches the host")
		if to := c.toHost(); to == unix.MS_SLAVE {
			s.Args[3] = program.Flag(program.FmtMount, unix.MS_REC|unix.MS_SLAVE)
		}
		c.in(s)
	}
	if r.Path == "" || r.Host {
		c.in(because(c.attachAt(c.rootFD, program.CWD(), "/"), "attach the root file system"))
		return
	}
	const why = "attach the root file system where hooks look for it"
	if c.rootAt != program.None {
		c.in(because(c.attach(c.rootFD, c.rootAt, r.Path), why))
		return
	}
	c.in(because(c.attachAt(c.rootFD, program.CWD(), r.Path), why))
}

// bareWorkDir makes the working directory if it is missing, while the root can be written.
func (c *compiler) bareWorkDir() {
	if dir := path.Clean("/" + c.proc.Dir); dir != "/" {
		at := c.b.Register("working directory, to be made")
		c.makeTarget(dir, at, pathOnly, targetDir, "the working directory, made if it is missing")
	}
}

// bareSync lets the runtime run its hooks, then writes what they may have made possible.
func (c *compiler) bareSync() {
	if c.spec.SyncRuntime {
		c.syncRuntime()
	}
	c.sysctls()
}

// bareFinish masks, write-protects, and makes the new root this process's root.
func (c *compiler) bareFinish() {
	s := c.spec
	c.in(c.finally...)
	c.bareMasks()
	if s.RootFS.Writable == ReadOnly {
		c.in(because(c.setattr(c.rootFD, false, unix.MOUNT_ATTR_RDONLY, 0, 0), "the root is read-only"))
	}
	if s.Namespaces.Mount.Mode != NSHost && c.renewsMounts() {
		tree := c.b.Register("root, renewed")
		c.in(because(c.cloneRoot(tree), "all mounts anew: mountinfo has them in the order of their making, and the bound ones were made first"),
			because(c.attach(tree, c.rootFD, "/"), "over those that go with the host's root"))
		c.rootFD = tree
		c.unbindable()
		c.renewTerminal()
	}
	into := program.Step{Sys: program.SysFchdir, Dst: program.None, Path: "/", Why: "the next steps work on the current directory", Args: []program.Arg{program.R(c.rootFD)}}
	if s.Namespaces.Mount.Mode == NSHost {
		tree := c.b.Register("root, in no mount namespace")
		c.in(because(c.cloneRoot(tree), "its mounts, of which the host is to see nothing"),
			program.Step{Sys: program.SysSetns, Dst: program.None, Path: hostMounts, Why: "back to the host's mount namespace, which the container has",
				Args: []program.Arg{program.R(c.slot(hostMounts)), program.Flag(program.FmtCloneFlags, unix.CLONE_NEWNS)}})
		c.rootFD = tree
		into.Args = []program.Arg{program.R(tree)}
		c.unbindable()
		c.renewTerminal()
		c.in(into, program.Step{Sys: program.SysChroot, Dst: program.None, Path: "/", Why: "the root file system is the root now", Args: []program.Arg{c.b.Str(".")}})
	} else if s.NoPivot {
		// A whole one left below the new root would let a user namespace inside
		// mount another without the masks (kernel, fs/namespace.c, mount_too_revealing).
		gone := program.Step{Sys: program.SysUmount2, Dst: program.None, Why: "no /proc or /sys of the host is left below the new root",
			Args: []program.Arg{c.b.Str("/proc"), program.Flag(program.FmtUmount, unix.MNT_DETACH)}}
		if len(s.MaskedPaths) > 0 {
			c.in(because(gone, "what masked directories show need not be attached any more"))
		}
		gone.Args = []program.Arg{{Kind: program.Item, Fmt: program.FmtStr}, gone.Args[1]}
		gone.Each = c.kernelMounts
		c.in(ignoring(gone, unix.EINVAL, unix.ENOENT))
		c.in(into,
			program.Step{Sys: program.SysMount, Dst: program.None, Path: "/", Why: "the root file system lies over the host's now",
				Args: []program.Arg{c.b.Str("."), c.b.Str("/"), program.Null(), program.Flag(program.FmtMount, unix.MS_MOVE), program.Null()}},
			program.Step{Sys: program.SysChroot, Dst: program.None, Path: "/", Why: "the root file system is the root now", Args: []program.Arg{c.b.Str(".")}})
	} else {
		c.in(into,
			program.Step{Sys: program.SysPivotRoot, Dst: program.None, Path: "/", Args: []program.Arg{c.b.Str("."), c.b.Str(".")},
				Why: "the root file system is the root now", Hint: "the host's own root must not be an initramfs: then say so with no-pivot"},
			program.Step{Sys: program.SysUmount2, Dst: program.None, Path: "/", Why: "the host's root is gone",
				Args: []program.Arg{c.b.Str("."), program.Flag(program.FmtUmount, unix.MNT_DETACH)}})
	}
	if v := s.RootFS.Propagation; v&^unix.MS_REC != 0 && v&^unix.MS_REC != unix.MS_PRIVATE {
		c.in(because(c.setattr(c.rootFD, v&unix.MS_REC != 0, 0, 0, v&^unix.MS_REC), "how mounts in the root spread"))
	}
}

// renewsMounts tells whether the root and all mounts in it are cloned in the
// end: when a bound one was made before one that is listed before it.
func (c *compiler) renewsMounts() bool {
	s := c.spec
	if s.Namespaces.Mount.Mode == NSHost {
		return true
	}
	first := slices.IndexFunc(s.Mounts, func(m Mount) bool { return m.Type != Bind })
	return first >= 0 && slices.ContainsFunc(s.Mounts[first:], func(m Mount) bool { return m.Type == Bind && !c.clonesInside(&m) })
}

func (c *compiler) cloneRoot(dst int) program.Step {
	return c.openTree(program.R(c.rootFD), "", dst, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
}

// isUnbindable tells whether the mount becomes unbindable only after a clone of
// the root, which would leave it out.
func (c *compiler) isUnbindable(m *Mount) bool {
	return m.Propagation&unix.MS_UNBINDABLE != 0 && c.renewsMounts()
}

// unbindable makes those mounts so that isUnbindable tells.
func (c *compiler) unbindable() {
	for i := range c.spec.Mounts {
		if m := &c.spec.Mounts[i]; c.isUnbindable(m) {
			at := c.b.Register("renewed " + m.Target)
			why := mountText(i, m) + " cannot be bound"
			c.in(because(c.open(c.rootFD, path.Clean(m.Target), at, pathOnly, inRoot), why),
				because(c.setattr(at, m.Propagation&unix.MS_REC != 0, 0, 0, unix.MS_UNBINDABLE), why))
		}
	}
}

// bareMasks is maskPaths for a container whose masked files look like /dev/null.
func (c *compiler) bareMasks() {
	s := c.spec
	at, clone := c.b.Register("target"), c.b.Register("mask")
	for _, p := range s.ReadonlyPaths {
		why := p + " is read-only"
		skip := c.openIfThere(p, at, "read-only, if it is there")
		c.in(because(c.openTree(program.R(at), "", clone, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE), why),
			because(c.setattr(clone, true, unix.MOUNT_ATTR_RDONLY, 0, 0), why),
			because(c.attach(clone, at, p), why))
		c.b.Land(skip)
	}
	if len(s.MaskedPaths) == 0 {
		return
	}
	const sealed = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	steps, dir := c.newFS("tmpfs", "nothing", sealed|unix.MOUNT_ATTR_NODEV, [][2]string{{"mode", "0555"}, {"nr_inodes", "1"}}, "what masked directories show")
	c.in(steps...)
	// The host's /proc goes with its root, and nothing needs it any more.
	c.in(because(c.attachAt(dir, program.CWD(), "/proc"), "only what is attached can be cloned"))
	for _, p := range s.MaskedPaths {
		c.mask(p, at, program.R(dir), clone,
			because(c.openTree(program.CWD(), "/dev/null", clone, unix.OPEN_TREE_CLONE), "it is a file: the host's null device"),
			because(c.setattr(clone, false, sealed, 0, 0), "which nobody in here changes"))
	}
}

// mask lays an empty directory over a path, or, if that is a file, the clone that
// the steps file make; nothing, where nothing is there. at and clone are free
// registers. Which of both it is is asked beforehand: a clone that fits nowhere
// would keep the execution waiting for a grace period of the kernel's, which takes
// a detached mount apart when its last descriptor is closed.
func (c *compiler) mask(p string, at int, empty program.Arg, clone int, file ...program.Step) {
	isDir := c.open(c.rootFD, p, at, pathDir, inRoot)
	isDir.When = program.OnIgnored
	other := c.in(ignoring(because(isDir, "masked as a directory, if it is one"), unix.ENOENT, unix.ENOTDIR))
	c.in(because(c.openTree(empty, "", clone, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH), p+" shows nothing"))
	attach := because(c.attach(clone, at, p), p+" shows nothing")
	done := attach
	done.Jump = 1
	end := c.in(done)
	c.b.Land(other)
	skip := c.openIfThere(p, at, "masked as a file, if it is there")
	c.in(file...)
	c.in(attach)
	c.b.Land(end)
	c.b.Land(skip)
}

// openIfThere opens a path to mask or to protect, and gives the step, for Land
// where the steps are over that are for one that is there.
func (c *compiler) openIfThere(p string, at int, why string) int {
	step := c.open(c.rootFD, p, at, pathOnly, inRoot)
	step.When = program.OnIgnored
	return c.in(ignoring(because(step, why), unix.ENOENT, unix.ENOTDIR))
}
