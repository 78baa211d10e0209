package isolate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// Compile turns a Spec into the Program that makes the container. It looks at
// nothing but the Spec: the same Spec always gives the same Program, on any
// machine. A Spec that contradicts itself is an error.
func Compile(spec *Spec) (*program.Program, error) {
	if err := spec.validate(); err != nil {
		name := ""
		if spec != nil {
			name = spec.Name
		}
		return nil, fmt.Errorf("cannot compile container %q: %w", name, err)
	}
	c := newCompiler(spec.Name, &spec.Process)
	c.spec = spec
	if spec.Bare {
		c.bare()
		return c.b.P, nil
	}

	if spec.Unprivileged {
		c.unprivileged()
		return c.b.P, nil
	}

	// Outside: what can be opened and built without being in the container.
	c.outsideCaps()
	c.outsideNamespaces()
	c.outsideUserNamespace()
	c.outsideRoot()
	c.outsideScratch()
	c.outsideMounts()

	// Inside. The order matters: groups first, so that all that follows is
	// accounted there; the old root goes before anything of the new one is used.
	c.begin()
	c.userNamespace()
	c.joinGroups(spec.Cgroup)
	c.joinNamespaces()
	c.stage(c.root)
	c.builtinMounts()
	c.userMounts()
	c.maskPaths()
	c.stage(func() { c.process(spec.PreStart, spec.Init) })
	return c.b.P, nil
}

// compiler is the state of one compilation. The fields are registers and late
// values unless they say otherwise.
type compiler struct {
	b    *program.Builder
	spec *Spec    // nil for an exec
	proc *Process // what is executed at the end

	uid, gid, groups, groupCount, env, drop int            // late values
	hostUID, hostGID                        int            // late: the same ids outside
	unshared                                uint64         // CLONE_NEW* flags that the child unshares after it has joined a user namespace
	idmaps                                  map[string]int // registers of user namespaces for idmapped mounts, by map
	rootFD                                  int            // the container's root directory
	lookupRoot                              int            // where users are looked up
	scratch, maskDir, maskFile              int
	procFS, sysFS, labelFS                  int
	memfd, initRuns, initRan                int
	ruleset, landlockOn, landlockNet        int // a register; late values, None where there is nothing to ask
	mounts                                  []mountRegs
	hostMounts, hostMasks, kernelMounts     int // lists
	placed                                  []placed
	path                                    []string

	// Of an exec that enters a user namespace, else None.
	userOf int // register of the process whose it is
	denied int // late: it denies setgroups(2)

	// Without privileges.
	inside bool     // what is else made outside is made by the child
	bound  []string // nodes of the host below /dev that are bound

	// Of a bare container.
	rootAt     int // where its root is attached, if that was opened beforehand
	nested     int // late: nodes cannot be made, since berth itself is in a user namespace
	cgroupForm *hierarchiesData
	devFD      int            // register of its /dev
	ptsFS      int            // register of its devpts, or None
	statBuf    *program.Arg   // memory for stat and expectFS
	finally    []program.Step // what is done when everything is mounted

	bornLast bool        // the program's process is forked at the end, see tail
	birth    program.Arg // the control message with its pidfd
	isReady  bool        // see ready
}

// placed is a mount made by the program, for finding what lies at a target.
type placed struct {
	at       string
	writable bool // directories may be made in it
}

type mountRegs struct {
	fd    int
	isDir int // late; None when always one
	mode  int // list; 0: none

	made, uid, gid int // late: of a directory that the child gives to its owner if it was made
}

// usualSteps is about what the usual OCI bundle has.
const usualSteps = 384

func newCompiler(name string, proc *Process) *compiler {
	b := program.NewBuilder(name)
	b.P.Inside = make([]program.Step, 0, usualSteps) // growing there takes twice the memory
	c := &compiler{b: b, proc: proc, memfd: program.None, ruleset: program.None, landlockOn: program.None, landlockNet: program.None,
		procFS: program.None, labelFS: program.None, ptsFS: program.None, rootAt: program.None, nested: program.None, userOf: program.None, denied: program.None}
	c.uid, c.gid = b.LateValue("uid"), b.LateValue("gid")
	c.hostUID, c.hostGID = b.LateValue("uid outside"), b.LateValue("gid outside")
	c.groups, c.groupCount = b.LateValue("groups"), b.LateValue("group count")
	c.env = b.LateValue("environment")
	c.drop = b.LateValue("capabilities to drop")
	c.path = searchPath(proc.Env)
	return c
}

// The registers that files of the caller are in, by name.
const (
	regStdin  = "stdin"
	regStdout = "stdout"
	regStderr = "stderr"

	regListener = "listener" // the socket that takes the seccomp listener

	// The minimal init, and a pipe whose write end is closed when it is executed.
	regInit     = "init"
	regInitRuns = "init runs"
	regInitRan  = "init ran"

	// What the program ends in, and the socket over which it hands its process over.
	regTail     = "tail"
	regHandover = "handover"
	regRuleset  = "landlock rules"
	regLabels   = "proc for labels"
)

func regExtra(i int) string           { return fmt.Sprintf("extra%d", i) }
func regLegacy(name string) string    { return "cgroup.procs of " + name }
func lateOptional(name string) string { return "a group of " + name }
func regProcess(name string) string   { return "process " + name }
func regNamespace(kind string) string { return kind + " namespace" }

// defaultPath is searched when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func searchPath(env []string) []string {
	p := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			p = v
		}
	}
	return strings.Split(p, ":")
}

// candidates are the files tried for args[0], in order.
func (c *compiler) candidates(arg0 string) []string {
	if strings.Contains(arg0, "/") {
		return []string{arg0}
	}
	var list []string
	for _, dir := range c.path {
		if dir == "" {
			dir = "."
		}
		if f := path.Join(dir, arg0); !slices.Contains(list, f) {
			if dir == "." {
				f = "./" + f
			}
			list = append(list, f)
		}
	}
	return list
}

// creatable tells whether the program may make a missing target.
func (c *compiler) creatable(target string) bool {
	target = path.Clean(target)
	ok, best := false, -1
	for _, p := range c.placed {
		if (p.at == "/" || target == p.at || strings.HasPrefix(target, p.at+"/")) && len(p.at) >= best {
			if target == p.at && p.at != "/" {
				continue // the target is the mount point itself: what is below it counts
			}
			ok, best = p.writable, len(p.at)
		}
	}
	return ok
}

func (c *compiler) place(at string, writable bool) {
	c.placed = append(c.placed, placed{path.Clean(at), writable})
}

const (
	inRoot    = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	beneath   = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
	noLinks   = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	pathOnly  = unix.O_PATH | unix.O_CLOEXEC
	pathDir   = pathOnly | unix.O_DIRECTORY
	openWrite = unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NOCTTY
)

// The steps below are the vocabulary of the compiler: one system call each.

func (c *compiler) openat2(dir program.Arg, p program.Arg, dst int, flags, resolve uint64) program.Step {
	how := c.b.U64s(program.FmtOpenHow, flags, 0, resolve)
	return program.Step{Sys: program.SysOpenat2, Dst: dst, Args: []program.Arg{dir, p, how, program.N(24)}}
}

func (c *compiler) open(dir int, p string, dst int, flags, resolve uint64) program.Step {
	s := c.openat2(program.R(dir), c.b.Str(p), dst, flags, resolve)
	s.Path = p
	return s
}

func (c *compiler) attach(mount, target int, p string) program.Step {
	return program.Step{Sys: program.SysMoveMount, Dst: program.None, Path: p, Args: []program.Arg{
		program.R(mount), c.b.Str(""), program.R(target), c.b.Str(""),
		program.Flag(program.FmtMoveMount, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)}}
}

func (c *compiler) openTree(dir program.Arg, p string, dst int, flags uint64) program.Step {
	return program.Step{Sys: program.SysOpenTree, Dst: dst, Path: p, Args: []program.Arg{dir, c.b.Str(p),
		program.Flag(program.FmtOpenTree, flags|unix.OPEN_TREE_CLOEXEC)}}
}

func (c *compiler) setattr(mount int, recursive bool, set, clear, propagation uint64) program.Step {
	flags := uint64(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := c.b.U64s(program.FmtMountAttr, set, clear, propagation, 0)
	return program.Step{Sys: program.SysMountSetattr, Dst: program.None, Args: []program.Arg{
		program.R(mount), c.b.Str(""), program.Flag(program.FmtAt, flags), attr, program.N(32)}}
}

func (c *compiler) prctl(op, a, b program.Arg, why string) program.Step {
	return program.Step{Sys: program.SysPrctl, Dst: program.None, Why: why,
		Args: []program.Arg{op, a, b, program.N(0), program.N(0)}}
}

func prctlOp(v uint64) program.Arg { return program.Flag(program.FmtPrctl, v) }

// newFS gives the steps that make a file system of its own and a detached mount of it.
func (c *compiler) newFS(fstype, name string, attrs uint64, options [][2]string, why string) (steps []program.Step, mount int) {
	ctx := c.b.Register(name + " context")
	mount = c.b.Register(name)
	steps = append(steps, program.Step{Sys: program.SysFsopen, Dst: ctx, Path: fstype, Why: why,
		Args: []program.Arg{c.b.Str(fstype), program.Flag(program.FmtFsopen, unix.FSOPEN_CLOEXEC)}})
	for _, o := range options {
		steps = append(steps, c.fsOption(ctx, o[0], c.b.Str(o[1])))
	}
	return append(steps,
		program.Step{Sys: program.SysFsconfig, Dst: program.None, Path: fstype, Why: why, Args: []program.Arg{
			program.R(ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_CMD_CREATE), program.Null(), program.Null(), program.N(0)}},
		program.Step{Sys: program.SysFsmount, Dst: mount, Path: fstype, Why: why, Args: []program.Arg{
			program.R(ctx), program.Flag(program.FmtFsmount, unix.FSMOUNT_CLOEXEC), program.Flag(program.FmtFsmountAttr, attrs)}},
	), mount
}

func (c *compiler) fsOption(ctx int, key string, value program.Arg) program.Step {
	return program.Step{Sys: program.SysFsconfig, Dst: program.None, Path: key, Why: "option " + key, Args: []program.Arg{
		program.R(ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_SET_STRING), c.b.Str(key), value, program.N(0)}}
}

// stage marks the first inside step that f appends. The parts are few, since
// each mark wakes the one who reads it; the first begins with the first step.
func (c *compiler) stage(f func()) {
	first := len(c.b.P.Inside)
	f()
	if first < len(c.b.P.Inside) {
		c.b.P.Inside[first].Mark = program.Stage
	}
}

//go:noinline
func (c *compiler) out(steps ...program.Step) {
	for _, s := range steps {
		if _, call := s.Sys.Number(); call && c.inside {
			c.b.In(s)
			continue
		}
		c.b.Out(s)
	}
}

//go:noinline
func (c *compiler) in(steps ...program.Step) int {
	n := 0
	for _, s := range steps {
		n = c.b.In(s)
	}
	return n
}

// because sets what a step is for.
//
//go:noinline
func because(s program.Step, why string) program.Step {
	s.Why = why
	return s
}

//go:noinline
func ignoring(s program.Step, errnos ...unix.Errno) program.Step {
	s.Ignore = errnos
	return s
}

//go:noinline
func hint(s program.Step, text string) program.Step {
	s.Hint = text
	return s
}
