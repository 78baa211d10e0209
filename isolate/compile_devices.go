package isolate

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/rawfile"
)

// defaultNodes are the devices and defaultLinks the links that the OCI
// runtime-spec (config-linux.md, default devices; runtime-linux.md) wants in every container.
var (
	defaultNodes = []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}
	defaultLinks = [][2]string{{"ptmx", "pts/ptmx"}, {"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}}
)

// bareDevices makes the nodes, those of the Spec first: they stand instead of
// the default ones of the same path. A /dev that is a bind of another is left alone.
func (c *compiler) bareDevices() {
	parents := map[string]int{"/": c.rootFD} // each is opened once: a privileged container has hundreds of devices
	directory := func(dir string) int {
		fd, ok := parents[dir]
		if !ok {
			fd = c.b.Register("directory " + dir)
			c.makeTarget(dir, fd, pathDir, targetDir, "the directory of devices")
			parents[dir] = fd
		}
		return fd
	}
	for i := range c.spec.Devices {
		d := &c.spec.Devices[i]
		p := path.Clean(d.Path)
		if p == "/dev/ptmx" {
			continue // it is a link to that of the container's own devpts
		}
		c.node(directory(path.Dir(p)), p, d.Make)
	}
	if c.spec.bindsDev() {
		return
	}
	c.devFD = directory("/dev")
	for _, n := range defaultNodes {
		c.node(c.devFD, "/dev/"+n.name, &Node{Type: 'c', Major: n.major, Minor: n.minor, Mode: 0o666})
	}
	for _, l := range defaultLinks {
		c.in(ignoring(program.Step{Sys: program.SysSymlinkat, Dst: program.None, Path: "/dev/" + l[0], Why: "/dev/" + l[0],
			Args: []program.Arg{c.b.Str(l[1]), program.R(c.devFD), c.b.Str(l[0])}}, unix.EEXIST))
	}
}

// node gives the directory parent a device node or FIFO. In a user namespace no
// device can be made: the host's node is bound in its place.
func (c *compiler) node(parent int, p string, n *Node) {
	switch {
	case n.Type == 'p':
		c.makeNode(parent, p, n)
	case c.spec.Namespaces.User != nil:
		c.bindNode(parent, p, n)
	default:
		if c.nested == program.None {
			c.nested = c.b.LateValue("berth is in a user namespace")
			c.b.Out(program.Step{Sys: program.OpNested, Dst: program.None, Path: "/proc/self/uid_map", Why: "whether devices can be made", Data: nestedData{c.nested}})
		}
		from := len(c.b.P.Inside)
		c.makeNode(parent, p, n)
		c.only(from, true)
		from = len(c.b.P.Inside)
		c.bindNode(parent, p, n)
		c.only(from, false)
	}
}

// only makes the inside steps from a number on depend on whether berth is nested.
func (c *compiler) only(from int, unless bool) {
	for i := from; i < len(c.b.P.Inside); i++ {
		c.b.P.Inside[i].If, c.b.P.Inside[i].Unless = c.nested+1, unless
	}
}

type nestedData struct{ late int }

// isNested notes whether this process is in another user namespace than the machine's first.
func (pr *Prepared) isNested(d nestedData) error {
	nested, err := InUserNamespace()
	if nested {
		pr.late[d.late].val = 1
	}
	return err
}

// InUserNamespace tells whether this process is in another user namespace than the
// machine's first one, which maps every id to itself (user_namespaces(7)).
var InUserNamespace = sync.OnceValues(func() (bool, error) {
	text, err := rawfile.Read("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(text)), []string{"0", "0", "4294967295"}), err
})

// bindNode binds the host's node of the same path, if it is the same device.
func (c *compiler) bindNode(parent int, p string, n *Node) {
	name, why := path.Base(p), "the host's "+p
	node, at := c.b.Register("host's "+p), c.b.Register("at "+p)
	const other = "no device can be made in a user namespace: the host must have it at the same path"
	c.in(hint(because(c.openTree(program.CWD(), p, node, unix.OPEN_TREE_CLONE), why), other))
	c.stat(node, p, why)
	for _, f := range [][3]uint64{{statxMode, unix.S_IFMT, nodeType(n)}, {statxMajor, 0xffffffff, uint64(n.Major)}, {statxMinor, 0xffffffff, uint64(n.Minor)}} {
		c.compare(program.OpExpect, f[0], f[1], f[2], unix.ENODEV, p, "the host's node must be the same device")
	}
	s := c.open(parent, name, at, pathOnly|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	s.Path = p
	c.in(because(c.setattr(node, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0, unix.MS_PRIVATE), "what is not allowed on it"),
		ignoring(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: p, Why: "where " + why + " is bound", Args: []program.Arg{
			program.R(parent), c.b.Str(name), program.Flag(program.FmtMode, unix.S_IFREG|0o644), program.N(0)}}, unix.EEXIST),
		because(s, "where "+why+" is bound"), because(c.attach(node, at, p), why))
}

// makeNode makes a device node or FIFO in the directory parent. One that is there
// already must be the same device; its mode and owner are then left as they are. No link is followed.
func (c *compiler) makeNode(parent int, p string, n *Node) {
	name, why := path.Base(p), "device "+p
	mk := ignoring(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: p, Why: why,
		Hint: "this needs CAP_MKNOD, a root that can be written, and device rules of the group that let nodes be made",
		Args: []program.Arg{program.R(parent), c.b.Str(name), program.Flag(program.FmtMode, nodeType(n)|uint64(n.Mode&0o7777)), program.Flag(program.FmtDev, unix.Mkdev(n.Major, n.Minor))}}, unix.EEXIST)
	fd := c.b.Register("node " + p)
	if n.UID != 0 || n.GID != 0 {
		// Only what was made just now gets the owner: what is there may be the host's.
		mk.When = program.OnIgnored
		there := c.in(mk)
		c.expectNode(parent, fd, p, n)
		c.in(program.Step{Sys: program.SysFchownat, Dst: program.None, Path: p, Why: "the owner of " + p, Args: []program.Arg{
			program.R(fd), c.b.Str(""), program.N(int(n.UID)), program.N(int(n.GID)), program.Flag(program.FmtAt, unix.AT_EMPTY_PATH)}})
		c.b.Land(there)
		c.expectNode(parent, fd, p, n)
		return
	}
	mk.Jump = 1
	made := c.in(mk)
	c.expectNode(parent, fd, p, n)
	c.b.Land(made)
}

// expectNode opens the node p in the directory parent, which must be the device n.
func (c *compiler) expectNode(parent, fd int, p string, n *Node) {
	s := c.open(parent, path.Base(p), fd, pathOnly|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	s.Path = p
	c.in(hint(because(s, "device "+p), "what is there is another file: remove it from the root file system"))
	c.stat(fd, p, "device "+p)
	expect := func(at, mask, want uint64) {
		c.compare(program.OpExpect, at, mask, want, unix.EEXIST, p, "what is there must be the same device")
	}
	expect(statxMode, unix.S_IFMT, nodeType(n))
	if n.Type != 'p' {
		expect(statxMajor, 0xffffffff, uint64(n.Major))
		expect(statxMinor, 0xffffffff, uint64(n.Minor))
	}
}

// nodeType is the file type in a mode.
func nodeType(n *Node) uint64 {
	return map[byte]uint64{'b': unix.S_IFBLK, 'c': unix.S_IFCHR, 'p': unix.S_IFIFO}[n.Type]
}

// check refuses nodes that cannot be.
func (n *Node) check(p string) error {
	switch {
	case !strings.ContainsRune("bcp", rune(n.Type)) || n.Type == 0:
		return fmt.Errorf("device %s: type %q is none of b, c and p", p, string(rune(cmp.Or(n.Type, '?'))))
	case n.Mode&^0o7777 != 0:
		return fmt.Errorf("device %s: mode %#o has more than permissions in it", p, n.Mode)
	case n.Major > 0xfff || n.Minor > 0xfffff:
		return fmt.Errorf("device %s: there is no number %d:%d", p, n.Major, n.Minor)
	case path.Clean(p) == "/":
		return fmt.Errorf("device %s: the path is the root itself", p)
	case below(path.Clean(p), "/proc") || below(path.Clean(p), "/sys"):
		return fmt.Errorf("device %s: nothing can be made below /proc and /sys", p)
	}
	return nil
}
