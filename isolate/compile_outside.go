package isolate

import (
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// The data of the pseudo operations outside. Fields that end in FD are
// registers, those that end in Late are late values.

type lookupData struct {
	rootFD      int // where etc/passwd is; None: this process's root
	user, group string
	groups      []string
	env         []string // to be completed; nil: only UIDLate and GIDLate are wanted
	uidLate     int
	gidLate     int
	hostUIDLate int // None: not wanted
	hostGIDLate int
	ids         *IDMap // which all of the ids must be in; nil: any
	userOf      int    // register of a process whose user namespace the ids are of; None: none
	deniedLate  int    // with userOf: that it denies setgroups(2)
	groupsLate  int
	countLate   int
	envLate     int
	given       *IDs // instead of the user and its groups
}

type capsData struct {
	caps     Capabilities
	dropLate int
	full     bool // in a user namespace of its own every capability is there, and to be dropped
}

type makeDirData struct {
	path             string
	mode             uint32
	uidLate, gidLate int    // owner of a directory that was made; None: left as it is
	ids              *IDMap // what the owner's ids stand for on disk; nil: the same
	madeLate         int    // told that it was made; None: not wanted
}

type deviceData struct {
	devFD int
	path  string // on the host
	name  string // below dev
}

type isDirData struct{ fd, late int }

type hostMountsData struct {
	list   int
	userNS int // register of the map they are shown with, or None
}

type kernelMountsData struct{ list int }

type hostMasksData struct{ dirs, files int }

type lowerData struct {
	ctx    int
	layers []int // topmost first
}

type targetRootData struct{ process, rootFD int }

func (c *compiler) outsideCaps() {
	caps := c.proc.Capabilities
	c.out(program.Step{Sys: program.OpCaps, Dst: program.None, Data: capsData{caps, c.drop, c.userOf != program.None || c.spec != nil && c.spec.Namespaces.User != nil},
		Args: []program.Arg{program.Flag(program.FmtHex, caps.Bounding), program.Flag(program.FmtHex, caps.Permitted)},
		Why:  "the capabilities to keep must be there",
		Hint: "run berth with them, or keep fewer"})
}

// outsideNamespaces opens the namespaces that are joined by their path.
func (c *compiler) outsideNamespaces() {
	p := c.b.P
	flags := &p.CloneFlags
	if u := c.spec.Namespaces.User; u != nil && u.Join != nil {
		if !c.bornInUser() {
			flags = &c.unshared
		}
		if u.Join.Path != "" {
			s := c.openat2(program.CWD(), c.b.Str(u.Join.Path), c.b.Register(regNamespace("user")), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			s.Path = u.Join.Path
			c.out(because(s, "the user namespace to join"))
		}
	}
	for _, ns := range c.spec.Namespaces.all() {
		switch {
		case ns.Mode == NSNew && ns.flag != unix.CLONE_NEWCGROUP:
			*flags |= ns.flag
		case ns.Mode == NSJoin && ns.Path != "":
			s := c.openat2(program.CWD(), c.b.Str(ns.Path), c.b.Register(regNamespace(ns.name)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			s.Path = ns.Path
			c.out(because(s, "the "+ns.name+" namespace to join"))
		}
	}
}

// outsideRoot builds the root file system as a detached mount.
func (c *compiler) outsideRoot() {
	r := &c.spec.RootFS
	c.rootFD = c.b.Register("root")
	if !c.inside {
		c.lookupRoot = c.rootFD
	}
	if r.Host {
		c.lookupRoot = program.None // /etc may be a mount of its own, which the root does not show
	}
	attrs := uint64(unix.MOUNT_ATTR_NODEV)
	if r.Host {
		attrs |= unix.MOUNT_ATTR_NOSUID
	}
	if r.Writable == ReadOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	if c.inside {
		c.insideRoot(attrs)
	} else if r.Writable == Ephemeral || r.Writable == Persistent || len(r.Layers) > 0 {
		c.outsideOverlay(attrs)
	} else {
		src, flags := "/", uint64(unix.OPEN_TREE_CLONE)
		if r.Path != "" {
			src, flags = r.Path, flags|unix.AT_RECURSIVE
		}
		c.out(because(c.openTree(program.CWD(), src, c.rootFD, flags), "the root file system"))
		s := c.setattr(c.rootFD, r.Path != "", attrs, 0, propagation(r.Propagation))
		s.Path = src
		c.out(because(s, "what is not allowed on the root"))
		if r.IDMap != nil {
			c.out(c.idmap(c.rootFD, c.idmapNS(r.IDMap), r.IDMap.Recursive && r.Path != "", src))
		}
	}
	c.place("/", r.Writable != ReadOnly)

	c.out(program.Step{Sys: program.OpLookup, Dst: program.None, Path: "/etc/passwd",
		Why:  "the user, and its groups and home",
		Hint: "use a numeric id, or add the name to /etc/passwd or /etc/group of the root file system",
		Args: []program.Arg{c.b.Str(c.proc.User), c.b.Str(c.proc.Group)},
		Data: c.lookupProcess(c.lookupRoot)})

	if r.Host {
		c.hostMounts = c.b.List("host mount")
		userNS := program.None
		if r.IDMap != nil {
			userNS = c.idmapNS(r.IDMap)
		}
		c.hostMasks = c.b.List("private directory")
		files := c.b.List("private file")
		if c.inside {
			c.out(program.Step{Sys: program.OpHostOthers, Dst: program.None, Data: hostOthersData{c.hostMasks, files},
				Why: "what the host has mounted elsewhere is no container's business"})
		} else {
			c.out(program.Step{Sys: program.OpHostMounts, Dst: program.None, Data: hostMountsData{c.hostMounts, userNS},
				Why: "what the host has mounted below /usr, /etc, /opt, /srv and /var belongs to its root"})
		}
		c.out(program.Step{Sys: program.OpHostMasks, Dst: program.None, Data: hostMasksData{c.hostMasks, files},
			Why: "what of the host's root is no container's business"})
	}
}

// lookupProcess is the look-up of who the program runs as.
func (c *compiler) lookupProcess(root int) lookupData {
	return lookupData{
		rootFD: root, user: c.proc.User, group: c.proc.Group, groups: c.proc.Groups, env: envOf(c.proc), ids: c.ids(), given: c.proc.IDs,
		uidLate: c.uid, gidLate: c.gid, hostUIDLate: c.hostUID, hostGIDLate: c.hostGID,
		userOf: c.userOf, deniedLate: c.denied,
		groupsLate: c.groups, countLate: c.groupCount, envLate: c.env,
	}
}

// envOf is never nil, which would mean that no environment is wanted.
func envOf(p *Process) []string { return append([]string{}, p.Env...) }

func propagation(v uint64) uint64 {
	if v &^= unix.MS_REC; v != 0 {
		return v
	}
	return unix.MS_PRIVATE
}

// outsideOverlay builds an overlay. It is done in a mount namespace of a
// thread of its own, because before Linux 6.15 a layer must be attached
// somewhere, and nothing of it may be attached on the host.
func (c *compiler) outsideOverlay(attrs uint64) {
	r := &c.spec.RootFS
	private := func(steps ...program.Step) {
		for _, s := range steps {
			s.Private = true
			c.b.Out(s)
		}
	}
	upper, userNS := program.None, program.None
	onDisk := c.ids()
	if r.IDMap != nil {
		userNS, onDisk = c.idmapNS(r.IDMap), nil
	}
	// directory opens one that overlay takes, with mapped ids where they are asked for.
	directory := func(p string, reg int, why string) {
		if userNS == program.None {
			private(because(c.cwdDir(p, reg), why))
			return
		}
		private(because(c.openTree(program.CWD(), p, reg, unix.OPEN_TREE_CLONE), why), c.idmap(reg, userNS, false, p),
			because(c.attachAt(reg, program.CWD(), "/"), "a layer must be attached somewhere"))
	}
	if r.Writable == Persistent {
		for _, d := range []struct {
			name string
			mode uint32
		}{{"", 0o700}, {"/upper", 0o755}, {"/work", 0o700}} {
			dir := path.Clean(r.StateDir) + d.name
			c.out(program.Step{Sys: program.OpMakeDir, Dst: program.None, Path: dir, Args: []program.Arg{c.b.Str(dir), program.Flag(program.FmtOct, uint64(d.mode))},
				Why: "where writes to the root are kept", Data: makeDirData{dir, d.mode, program.None, program.None, onDisk, program.None}})
		}
	}
	private(
		program.Step{Sys: program.SysUnshare, Dst: program.None, Args: []program.Arg{program.Flag(program.FmtCloneFlags, unix.CLONE_NEWNS)},
			Why: "a thread with mounts of its own, for building the overlay"},
		because(c.makePrivate(), "nothing goes back to the host"))
	switch r.Writable {
	case Ephemeral:
		steps, mount := c.newFS("tmpfs", "writes", 0, [][2]string{{"mode", "0755"}}, "writes to the root are kept in memory")
		private(steps...)
		upper = mount
		private(because(c.attachAt(upper, program.CWD(), "/"), "an upper layer must be attached somewhere"),
			because(c.mkdirat(upper, "upper", 0o755), "the upper layer"),
			because(c.mkdirat(upper, "work", 0o700), "overlay's work directory"))
		c.shift(upper, true)
	case Persistent:
		upper = c.b.Register("writes")
		directory(path.Clean(r.StateDir), upper, "where writes to the root are kept")
	}
	layers := r.Layers
	if r.Host {
		layers = []string{"/"}
	} else if r.Path != "" {
		layers = []string{r.Path}
	}
	lower := lowerData{ctx: c.b.Register("overlay context")}
	for i := len(layers) - 1; i >= 0; i-- {
		reg := c.b.Register("layer" + strconv.Itoa(i))
		directory(layers[i], reg, "a layer of the root")
		lower.layers = append(lower.layers, reg)
	}
	private(program.Step{Sys: program.SysFsopen, Dst: lower.ctx, Path: "overlay", Why: "the root is an overlay",
		Args: []program.Arg{c.b.Str("overlay"), program.Flag(program.FmtFsopen, unix.FSOPEN_CLOEXEC)}})
	args := []program.Arg{program.R(lower.ctx)}
	for _, l := range lower.layers {
		args = append(args, program.R(l))
	}
	private(program.Step{Sys: program.OpLower, Dst: program.None, Path: "overlay", Why: "its layers, the topmost first", Args: args, Data: lower,
		Hint: "this kernel takes fewer layers; merge some"})
	if upper != program.None {
		up, work := c.b.Register("upper"), c.b.Register("work")
		for _, d := range []struct {
			name string
			reg  int
		}{{"upper", up}, {"work", work}} {
			private(because(c.open(upper, d.name, d.reg, pathDir, beneath), "the "+d.name+" directory"),
				c.fsOption(lower.ctx, d.name+"dir", program.Arg{Kind: program.FDPath, Val: uint64(d.reg)}))
		}
	}
	if r.IDMap != nil && r.Writable == Persistent {
		c.actAs(r.IDMap)
	}
	private(
		program.Step{Sys: program.SysFsconfig, Dst: program.None, Path: "overlay", Why: "the root is an overlay", Args: []program.Arg{
			program.R(lower.ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_CMD_CREATE), program.Null(), program.Null(), program.N(0)},
			Hint: "overlay needs kernel support, and an upper directory on a file system other than overlay or NFS"},
		program.Step{Sys: program.SysFsmount, Dst: c.rootFD, Path: "overlay", Why: "the root is an overlay", Args: []program.Arg{
			program.R(lower.ctx), program.Flag(program.FmtFsmount, unix.FSMOUNT_CLOEXEC), program.Flag(program.FmtFsmountAttr, attrs)}})
	if v := propagation(r.Propagation); v != unix.MS_PRIVATE {
		private(because(c.setattr(c.rootFD, false, 0, 0, v), "how mounts spread"))
	}
}

func (c *compiler) cwdDir(p string, dst int) program.Step {
	s := c.openat2(program.CWD(), c.b.Str(p), dst, pathDir, 0)
	s.Path = p
	return s
}

func (c *compiler) mkdirat(dir int, name string, mode uint64) program.Step {
	return program.Step{Sys: program.SysMkdirat, Dst: program.None, Path: name,
		Args: []program.Arg{program.R(dir), c.b.Str(name), program.Flag(program.FmtOct, mode)}}
}

func (c *compiler) fchmodat(dir int, name string, mode uint64) program.Step {
	return program.Step{Sys: program.SysFchmodat, Dst: program.None, Path: name,
		Args: []program.Arg{program.R(dir), c.b.Str(name), program.Flag(program.FmtOct, mode)}}
}

func (c *compiler) makePrivate() program.Step {
	return program.Step{Sys: program.SysMount, Dst: program.None, Path: "/", Args: []program.Arg{
		program.Null(), c.b.Str("/"), program.Null(), program.Flag(program.FmtMount, unix.MS_REC|unix.MS_PRIVATE), program.Null()}}
}

func (c *compiler) attachAt(mount int, dir program.Arg, p string) program.Step {
	return program.Step{Sys: program.SysMoveMount, Dst: program.None, Path: p, Args: []program.Arg{
		program.R(mount), c.b.Str(""), dir, c.b.Str(p), program.Flag(program.FmtMoveMount, unix.MOVE_MOUNT_F_EMPTY_PATH)}}
}

// outsideScratch makes the one memory file system that everything private is
// in: a file system of its own for each directory would take a quarter of the
// time of a start. It is made outside, and /dev in it, because the device rules
// of the service's group need not let it make nodes.
func (c *compiler) outsideScratch() {
	steps, scratch := c.newFS("tmpfs", "scratch", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, [][2]string{{"mode", "0755"}}, "memory for /dev and the private directories")
	c.scratch = scratch
	c.out(steps...)
	type dir struct {
		name string
		mode uint64
	}
	dirs := []dir{{"dev", 0o755}, {"shm", 0o1777}, {"hidden", 0o555}}
	if c.spec.RootFS.Host {
		dirs = append(dirs, dir{"tmp", 0o1777}, dir{"var.tmp", 0o1777}, dir{"run", 0o755})
	}
	for _, d := range dirs {
		c.out(because(c.mkdirat(scratch, d.name, d.mode), "a private directory"),
			because(c.fchmodat(scratch, d.name, d.mode), "whatever the umask"))
	}
	c.out(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: "hidden.file", Why: "what masked files show", Args: []program.Arg{
		program.R(scratch), c.b.Str("hidden.file"), program.Flag(program.FmtMode, unix.S_IFREG), program.N(0)}})
	dev := c.b.Register("dev directory")
	c.out(because(c.open(scratch, "dev", dev, pathDir, beneath), "a /dev of its own"))
	c.outsideDev(dev)
	c.shift(scratch, false)
}

// outsideDev fills the directory that becomes /dev.
func (c *compiler) outsideDev(dev int) {
	for _, n := range []struct {
		name         string
		major, minor uint64
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		if c.inside {
			c.inChild(dev, n.name, uint32(n.major), uint32(n.minor))
			continue
		}
		c.out(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: "/dev/" + n.name, Why: "/dev/" + n.name,
			Hint: "berth needs CAP_MKNOD, and device rules that let it make nodes",
			Args: []program.Arg{program.R(dev), c.b.Str(n.name), program.Flag(program.FmtMode, unix.S_IFCHR|0o666), program.Flag(program.FmtDev, n.major<<8|n.minor)}},
			because(c.fchmodat(dev, n.name, 0o666), "whatever the umask"))
	}
	for _, l := range [][2]string{{"ptmx", "pts/ptmx"}, {"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}} {
		c.out(program.Step{Sys: program.SysSymlinkat, Dst: program.None, Path: "/dev/" + l[0], Why: "/dev/" + l[0],
			Args: []program.Arg{c.b.Str(l[1]), program.R(dev), c.b.Str(l[0])}})
	}
	for _, d := range []string{"pts", "shm", "mqueue"} {
		c.out(because(c.mkdirat(dev, d, 0o755), "where /dev/"+d+" is mounted"))
	}
	if c.proc.Terminal && !c.inside { // of the host's mounts the child can clone only what has a path
		tty := c.b.Register("console")
		c.out(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: "/dev/console", Why: "where /dev/console is mounted",
			Args: []program.Arg{program.R(dev), c.b.Str("console"), program.Flag(program.FmtMode, unix.S_IFREG|0o600), program.N(0)}},
			because(c.openTree(program.R(c.slot(regStdin)), "", tty, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH), "the terminal is the console too"))
	}
	for _, d := range c.spec.Devices {
		name := path.Clean(d.Path)[len("/dev/"):]
		if c.inside {
			c.inChild(dev, name, 0, 0)
			continue
		}
		c.out(program.Step{Sys: program.OpDevice, Dst: program.None, Path: d.Path, Why: "device " + d.Path, Args: []program.Arg{program.R(dev), c.b.Str(name)},
			Hint: "is the device there on the host?", Data: deviceData{dev, d.Path, name}})
	}
}

// slot gives the register of a file of the caller, by name.
func (c *compiler) slot(name string) int {
	for i, n := range c.b.P.Regs {
		if n == name {
			return i
		}
	}
	return c.b.Register(name)
}

// outsideMounts opens the sources of the further mounts.
func (c *compiler) outsideMounts() {
	for i := range c.spec.Mounts {
		m := &c.spec.Mounts[i]
		what := mountText(i, m)
		regs := mountRegs{isDir: program.None, made: program.None}
		uid, gid := program.None, program.None
		if m.User != "" || m.Group != "" {
			uid, gid = c.b.LateValue("uid of "+what), c.b.LateValue("gid of "+what)
			user := m.User
			if user == "" {
				user = "0"
			}
			c.out(program.Step{Sys: program.OpLookup, Dst: program.None, Path: "/etc/passwd", Why: "the owner of " + what,
				Args: []program.Arg{c.b.Str(user), c.b.Str(m.Group)},
				Data: lookupData{rootFD: c.lookupRoot, user: user, group: m.Group, uidLate: uid, gidLate: gid, hostUIDLate: program.None, ids: c.ids(), userOf: program.None}})
		}
		mode := uint64(m.Mode)
		if mode == 0 {
			mode = 0o755
		}
		if m.Type == Tmpfs {
			options := [][2]string{{"mode", "0" + strconv.FormatUint(mode, 8)}}
			if m.Size > 0 {
				options = append(options, [2]string{"size", strconv.FormatInt(m.Size, 10)})
			}
			steps, fd := c.newFS("tmpfs", what, mountAttrs(m), options, what)
			regs.fd = fd
			c.out(steps...)
			if uid != program.None {
				c.out(program.Step{Sys: program.SysFchownat, Dst: program.None, Path: m.Target, Why: "the owner of " + what, Args: []program.Arg{
					program.R(fd), c.b.Str(""), program.L(uid), program.L(gid), program.Flag(program.FmtAt, unix.AT_EMPTY_PATH)}})
			}
			c.shift(fd, false)
			if v := propagation(m.Propagation); v != unix.MS_PRIVATE {
				c.out(because(c.setattr(fd, false, 0, 0, v), "how mounts spread"))
			}
			c.mounts = append(c.mounts, regs)
			continue
		}
		if m.Type == Volume {
			onDisk := c.ids()
			if m.IDMap != nil || c.inside {
				onDisk = nil
			}
			if c.inside { // the child gives it to its owner
				uid, gid = c.giveLater(&regs, what, uid, gid)
			}
			c.out(program.Step{Sys: program.OpMakeDir, Dst: program.None, Path: m.Source, Why: "the volume of " + what,
				Args: []program.Arg{c.b.Str(m.Source), program.Flag(program.FmtOct, mode)}, Data: makeDirData{m.Source, m.Mode, uid, gid, onDisk, regs.made}})
		} else {
			regs.isDir = c.b.LateValue(what + " is a directory")
		}
		regs.fd = c.b.Register(what)
		flags := uint64(unix.OPEN_TREE_CLONE)
		recursive := m.Recursive || c.inside // as for the root, see insideRoot
		if recursive {
			flags |= unix.AT_RECURSIVE
		}
		c.out(hint(because(c.openTree(program.CWD(), m.Source, regs.fd, flags), what), "is the source there on the host?"))
		clear := uint64(0)
		if m.NoAtime {
			clear = unix.MOUNT_ATTR__ATIME
		}
		s := c.setattr(regs.fd, recursive, mountAttrs(m), clear, propagation(m.Propagation))
		s.Path = m.Target
		c.out(because(s, "what is not allowed on "+what))
		if m.IDMap != nil {
			c.out(c.idmap(regs.fd, c.idmapNS(m.IDMap), m.IDMap.Recursive && m.Recursive, m.Target))
		}
		if regs.made != program.None {
			c.in(program.Step{Sys: program.SysFchownat, Dst: program.None, Path: m.Target, Why: "the owner of " + what, If: regs.made + 1, Args: []program.Arg{
				program.R(regs.fd), c.b.Str(""), program.L(regs.uid), program.L(regs.gid), program.Flag(program.FmtAt, unix.AT_EMPTY_PATH)}})
		}
		if regs.isDir != program.None {
			c.isDirectory(m.Source, &regs, what)
		}
		c.mounts = append(c.mounts, regs)
	}
}

// isDirectory finds out whether what is bound is a directory.
func (c *compiler) isDirectory(source string, regs *mountRegs, what string) {
	fd := regs.fd
	if c.inside {
		fd = c.b.Register("source of " + what)
		s := c.openat2(program.CWD(), c.b.Str(source), fd, pathOnly, 0)
		s.Path = source
		c.b.Out(because(s, what))
	}
	c.out(program.Step{Sys: program.OpIsDir, Dst: program.None, Path: source, Args: []program.Arg{program.R(fd)},
		Why: "its target is made like it", Data: isDirData{fd, regs.isDir}})
}

func mountAttrs(m *Mount) uint64 {
	var v uint64
	for _, a := range []struct {
		on   bool
		attr uint64
	}{{m.ReadOnly, unix.MOUNT_ATTR_RDONLY}, {m.NoSuid, unix.MOUNT_ATTR_NOSUID}, {m.NoDev, unix.MOUNT_ATTR_NODEV},
		{m.NoExec, unix.MOUNT_ATTR_NOEXEC}, {m.NoAtime, unix.MOUNT_ATTR_NOATIME}} {
		if a.on {
			v |= a.attr
		}
	}
	return v
}
