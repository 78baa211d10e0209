package isolate

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// A starter without privileges can open no file system and clone no mount: both
// take CAP_SYS_ADMIN over a mount namespace, which only the child has, over its
// own. So the child makes everything, once it is root of its user namespace; what
// remains outside is to look things up by their paths.

type rootDirsData struct {
	dirs []string // the first that has etc/passwd, or else the last, is opened
	dst  int
}

type hostOthersData struct{ dirs, files int }

type isDeviceData struct {
	path         string
	major, minor uint32 // 0:0: any
}

// unprivileged compiles a container with the built-in mounts for such a starter.
func (c *compiler) unprivileged() {
	s := c.spec
	c.outsideCaps()
	c.outsideNamespaces()
	c.outsideUserNamespace()
	c.lookupRoot = c.openForLookup()

	c.begin()
	c.userNamespace()
	c.joinGroups(s.Cgroup)
	c.joinNamespaces()
	c.stage(func() {
		c.in(because(c.makePrivate(), "no mount of the container reaches the host"))
		c.inside = true
		c.outsideRoot()
		c.outsideScratch()
		c.outsideMounts()
		c.inside = false
		c.root()
	})
	c.builtinMounts()
	c.userMounts()
	c.maskPaths()
	c.stage(func() { c.process(s.PreStart, s.Init) })
}

// openForLookup opens outside where users are looked up: the root file system
// itself, or the topmost of its layers that has users. None: this process's root.
func (c *compiler) openForLookup() int {
	r := &c.spec.RootFS
	if r.Host || r.empty() {
		return program.None
	}
	var dirs []string
	if r.Writable == Persistent {
		dirs = append(dirs, path.Clean(r.StateDir)+"/upper")
	}
	for i := len(r.Layers) - 1; i >= 0; i-- {
		dirs = append(dirs, r.Layers[i])
	}
	if r.Path != "" {
		dirs = append(dirs, r.Path)
	}
	reg := c.b.Register("root, for looking up")
	args := make([]program.Arg, len(dirs))
	for i, d := range dirs {
		args[i] = c.b.Str(d)
	}
	c.b.Out(program.Step{Sys: program.OpRootDirs, Dst: reg, Path: dirs[len(dirs)-1], Args: args, Why: "where users are looked up", Data: rootDirsData{dirs, reg}})
	return reg
}

// insideRoot attaches the root file system in the child's mount namespace and
// opens it, for a starter without privileges.
func (c *compiler) insideRoot(attrs uint64) {
	r := &c.spec.RootFS
	src := "/"
	if r.Path != "" {
		src = r.Path
	}
	if r.Writable == Ephemeral || r.Writable == Persistent || len(r.Layers) > 0 {
		c.insideOverlay()
		s := c.setattr(c.rootFD, false, attrs, 0, propagation(r.Propagation))
		s.Path = src
		c.in(because(s, "what is not allowed on the root"))
		return
	}
	// With all that is mounted below it: what hides a part of a file system of the
	// host must stay where it is (mount_namespaces(7), MNT_LOCKED).
	c.in(because(c.openTree(program.CWD(), src, c.rootFD, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE), "the root file system"))
	s := c.setattr(c.rootFD, true, attrs, 0, propagation(r.Propagation))
	s.Path = src
	c.in(because(s, "what is not allowed on the root"))
}

// insideOverlay mounts the overlay with mount(2), which takes layers by their
// paths and in any number that fits a page on every kernel; on /proc, where
// nothing is needed yet, and from where it is moved.
func (c *compiler) insideOverlay() {
	r := &c.spec.RootFS
	const at = "/proc"
	layers := r.Layers
	if r.Path != "" {
		layers = []string{r.Path}
	}
	var lower []string
	for i := len(layers) - 1; i >= 0; i-- {
		lower = append(lower, escapeLayer(layers[i]))
	}
	// Extended attributes of the name space trusted are out of reach.
	options := "userxattr,lowerdir=" + strings.Join(lower, ":")
	switch r.Writable {
	case Ephemeral:
		steps, mount := c.newFS("tmpfs", "writes", 0, [][2]string{{"mode", "0755"}}, "writes to the root are kept in memory")
		c.in(steps...)
		c.in(because(c.attachAt(mount, program.CWD(), at), "an upper layer must be attached somewhere"),
			because(c.mkdirat(mount, "upper", 0o755), "the upper layer"), because(c.mkdirat(mount, "work", 0o700), "overlay's work directory"))
		options += ",upperdir=" + at + "/upper,workdir=" + at + "/work"
	case Persistent:
		dir := path.Clean(r.StateDir)
		for _, name := range []string{"", "/upper", "/work"} {
			c.b.Out(program.Step{Sys: program.OpMakeDir, Dst: program.None, Path: dir + name, Args: []program.Arg{c.b.Str(dir + name), program.Flag(program.FmtOct, 0o755)},
				Why: "where writes to the root are kept", Data: makeDirData{path: dir + name, mode: 0o755, uidLate: program.None, gidLate: program.None, madeLate: program.None}})
		}
		options += ",upperdir=" + escapeLayer(dir+"/upper") + ",workdir=" + escapeLayer(dir+"/work")
	}
	c.in(program.Step{Sys: program.SysMount, Dst: program.None, Path: "overlay", Why: "the root is an overlay",
		Hint: "in a user namespace overlay needs Linux 5.11, and layers that have nothing of the host mounted below them",
		Args: []program.Arg{c.b.Str("overlay"), c.b.Str(at), c.b.Str("overlay"), program.Flag(program.FmtMount, 0), c.b.Str(options)}},
		because(c.cwdDir(at, c.rootFD), "the root is an overlay"))
}

// escapeLayer writes a path as overlay's options want it.
func escapeLayer(p string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path.Clean(p))
}

// giveLater keeps the owner of a volume that may be made, which only the child
// can give it to, and gives what is left to do outside: nothing.
func (c *compiler) giveLater(regs *mountRegs, what string, uid, gid int) (int, int) {
	if uid != program.None {
		regs.made, regs.uid, regs.gid = c.b.LateValue(what+" was made"), uid, gid
	}
	return program.None, program.None
}

// hostOthers hides what the host has mounted beside its system, which a clone of
// its root by an ordinary user must have with it.
func (pr *Prepared) hostOthers(d hostOthersData) error {
	points, err := otherMounts()
	if err != nil {
		return err
	}
	for _, p := range points {
		var st unix.Stat_t
		if unix.Stat(p, &st) != nil {
			continue // the user cannot get there, nor can who runs as the user
		}
		list := d.dirs
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			list = d.files
		}
		pr.lists[list-1] = append(pr.lists[list-1], listItem{path: p, fd: -1})
	}
	return nil
}

// inChild keeps a node's place in the /dev that the child makes, for the host's node to be bound on it.
func (c *compiler) inChild(dev int, name string, major, minor uint32) {
	p := "/dev/" + name
	for i, r := range name {
		if r == '/' {
			c.in(ignoring(because(c.mkdirat(dev, name[:i], 0o755), "the directory of "+p), unix.EEXIST))
		}
	}
	c.b.Out(program.Step{Sys: program.OpIsDevice, Dst: program.None, Path: p, Why: "the host's " + p + " is that device", Args: []program.Arg{c.b.Str(p)},
		Data: isDeviceData{p, major, minor}, Hint: "is the device there on the host?"})
	c.in(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: p, Why: "where the host's " + p + " is bound", Args: []program.Arg{
		program.R(dev), c.b.Str(name), program.Flag(program.FmtMode, unix.S_IFREG|0o666), program.N(0)}})
	c.bound = append(c.bound, name)
}

// bindDevices binds the host's nodes: in a user namespace none can be made.
func (c *compiler) bindDevices(dev int) {
	for _, name := range c.bound {
		p := "/dev/" + name
		node, at := c.b.Register("node "+p), c.b.Register("at "+p)
		c.in(because(c.openTree(program.CWD(), p, node, unix.OPEN_TREE_CLONE), "the host's "+p),
			because(c.setattr(node, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0, unix.MS_PRIVATE), "what is not allowed on it"),
			because(c.open(dev, name, at, pathOnly|unix.O_NOFOLLOW, beneath), "where it is bound"),
			because(c.attach(node, at, p), "the host's "+p))
	}
}

// isDevice checks that a path of the host is a device, and which.
func (pr *Prepared) isDevice(d isDeviceData) error {
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		return err
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFCHR && t != unix.S_IFBLK {
		return fmt.Errorf("%s is not a device", d.path)
	}
	if have := (isDeviceData{d.path, unix.Major(st.Rdev), unix.Minor(st.Rdev)}); d.major|d.minor != 0 && have != d {
		return fmt.Errorf("%s is device %d:%d, not %d:%d", d.path, have.major, have.minor, d.major, d.minor)
	}
	return nil
}

// rootDirs opens where users are looked up.
func (pr *Prepared) rootDirs(d rootDirsData) error {
	for i, dir := range d.dirs {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if i < len(d.dirs)-1 {
			if err != nil {
				continue // an upper layer that was not made yet
			}
			how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
			has, err := unix.Openat2(fd, "etc/passwd", &how)
			if err != nil {
				unix.Close(fd)
				continue
			}
			unix.Close(has)
		}
		if fd, err = pr.own(fd, err); err != nil {
			return err
		}
		pr.regs[d.dst] = int32(fd)
		return nil
	}
	return errors.New("there is no root file system")
}

// sharesHost makes a file system that shows a namespace of the host in the
// place of the steps that would make a new one: the host's own, with all that is
// mounted on it. False when nothing is shared, or the child may make a new one:
// of what is joined together with its user namespace.
func (c *compiler) sharesHost(kind string, ns Namespace, mount int) bool {
	p := map[string]string{"network": "/sys", "ipc": "/dev/mqueue"}[kind]
	if !c.spec.Unprivileged || p == "" || ns.Mode == NSNew || ns.Mode == NSJoin && c.spec.Namespaces.User.Join != nil {
		return false
	}
	s := because(c.openTree(program.CWD(), p, mount, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE), "the host's "+p+", whose namespace is shared")
	attr := because(c.setattr(mount, true, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, 0, unix.MS_PRIVATE), "what is not allowed on it")
	if kind == "ipc" {
		s, attr = ignoring(s, unix.ENOENT, unix.EINVAL), ignoring(attr, unix.EBADF)
	}
	c.in(s, attr)
	return true
}

// validateUnprivileged refuses what takes privileges.
func (s *Spec) validateUnprivileged() error {
	if !s.Unprivileged {
		return nil
	}
	u := s.Namespaces.User
	if u == nil {
		return errors.New("a starter without privileges needs a user namespace of the container's own")
	}
	if s.RootFS.IDMap != nil {
		return errors.New("the root file system cannot be idmapped without privileges; have its files belong to the ids of the map")
	}
	for i, m := range s.Mounts {
		if m.IDMap != nil {
			return fmt.Errorf("mount %d on %s cannot be idmapped without privileges; have its files belong to the ids of the map", i+1, m.Target)
		}
	}
	for _, m := range s.Mounts {
		if m.CopyUp {
			return fmt.Errorf("a tmpfs on %s cannot begin with a copy without privileges", m.Target)
		}
	}
	if !s.Bare {
		switch {
		case s.RootFS.Host && s.RootFS.Writable != ReadOnly:
			return errors.New("the host's root cannot be written to without privileges: give a root file system of its own, or leave it read-only")
		case s.Namespaces.PID.Mode == NSHost:
			return errors.New("the host's PID namespace cannot be shared without privileges")
		}
	}
	if u.Join != nil {
		return nil
	}
	for _, ns := range s.Namespaces.all() {
		if ns.Mode == NSJoin {
			return fmt.Errorf("the %s namespace of another container cannot be joined without privileges, unless its user namespace is joined too", ns.name)
		}
	}
	return nil
}
