package isolate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/seccomp"
)

// tail is the rest: the child waits at the gate, and only after that something
// foreign is executed. Where processes of the container may see it by then, and
// one that keeps CAP_SYS_PTRACE could do with it what it likes, it first leaves
// the forked memory for an image of a few kilobytes (package tail): there is
// nothing in it any more, by memory, executable, descriptors or privileges, that
// the program will not have.
//
// Where the program is to be born in another container's PID namespace, what
// has been done so far was done outside of it, invisibly; now the process itself
// is forked there, as a child of this one's parent, and its pidfd handed over.
func (c *compiler) tail(preStart [][]string, withInit bool) {
	if c.leaves() {
		c.leave()
	} else {
		c.b.P.Sealed = c.spec.SealedStarter
	}
	if !withInit {
		c.labels() // before the filter, which need not allow it
	}
	if c.bornLast && !c.asksAtBirth() || c.privileged() {
		c.ready()
	}
	birth := 0
	if c.bornLast {
		birth = c.bear()
	}
	fork := 0
	if withInit {
		// Before the pre-start commands: the init expects the program to be PID 2.
		fork = c.in(c.forkStep(program.None, "the program runs below a minimal init"))
		c.in(program.Step{Sys: program.SysClose, Dst: program.None, Why: "only the init has this end now", Args: []program.Arg{program.R(c.initRuns)}},
			program.Step{Sys: program.SysRead, Dst: program.None, Check: true, Why: "wait until the init has been executed: that closes the other end",
				Args: []program.Arg{program.R(c.initRan), c.b.U64s(program.FmtBuf, 0), program.N(1)}})
		c.labels() // not of the init, whose file no policy knows
	}
	if c.proc.filteredEarly() {
		// Whoever lets this pass the gate has the listener by then. What can be
		// done before the filter is, since the filter may hand it to the listener.
		c.ready()
	}
	c.in(program.Step{Sys: program.OpGate, Mark: program.Stage, Dst: program.None, Why: "from here on foreign code runs: wait for the word of the one who starts this"})
	if c.traces() && (len(preStart) > 0 || c.spec != nil && len(c.spec.StartContainer) > 0) {
		c.ready()
	}
	for i, args := range preStart {
		c.preStart(i+1, args)
	}
	c.startContainer()
	c.execute(c.proc.Args, program.Final)
	if withInit {
		c.init(fork)
	}
	if c.bornLast {
		c.born(birth)
	}
}

// asksAtBirth tells whether a filter with a listener could hand it what is done
// until the starter knows the program's process. The starter does nothing about
// the listener before; so that filter is installed in the program's process.
func (c *compiler) asksAtBirth() bool {
	if !c.proc.SeccompListener {
		return false
	}
	for _, s := range []program.Sys{program.SysClone, program.SysSendmsg, program.SysExitGroup} {
		if nr, ok := s.Number(); !ok || !seccomp.Passes(c.proc.Seccomp, uint32(nr)) {
			return true
		}
	}
	return false
}

// leaves tells whether the tail has an image of its own, which costs a second
// execution: where the starter's executable could be written, and where somebody
// may be there who could take this process over. In a PID namespace of its own
// there is nobody, unless pre-start commands or hooks run that may trace it, or
// the start is to wait for long, so that others can enter meanwhile.
func (c *compiler) leaves() bool {
	switch {
	case c.bornLast || c.memfd != program.None:
		return true
	case c.spec == nil || !c.spec.SealedStarter || c.spec.SyncRuntime || c.spec.Namespaces.PID.Mode != NSNew:
		return true
	}
	return c.traces() && len(c.spec.PreStart)+len(c.spec.StartContainer) > 0
}

// programEnv is the environment of the program: what is given and HOME.
func (c *compiler) programEnv() program.Arg {
	return program.Arg{Kind: program.Late, Fmt: program.FmtStrs, Val: uint64(c.env)}
}

// leave executes the tail's image.
func (c *compiler) leave() {
	own := c.own()
	c.in(program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "no other descriptor is needed",
		Args: []program.Arg{program.N(c.firstOwn() + len(own)), program.Flag(program.FmtHex, uint64(^uint32(0))), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}},
		program.Step{Sys: program.SysExecveat, Dst: program.None, Path: "the rest of this program", Why: "go on in sealed memory that holds nothing of berth",
			Args: []program.Arg{program.R(c.slot(regTail)), c.b.Str(""), c.b.Strs([]string{"berth"}), c.b.Strs(nil), program.Flag(program.FmtExecAt, unix.AT_EMPTY_PATH)}})
	c.b.P.Tail = &program.Tail{First: len(c.b.P.Inside), Base: c.firstOwn(), Own: own, BornLast: c.bornLast}
	c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(0), program.N(0), "nobody may trace this process who is not entitled to trace everything"))
}

// traces tells whether the container's processes may take over what is not dumpable.
func (c *compiler) traces() bool { return c.proc.Capabilities.Bounding>>unix.CAP_SYS_PTRACE&1 == 1 }

// ready is what precedes an execution: no descriptor but those passed on, no
// signal blocked, the filter, and no privilege that it took. It is done once:
// before others can trace this process, or, so that the filter need not allow
// what this program does, immediately before the execution.
func (c *compiler) ready() {
	if c.isReady {
		return
	}
	c.isReady = true
	c.in(program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "no other descriptor is passed on",
		Args: []program.Arg{program.N(c.firstOwn()), program.Flag(program.FmtHex, uint64(^uint32(0))), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}})
	none := c.b.U64s(program.FmtSignals, 0)
	c.in(program.Step{Sys: program.SysRtSigprocmask, Dst: program.None, Why: "signals are delivered again",
		Args: []program.Arg{program.Flag(program.FmtSigHow, unix.SIG_SETMASK), none, program.Null(), program.N(8)}})
	switch {
	case c.proc.NoNewPrivileges:
		c.landlock()
		c.seccomp()
	case c.privileged():
		c.seccomp()
		if c.leaves() {
			c.in(c.clearAmbient())
		}
		c.capabilities()
	}
}

func executeHint(p *Process) string {
	h := "it must exist and be executable inside the root, its interpreter too"
	if p.Landlock != nil && len(p.Landlock.Rules) > 0 {
		h += "; the Landlock rules must let both be read and executed"
	}
	return h
}

// execute is the end of a branch. Where PATH is searched, what may not be
// executed is passed over as long as there is something else, as shells do.
func (c *compiler) execute(args []string, mark program.Mark) {
	c.ready()
	argv := c.b.Strs(args)
	env := c.programEnv()
	step := func(file string, ignore ...unix.Errno) program.Step {
		return program.Step{Sys: program.SysExecve, Mark: mark, Dst: program.None, Path: file, Why: "execute " + args[0], Ignore: ignore,
			Hint: executeHint(c.proc),
			Args: []program.Arg{c.b.Str(file), argv, env}}
	}
	files := c.candidates(args[0])
	if len(files) == 1 {
		c.in(step(files[0]))
		return
	}
	for _, f := range files {
		c.in(step(f, unix.ENOENT, unix.ENOTDIR, unix.EACCES))
	}
	for _, f := range files {
		c.in(step(f, unix.ENOENT, unix.ENOTDIR))
	}
	c.in(program.Step{Sys: program.OpFail, Mark: mark, Dst: program.None, Path: args[0], Why: "execute " + args[0], Args: []program.Arg{program.Flag(program.FmtErrno, uint64(unix.ENOENT))},
		Hint: "no directory of PATH has a program of that name"})
}

// preStart runs one command to its end, in a child with the same credentials.
func (c *compiler) preStart(n int, args []string) {
	what := fmt.Sprintf("pre-start command %d", n)
	pid := c.b.Register(what)
	status := c.b.U64s(program.FmtBuf, 0)
	fork := c.in(c.forkStep(pid, what))
	was := c.isReady
	if c.proc.ExtraFiles > 0 {
		c.in(program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "further descriptors are for the program alone",
			Args: []program.Arg{program.N(3), program.N(c.firstOwn() - 1), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}})
	}
	c.execute(args, program.Stage)
	c.isReady = was // what that process did was for itself
	c.b.Land(fork)
	c.in(program.Step{Sys: program.SysWait4, Dst: program.None, Path: args[0], Why: what, Args: []program.Arg{
		program.R(pid), status, program.N(0), program.Null()}},
		program.Step{Sys: program.OpStatus, Dst: program.None, Path: args[0], Why: what, Args: []program.Arg{status}})
}

func (c *compiler) forkStep(pid int, why string) program.Step {
	return program.Step{Sys: program.SysClone, Dst: pid, Jump: 1, When: program.InParent, Why: why, Args: []program.Arg{
		program.Flag(program.FmtCloneFlags, uint64(unix.SIGCHLD)), program.Null(), program.Null(), program.Null(), program.Null()}}
}

// init ends the parent's branch of a fork: this process becomes the
// container's init, and its child is the program. Who may trace it must find it
// as confined as everything else there.
func (c *compiler) init(fork int) {
	c.b.Land(fork)
	if c.proc.NoNewPrivileges && c.traces() {
		c.seccomp()
	}
	c.in(program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "no other descriptor is passed on",
		Args: []program.Arg{program.N(3), program.Flag(program.FmtHex, uint64(^uint32(0))), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}},
		program.Step{Sys: program.SysExecveat, Dst: program.None, Path: "init", Why: "the minimal init, from sealed memory",
			Args: []program.Arg{program.R(c.memfd), c.b.Str(""), c.b.Strs([]string{"init"}), c.b.Strs(nil), program.Flag(program.FmtExecAt, unix.AT_EMPTY_PATH)}})
}

// bear forks the process that the program is executed in. It goes on with the
// next step; for its parent see born.
func (c *compiler) bear() (fork int) {
	c.birth = c.b.Data(rights(), program.FmtBuf)
	pidfd := c.birth
	pidfd.Val += uint64(unix.CmsgLen(0))
	fork = c.in(program.Step{Sys: program.SysClone, Dst: program.None, Jump: 1, When: program.InParent,
		Why: "the process of the program, in the PID namespace that was entered", Hint: "has the last process of that namespace ended?",
		Args: []program.Arg{program.Flag(program.FmtCloneFlags, unix.CLONE_PARENT|unix.CLONE_PIDFD), program.Null(), pidfd, program.Null(), program.Null()}})
	c.session()
	return fork
}

// born is what is left for the parent: it sends the pidfd to the starter.
func (c *compiler) born(fork int) {
	c.b.Land(fork)
	data := c.b.U64s(program.FmtBuf, 0)
	vector := c.b.U64s(program.FmtBuf, 0, 1)
	c.b.Point(vector, 0, data)
	message := c.b.U64s(program.FmtBuf, 0, 0, 0, 1, 0, uint64(unix.CmsgSpace(4)), 0) // struct msghdr
	c.b.Point(message, 16, vector)
	c.b.Point(message, 32, c.birth)
	c.in(program.Step{Sys: program.SysSendmsg, Dst: program.None, Why: "hand the process over to the starter",
		Args: []program.Arg{program.R(c.slot(regHandover)), message, program.Flag(program.FmtMessage, unix.MSG_NOSIGNAL)}},
		program.Step{Sys: program.SysExitGroup, Dst: program.None, Why: "all done here", Args: []program.Arg{program.N(0)}})
}
