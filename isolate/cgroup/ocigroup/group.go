package ocigroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"berth/isolate/cgroup"
	"berth/isolate/cgroup/nsinit"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options says where the group of a container is to be.
type Options struct {
	// Path is linux.cgroupsPath. Absolute or relative, it is taken from where
	// each hierarchy is mounted. "" is the container's ID, at the same place.
	Path string
	ID   string
	// Rootless: without a Path the group is looked for where this process may
	// make one, beside its own. Where it may not, and nothing is to be limited,
	// the container goes without: see Group.None.
	Rootless bool
}

// Group is a handle of the groups of one container, one in each hierarchy. Its
// methods may be used by several goroutines, except that calls which change the
// group (Create, Set, Remove) are the caller's to order.
type Group struct {
	tree     *cgroup.Tree
	group    *cgroup.Group
	without  error // why there is no group, and tree and group are nil
	ours     bool  // by Create or Load: until then nothing is killed or removed
	rootless bool
}

// New finds the hierarchies and says where the group is to be; it makes nothing.
// A group that is there already and has processes is an error. The caller closes
// the Group.
func New(o Options) (*Group, error) {
	own := o.Rootless && o.Path == ""
	tree, group, err := cgroup.Lone(cmp.Or(o.Path, o.ID), own)
	if err != nil {
		if own {
			return &Group{rootless: true, without: errNone}, nil
		}
		return nil, err
	}
	// Now, and not only when it is made: a record that names it is written before,
	// and whoever finds that may kill what is in it.
	if err := group.Vacant(); err != nil {
		tree.Close()
		return nil, err
	}
	return &Group{tree: tree, group: group, rootless: o.Rootless}, nil
}

// Load gives the group that Paths told about, perhaps in another process. That
// it has gone meanwhile is no error. The caller closes the Group.
func Load(paths map[string]string) (*Group, error) {
	if len(paths) == 0 {
		return &Group{without: errNone}, nil
	}
	tree, group, err := cgroup.LoneAt(paths)
	if err != nil {
		return nil, err
	}
	if !tree.Unified() && len(tree.Legacy()) == 0 {
		return &Group{without: errGone}, nil
	}
	return &Group{tree: tree, group: group, ours: true}, nil
}

// None tells that the container has no group: it was made rootless, and no
// group could be. Then Pids is empty, Kill, Signal, Thaw, WaitEmpty and Remove
// do nothing, and the rest are errors.
func (g *Group) None() bool { return g.without == errNone }

var (
	errNone = errors.New("the container has no control group, as none could be made without privileges")
	errGone = errors.New("the container's control group does not exist any more")
)

// Create makes the group in every hierarchy and sets all limits and device
// rules, before any process is in it. A group that exists is taken if it has no
// processes. On failure what was made is removed again, and Kill, Signal, Thaw,
// WaitEmpty and Remove do nothing, as before Create. r may be nil: then only devices are
// limited, to the default ones.
func (g *Group) Create(r *specs.LinuxResources) error {
	m := g.Begin(r)
	m.Work()
	handles, err := m.Done()
	if err == nil {
		handles.Close()
	}
	return err
}

// Making is Create in pieces, for several goroutines.
type Making struct {
	group     *Group
	resources *specs.LinuxResources
	making    *cgroup.Making // nil without a group
}

// Begin begins Create: by Work, and when all who do that have come back Done.
func (g *Group) Begin(r *specs.LinuxResources) *Making {
	if r == nil {
		r = &specs.LinuxResources{}
	}
	m := &Making{group: g, resources: r}
	if g.group != nil {
		m.making = g.group.Make(needed(r))
		// A fault among them is told by Done.
		m.making.Devices.AllowRest, m.making.Devices.Rules, _ = deviceRules(r.Devices)
	}
	return m
}

// Work makes the group in every hierarchy, together with others who call it.
func (m *Making) Work() {
	if m.making != nil {
		m.making.Work()
	}
}

// Done sets limits and device rules, and opens the group as Open does. After an
// error nothing is left of the group.
func (m *Making) Done() (*cgroup.Handles, error) {
	g := m.group
	if m.making == nil {
		return &cgroup.Handles{}, g.goWithout(m.resources, g.without)
	}
	existed, handles, err := m.making.Done()
	if err == nil {
		if err = m.fill(!existed); err == nil {
			g.ours = true
			return handles, nil
		}
		m.making.Undo()
	}
	if g.rootless && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS)) {
		return &cgroup.Handles{}, g.goWithout(m.resources, err)
	}
	return nil, err
}

// Undo is called in place of Done.
func (m *Making) Undo() {
	if m.making != nil {
		m.making.Undo()
	}
}

// goWithout lets a rootless container go without a group, if nothing is lost so.
func (g *Group) goWithout(r *specs.LinuxResources, cause error) error {
	if limits(r) {
		return fmt.Errorf("cannot limit the container's resources without privileges: %w; delegate a control group (systemd-run --user -p Delegate=yes), or leave out linux.resources", cause)
	}
	g.Close()
	g.tree, g.group, g.without = nil, nil, errNone
	return nil
}

// Mounts tells where New has seen hierarchies mounted, see cgroup.Tree.
func (g *Group) Mounts(tell func(unified bool, dir string, options []string)) {
	if g.tree != nil {
		g.tree.Mounts(tell)
	}
}

// Unified tells whether the child is born in a v2 group (isolate.Cgroup).
func (g *Group) Unified() bool { return g.tree != nil && g.tree.Unified() }

// Legacy gives the names of the v1 hierarchies that the child enters, in order;
// the Procs of Open's result has them all (isolate.Cgroup).
func (g *Group) Legacy() []string {
	if g.tree == nil {
		return nil
	}
	return g.tree.Legacy()
}

// Open opens the descriptors through which a process enters the group, for
// isolate.Files. The caller closes them when the process is in.
func (g *Group) Open() (*cgroup.Handles, error) {
	if g.None() {
		return &cgroup.Handles{}, nil
	}
	if g.group == nil {
		return nil, g.without
	}
	return g.group.Open()
}

// OpenExec is Open for a further process of a container whose first one is main.
// groups are as the exec command of OCI runtimes takes them: "path", or
// "controller,controller:path" on v1, below the container's group. Without any,
// and where that has handed its controllers down on v2, so that no process can
// enter it, the process goes where main is.
func (g *Group) OpenExec(groups []string, main int) (*cgroup.Handles, error) {
	if g.None() || g.group == nil {
		if len(groups) > 0 {
			return nil, g.without
		}
		return g.Open()
	}
	paths := make(map[string]string)
	for _, text := range groups {
		controllers, below, given := strings.Cut(text, ":")
		if !given {
			below = text
		}
		if slices.Contains(strings.Split(below, "/"), "..") {
			return nil, fmt.Errorf("cannot enter %q: %s is not a sub cgroup path", text, below)
		}
		if !given {
			for c := range g.Paths() {
				paths[c] = text
			}
			continue
		}
		for c := range strings.SplitSeq(controllers, ",") {
			if v, reason := g.group.Version(c); v != 1 {
				if v == 2 {
					reason = "it is on cgroup v2, where a path is given without controllers"
				}
				return nil, fmt.Errorf("cannot enter %q: %s: %s", text, c, reason)
			}
			paths[c] = below
		}
	}
	if len(groups) == 0 && g.Unified() {
		if handed, err := g.group.Read("", "cgroup.subtree_control"); err == nil && handed != "" {
			below, ok, err := g.group.Within(main)
			if err != nil {
				return nil, err
			}
			if ok {
				paths[""] = below
			}
		}
	}
	return g.group.OpenBelow(paths)
}

// Path is the group's path in the hierarchy that says which processes belong to
// it, as it is seen where that is mounted; "" for none.
func (g *Group) Path() string {
	if g.group == nil {
		return ""
	}
	return path.Clean(g.group.Path())
}

// Paths gives the group's directory by v1 controller, and under "" that on v2,
// for Load.
func (g *Group) Paths() map[string]string {
	if g.group == nil {
		return nil
	}
	return g.group.Paths()
}

// Exists tells whether the group is there in any hierarchy.
func (g *Group) Exists() bool { return g.group != nil && g.group.Exists() }

// Pids gives the processes of the group and of groups nested in it, as this
// process' PID namespace numbers them, sorted. None is no error.
func (g *Group) Pids() ([]int, error) {
	if g.group == nil {
		return nil, nil
	}
	return g.group.Pids()
}

// Kill sends SIGKILL to every process of the group, frozen or not, nested groups
// included, and lets none fork away. It does not wait: see WaitEmpty.
func (g *Group) Kill() error {
	if !g.ours {
		return nil
	}
	return g.group.Kill()
}

// Signal sends a signal to every process of the group. Those that are forked
// while it runs may not get it.
func (g *Group) Signal(signal unix.Signal) error {
	if !g.ours {
		return nil
	}
	return g.group.Signal(signal)
}

// WaitEmpty waits until no process is left in the group (zombies do not count),
// or until the context ends, and then gives its error.
func (g *Group) WaitEmpty(ctx context.Context) error {
	if !g.ours {
		return nil
	}
	return g.group.WaitEmpty(ctx)
}

// Freeze stops every process of the group where it is, until Thaw. It waits
// until all are stopped or the context ends; then it thaws and fails.
func (g *Group) Freeze(ctx context.Context) error {
	if g.group == nil {
		return g.without
	}
	err := g.group.Freeze(ctx)
	if err != nil {
		err = errors.Join(err, g.group.Thaw())
	}
	return err
}

// Thaw lets the processes of a frozen group run on.
func (g *Group) Thaw() error {
	if !g.ours {
		return nil
	}
	return g.group.Thaw()
}

// Frozen tells whether all of the group's processes are stopped by Freeze. A
// group that is gone is not frozen.
func (g *Group) Frozen() (bool, error) {
	if g.group == nil || !g.group.Exists() {
		return false, nil
	}
	return g.group.Frozen()
}

// Stats reads what the group has used; nsinit.NewEvent makes the event of it.
func (g *Group) Stats() (*nsinit.Stats, error) {
	if g.group == nil {
		return nil, g.without
	}
	return nsinit.Read(g.group)
}

// OOMKills counts the processes of the group that the kernel has killed for lack
// of memory.
func (g *Group) OOMKills() (uint64, error) {
	if g.group == nil {
		return 0, g.without
	}
	return g.group.OOMKills()
}

// WaitOOM waits until OOMKills is more than seen, and gives it; or until the
// context ends, with its error.
func (g *Group) WaitOOM(ctx context.Context, seen uint64) (uint64, error) {
	if g.group == nil {
		return 0, g.without
	}
	return g.group.WaitOOM(ctx, seen)
}

// Chown hands the v2 group to a user, for a container that has a cgroup
// namespace and its groups mounted writable; ids are this user namespace's.
// Without v2 that is an error of type cgroup.UnsupportedError.
func (g *Group) Chown(uid, gid int) error {
	if g.group == nil {
		return g.without
	}
	return g.group.Chown(uid, gid)
}

// Remove removes the group in every hierarchy, with all groups nested in it. It
// does not kill: a group that still has processes is an error that names them,
// after up to 2 s of retries. A group that does not exist is no error.
func (g *Group) Remove() error {
	if !g.ours {
		return nil
	}
	return g.group.Remove()
}

// Close gives back the Group's descriptors. The groups stay.
func (g *Group) Close() error {
	if g.tree == nil {
		return nil
	}
	return g.tree.Close()
}
