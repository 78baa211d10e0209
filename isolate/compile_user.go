package isolate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// regSync is the child's end of the pipe at which it waits while it is worked on from outside.
const regSync = "sync"

// regReady is the child's end of the pipe by which it tells that it can be worked on from outside.
const regReady = "ready"

type idMapsData struct{ user *UserNamespace }

type userNSData struct {
	ids IDMap
	dst int
}

type idmapData struct{ fd, userNS int }

type shiftData struct {
	fd  int
	ids *IDMap
}

type actAsData struct{ uid, gid uint32 }

type raiseData struct {
	resource int
	hard     uint64
}

type oomData struct{ value int }

// hintIDMap is for file systems that no mount can show with other ids.
const hintIDMap = "not every file system can be idmapped (ext4, xfs, btrfs and overlay's layers can, tmpfs from Linux 6.3 on); use one that can, or have its files belong to the ids of the range"

// ids is the map of the user namespace; nil without one, and for one that is
// joined and whose map was not told.
func (c *compiler) ids() *IDMap {
	if c.spec == nil || c.spec.Namespaces.User == nil || c.spec.Namespaces.User.Map.empty() {
		return nil
	}
	return &c.spec.Namespaces.User.Map
}

func (m *IDMap) empty() bool { return len(m.UIDs)+len(m.GIDs) == 0 }

// newUser tells whether the container gets a new user namespace.
func (c *compiler) newUser() bool {
	return c.spec != nil && c.spec.Namespaces.User != nil && c.spec.Namespaces.User.Join == nil
}

// bornInUser tells whether the child is born in the user namespace that it
// joins: it must, where its PID namespace is a new one, since nobody enters that
// but by birth.
func (c *compiler) bornInUser() bool {
	n := &c.spec.Namespaces
	return n.User != nil && n.User.Join != nil && n.PID.Mode == NSNew
}

// joinedUser is the register of the user namespace that is joined, or of a process in it.
func (c *compiler) joinedUser() int {
	if p := c.spec.Namespaces.User.Join.Process; p != "" {
		return c.slot(regProcess(p))
	}
	return c.slot(regNamespace("user"))
}

// outsideUserNamespace has the child born in a user namespace of its own. All
// other new namespaces come from the same clone3 and so belong to it.
func (c *compiler) outsideUserNamespace() {
	if c.bornInUser() {
		for _, ns := range c.spec.Namespaces.all() {
			if c.joinsEarly(ns) {
				c.b.P.ForkIn = append(c.b.P.ForkIn, program.Enter{Reg: c.joinedReg(ns), Kind: ns.flag})
			}
		}
		c.b.P.ForkIn = append(c.b.P.ForkIn, program.Enter{Reg: c.joinedUser(), Kind: unix.CLONE_NEWUSER})
	}
	if c.newUser() {
		c.b.P.CloneFlags |= unix.CLONE_NEWUSER
	}
}

// userNamespace makes the child root of its user namespace, once its maps have
// been written. What it then may, it may in the namespaces that belong to it.
func (c *compiler) userNamespace() {
	u := c.spec.Namespaces.User
	if u == nil {
		return
	}
	if u.Join == nil {
		c.b.Beside(program.Step{Sys: program.OpIDMaps, Dst: program.None, Path: "/proc/PID/uid_map and gid_map", Why: "the ids of the user namespace",
			Args: []program.Arg{program.L(c.childPID())}, Data: idMapsData{u},
			Hint: cmp.Or(map[bool]string{true: "newuidmap and newgidmap must be there, and /etc/subuid and /etc/subgid must give this user the ranges"}[u.Tools],
				"mapping other ids than its own needs CAP_SETUID and CAP_SETGID in berth's user namespace, which must have the outside ids")})
	}
	if c.spec.Unprivileged {
		// The files of a process that is not dumpable are root's, and the maps are
		// among them. Nobody else is in its user namespace, so nobody but the user
		// itself can trace it meanwhile.
		c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(1), program.N(0), "the starter may write the maps"),
			program.Step{Sys: program.SysWrite, Dst: program.None, Check: true, Want: 1, Why: "tell the starter",
				Args: []program.Arg{program.R(c.slot(regReady)), c.b.Str("x"), program.N(1)}})
	}
	c.in(program.Step{Sys: program.OpSync, Dst: program.None, Mark: program.Stage, Why: "wait until what needs privileges of the starter is done",
		Args: []program.Arg{program.R(c.slot(regSync))}})
	for _, ns := range c.spec.Namespaces.all() {
		if c.joinsEarly(ns) && !c.bornInUser() {
			c.in(setns(ns, c.joinedReg(ns)))
		}
	}
	if u.Join != nil && !c.bornInUser() {
		reg := c.slot(regNamespace("user"))
		if u.Join.Process != "" {
			reg = c.slot(regProcess(u.Join.Process))
		}
		c.in(program.Step{Sys: program.SysSetns, Dst: program.None, Path: cmp.Or(u.Join.Path, u.Join.Process), Why: "join the user namespace",
			Args: []program.Arg{program.R(reg), program.Flag(program.FmtCloneFlags, unix.CLONE_NEWUSER)},
			Hint: "it must be another than berth's own, and one below it"})
	}
	if c.spec.Unprivileged {
		c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(0), program.N(0), "nobody may trace this process any more"))
	}
	if u.Join != nil && !c.bornInUser() {
		// Only now: what is made before would belong to the starter's user namespace.
		c.in(program.Step{Sys: program.SysUnshare, Dst: program.None, Args: []program.Arg{program.Flag(program.FmtCloneFlags, c.unshared)},
			Why: "namespaces that belong to the user namespace"})
	}
	if r := &c.spec.RootFS; c.spec.Bare && r.Path != "" && !c.spec.Unprivileged && c.spec.Namespaces.Mount.Mode != NSJoin {
		// The user namespace's root need not be able to get to that directory.
		c.rootAt = c.b.Register("where the root is")
		c.in(because(c.cwdDir(r.Path, c.rootAt), "where the root file system is attached"))
	}
	c.in(program.Step{Sys: program.SysSetresgid, Dst: program.None, Why: "root's group of the user namespace", Args: []program.Arg{program.N(0), program.N(0), program.N(0)}},
		program.Step{Sys: program.SysSetresuid, Dst: program.None, Why: "root of the user namespace", Args: []program.Arg{program.N(0), program.N(0), program.N(0)}})
	if !u.DenySetgroups {
		c.in(c.mayKeepGroups(program.Step{Sys: program.SysSetgroups, Dst: program.None, Why: "none of the starter's groups is kept", Args: []program.Arg{program.N(0), program.Null()}}))
	}
	c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(0), program.N(0), "the change of user may have made this process traceable"))
}

// mayKeepGroups lets a setgroups fail in a user namespace that an ordinary user
// joins: whether it denies that (user_namespaces(7)) cannot be read from outside.
// The groups that are kept then are the user's own.
func (c *compiler) mayKeepGroups(s program.Step) program.Step {
	if c.spec == nil || !c.spec.Unprivileged || c.spec.Namespaces.User == nil || c.spec.Namespaces.User.Join == nil {
		return s
	}
	return ignoring(s, unix.EPERM)
}

// childPID is the late value that holds the child's pid beside.
func (c *compiler) childPID() int {
	for i, n := range c.b.P.Late {
		if n == lateChild {
			return i
		}
	}
	return c.b.LateValue(lateChild)
}

const lateChild = "child"

// besides tells whether settings that need privileges of the starter are made
// by it, from outside: in a user namespace the child has none of them.
func (c *compiler) besides() bool {
	return c.spec != nil && c.spec.Namespaces.User != nil && !c.spec.Unprivileged
}

// settle appends a step that acts on this process: on the pid in argument i,
// which is 0, or if the starter has to do it, on the child's.
func (c *compiler) settle(s program.Step, i int) {
	if !c.besides() {
		c.in(s)
		return
	}
	s.Args[i] = program.L(c.childPID())
	c.b.Beside(s)
}

// oomScore has the starter write the OOM score adjustment: the files of a
// process that is not dumpable belong to root outside. False without a user namespace.
func (c *compiler) oomScore(value int) bool {
	if c.spec == nil || c.spec.Namespaces.User == nil {
		return false
	}
	c.b.Beside(program.Step{Sys: program.OpOOMScore, Dst: program.None, Path: "/proc/PID/oom_score_adj", Why: "the OOM score adjustment",
		Args: []program.Arg{program.L(c.childPID()), program.N(value)}, Data: oomData{value}, Hint: "a lower score needs CAP_SYS_RESOURCE"})
	return true
}

// raiseLimits has the starter raise hard limits; the child then sets them exactly.
func (c *compiler) raiseLimits() {
	if !c.besides() {
		return
	}
	for _, r := range c.proc.Rlimits {
		c.b.Beside(program.Step{Sys: program.OpRaise, Dst: program.None, Path: r.Name, Why: "limit " + r.Name, Hint: "a higher hard limit needs CAP_SYS_RESOURCE",
			Args: []program.Arg{program.L(c.childPID()), program.Flag(program.FmtResource, uint64(r.Resource)), program.Flag(program.FmtHex, r.Hard)},
			Data: raiseData{r.Resource, r.Hard}})
	}
}

// idmapNS gives the register of a user namespace with the map, made outside once
// per map unless it is the one that is joined.
func (c *compiler) idmapNS(m *IDMap) int {
	if m.Joined {
		return c.slot(regNamespace("user"))
	}
	key := fmt.Sprint(m.UIDs, m.GIDs)
	if reg, ok := c.idmaps[key]; ok {
		return reg
	}
	if c.idmaps == nil {
		c.idmaps = map[string]int{}
	}
	reg := c.b.Register("id map " + key)
	c.idmaps[key] = reg
	c.out(program.Step{Sys: program.OpUserNS, Dst: reg, Path: key, Why: "mounts take their map of ids from a user namespace",
		Args: []program.Arg{c.b.Str(key)}, Data: userNSData{*m, reg},
		Hint: "user namespaces must be enabled (/proc/sys/user/max_user_namespaces)"})
	return reg
}

// idmap gives the step that has a detached mount show mapped ids.
func (c *compiler) idmap(mount, userNS int, recursive bool, p string) program.Step {
	flags := uint64(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return program.Step{Sys: program.OpIDMap, Dst: program.None, Path: p, Why: "its files are shown with mapped ids", Hint: hintIDMap,
		Args: []program.Arg{program.R(mount), program.R(userNS), program.Flag(program.FmtAt, flags)}, Data: idmapData{mount, userNS}}
}

// shift gives all that lies on a file system that the program has just made to
// the ids that stand for the same numbers outside.
func (c *compiler) shift(fd int, private bool) {
	ids := c.ids()
	if ids == nil || c.inside { // what the child makes has the ids of its user namespace
		return
	}
	c.out(program.Step{Sys: program.OpShift, Dst: program.None, Private: private, Why: "it belongs to the ids of the user namespace",
		Args: []program.Arg{program.R(fd)}, Data: shiftData{fd, ids}})
}

// kernelFS runs the steps that make a file system which shows a namespace. It
// takes privileges over that namespace to make it: the child has them over those
// that came with its user namespace; the others are the starter's.
func (c *compiler) kernelFS(steps []program.Step, kind string) {
	u := c.spec.Namespaces.User
	for _, ns := range c.spec.Namespaces.list() {
		if ns.name == kind && c.sharesHost(kind, ns.Namespace, steps[len(steps)-1].Dst) {
			return
		}
		if ns.name != kind || u == nil || ns.Mode == NSNew || ns.Mode == NSJoin && u.Join != nil {
			continue
		}
		switch {
		case ns.Mode != NSJoin:
		case kind == "pid":
			steps = slices.Insert(slices.Clone(steps), 1, c.showPID(ns, steps[0].Dst)...) // a thread's own PID namespace never changes
		default:
			c.out(program.Step{Sys: program.SysSetns, Dst: program.None, Private: true, Path: cmp.Or(ns.Path, ns.Process), Why: "a thread in the " + kind + " namespace joined",
				Args: []program.Arg{program.R(c.joinedReg(ns)), program.Flag(program.FmtCloneFlags, ns.flag)}})
		}
		for _, s := range steps {
			s.Private = true
			c.b.Out(s)
		}
		return
	}
	if kind == "pid" && c.bornLast {
		c.joinedProc(steps)
		return
	}
	c.in(steps...)
}

// ptsOptions are those of a devpts in the container: the terminals' group is
// tty's number where that is mapped.
func (c *compiler) ptsOptions() [][2]string {
	options := [][2]string{{"ptmxmode", "0666"}, {"mode", "0620"}}
	if c.spec.Namespaces.User != nil {
		ids := c.ids()
		if ids == nil {
			return options
		}
		if _, ok := outsideID(ids.GIDs, ttyGroup); !ok {
			return options
		}
	}
	return append(options, [2]string{"gid", "5"})
}

// ttyGroup is the number that group tty has everywhere.
const ttyGroup = 5

// noSetgroups tells whether the kernel refuses setgroups(2): the supplementary
// groups then stay those of the starter.
func (c *compiler) noSetgroups() bool {
	return c.spec != nil && c.spec.Namespaces.User != nil && c.spec.Namespaces.User.DenySetgroups
}

// actAs has the thread that mounts the overlay act as root of the map.
func (c *compiler) actAs(m *IDMap) {
	uid, _ := outsideID(m.UIDs, 0) // validateUser has seen that root is mapped
	gid, _ := outsideID(m.GIDs, 0)
	c.out(program.Step{Sys: program.OpActAs, Dst: program.None, Private: true, Why: "overlay writes to its upper layer as who mounts it",
		Args: []program.Arg{program.N(int(uid)), program.N(int(gid))}, Data: actAsData{uid, gid}})
}

// validateUser checks what depends on the user namespace.
func (s *Spec) validateUser() error {
	if m := s.RootFS.IDMap; m != nil && s.RootFS.Writable == Persistent && !m.mapsRoot() {
		return errors.New("the map of a persistent root must have root (id 0) in it")
	}
	if err := s.validateUnprivileged(); err != nil {
		return err
	}
	u := s.Namespaces.User
	if u == nil {
		return nil
	}
	if u.Join != nil {
		if err := u.validateJoin(&s.Namespaces); err != nil || u.Map.empty() {
			return err
		}
	}
	if err := u.Map.validate(); err != nil {
		return fmt.Errorf("the user namespace: %w", err)
	}
	if !u.Map.mapsRoot() {
		return errors.New("the user namespace: root (id 0 inside) must be mapped, for users and groups: it is who sets the container up")
	}
	if u.DenySetgroups && len(s.Process.Groups) > 0 {
		return errors.New("supplementary groups cannot be set in a user namespace that denies setgroups(2)")
	}
	if ids := s.Process.IDs; ids != nil {
		if _, err := u.Map.outsideUser(ids.UID); err != nil {
			return err
		}
		for _, g := range append([]uint32{ids.GID}, ids.Groups...) {
			if _, err := u.Map.outsideGroup(g); err != nil {
				return err
			}
		}
		if u.DenySetgroups && len(ids.Groups) > 0 {
			return errors.New("supplementary groups cannot be set in a user namespace that denies setgroups(2)")
		}
	}
	return nil
}

func (u *UserNamespace) validateJoin(n *Namespaces) error {
	switch {
	case u.Join.Mode != NSJoin || (u.Join.Path == "") == (u.Join.Process == ""):
		return errors.New("the user namespace to join must be given by exactly one of path and process")
	case u.Tools || u.DenySetgroups:
		return errors.New("a user namespace that is joined has its map already")
	}
	return nil
}

func (m *IDMap) mapsRoot() bool {
	_, user := outsideID(m.UIDs, 0)
	_, group := outsideID(m.GIDs, 0)
	return user && group
}
