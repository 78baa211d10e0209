package isolate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// process makes this process the program's: its descriptors, limits, user and
// capabilities. Then it waits at the gate; only after that something foreign is executed.
func (c *compiler) process(preStart [][]string, withInit bool) {
	p := c.proc
	c.in(program.Step{Sys: program.SysSetsid, Dst: program.None, Why: "a session of its own"})
	if p.Terminal {
		c.in(program.Step{Sys: program.SysIoctl, Dst: program.None, Path: "the terminal", Why: "standard input is the controlling terminal",
			Args: []program.Arg{program.R(c.slot(regStdin)), program.Flag(program.FmtIoctl, unix.TIOCSCTTY), program.N(1)}})
	}
	if p.Console {
		c.in(program.Step{Sys: program.SysIoctl, Dst: program.None, Path: consoleName, Why: "its terminal is the controlling terminal",
			Args: []program.Arg{program.R(c.slot(regSlave)), program.Flag(program.FmtIoctl, unix.TIOCSCTTY), program.N(0)}})
	}
	if !p.InheritKeyring {
		c.in(ignoring(program.Step{Sys: program.SysKeyctl, Dst: program.None, Why: "no key of the host's sessions can be reached",
			Args: []program.Arg{program.Flag(program.FmtKeyctl, unix.KEYCTL_JOIN_SESSION_KEYRING), program.Null()}}, unix.ENOSYS))
	}
	c.scheduling()
	if p.Personality != nil {
		c.in(program.Step{Sys: program.SysPersonality, Dst: program.None, Why: "the execution domain", Args: []program.Arg{program.Flag(program.FmtHex, *p.Personality)}})
	}
	if withInit {
		c.memfd, c.initRuns, c.initRan = c.slot(regInit), c.slot(regInitRuns), c.slot(regInitRan)
	}
	c.landlockRules()
	c.raiseDescriptors()
	c.limits()
	c.labels()
	c.lookUpProgram()
	if p.IDs != nil {
		// A caller that gives numbers expects what OCI runtimes do: who may not
		// enter the directory is in it all the same.
		c.workingDirectory("it must exist inside the root")
	}
	c.user()
	// Without no_new_privs a filter needs CAP_SYS_ADMIN.
	privileged := !p.NoNewPrivileges && len(p.Seccomp) > 0
	if privileged {
		c.capset(unix.CAP_SYS_ADMIN)
	} else {
		c.capabilities()
	}
	if p.IDs == nil {
		c.workingDirectory("it must exist inside the root, and the user must be able to enter it")
	}
	c.in(program.Step{Sys: program.SysUmask, Dst: program.None, Why: "the umask", Args: []program.Arg{program.Flag(program.FmtOct, uint64(p.Umask))}})
	c.lowerDescriptors()
	if privileged {
		// The filter must allow what is left to do before the program is
		// executed, and nobody may be there yet whom it asks: so that is little.
		c.last(3 + p.ExtraFiles)
		c.seccomp()
		c.capabilities()
	}
	fork := 0
	if withInit {
		// Before the pre-start commands: the init expects the program to be PID 2.
		fork = c.in(c.forkStep(c.b.Register("program"), "the program runs below a minimal init"))
		c.in(program.Step{Sys: program.SysClose, Dst: program.None, Why: "only the init has this end now", Args: []program.Arg{program.R(c.initRuns)}},
			program.Step{Sys: program.SysRead, Dst: program.None, Check: true, Why: "wait until the init has been executed: that closes the other end",
				Args: []program.Arg{program.R(c.initRan), c.b.U64s(program.FmtBuf, 0), program.N(1)}})
	}
	if p.NoNewPrivileges && p.filteredEarly() {
		// Whoever lets this pass the gate has the listener by then. What can be
		// done before the filter is, since the filter may hand it to the listener.
		c.last(3 + p.ExtraFiles)
		c.landlock()
		c.seccomp()
	}
	c.in(program.Step{Sys: program.OpGate, Mark: program.Stage, Dst: program.None, Why: "from here on foreign code runs: wait for the word of the one who starts this"})

	for i, args := range preStart {
		c.preStart(i+1, args)
	}
	c.startContainer()
	c.execute(p.Args, 3+p.ExtraFiles, program.Final)
	if withInit {
		c.init(fork)
	}
}

func (c *compiler) scheduling() {
	s := &c.proc.Scheduling
	if len(s.FinalAffinity) > 0 {
		c.in(c.affinity(s.FinalAffinity, "the processors that the program begins on"))
	}
	if s.Nice != nil {
		c.settle(program.Step{Sys: program.SysSetpriority, Dst: program.None, Why: "the nice value", Args: []program.Arg{program.N(unix.PRIO_PROCESS), program.N(0), program.N(*s.Nice)},
			Hint: "a lower nice value needs CAP_SYS_NICE"}, 1)
	}
	if s.IOPriority != nil {
		c.settle(program.Step{Sys: program.SysIoprioSet, Dst: program.None, Why: "the I/O priority",
			Args: []program.Arg{program.N(1), program.N(0), program.Flag(program.FmtHex, uint64(*s.IOPriority))}}, 1)
	}
	switch {
	case s.deadlines():
		c.settle(program.Step{Sys: program.SysSchedSetattr, Dst: program.None, Why: "the scheduling policy and its parameters", Hint: "real-time and deadline policies need CAP_SYS_NICE, and processors that have the time to give",
			Args: []program.Arg{program.N(0), c.b.Data(s.attr(), program.FmtBuf), program.N(0)}}, 0)
	case s.Policy != nil:
		c.settle(program.Step{Sys: program.SysSchedSetscheduler, Dst: program.None, Why: "the scheduling policy", Hint: "real-time policies need CAP_SYS_NICE, and on v1 a group with real-time budget",
			Args: []program.Arg{program.N(0), program.N(*s.Policy), c.b.U32s(program.FmtBuf, uint32(s.Priority))}}, 0)
	}
	if s.Memory != nil {
		c.in(c.memoryPolicy(s.Memory))
	}
	if s.OOMScoreAdjust != nil && !c.oomScore(*s.OOMScoreAdjust) {
		c.writeProc("self/oom_score_adj", strconv.Itoa(*s.OOMScoreAdjust), "the OOM score adjustment", "a lower score needs CAP_SYS_RESOURCE")
	}
}

// passed are the registers of the descriptors that become 0, 1, 2, …
func (c *compiler) passed() []int {
	regs := []int{c.slot(regStdin), c.slot(regStdout), c.slot(regStderr)}
	if c.proc.Console {
		slave := c.slot(regSlave)
		regs = []int{slave, slave, slave}
	}
	for i := range c.proc.ExtraFiles {
		regs = append(regs, c.slot(regExtra(i)))
	}
	return regs
}

// raiseDescriptors moves what is still needed out of the way of the numbers it is to have.
func (c *compiler) raiseDescriptors() {
	regs := append(c.passed(), c.b.P.Status, c.b.P.Gate)
	if c.proc.SeccompListener {
		regs = append(regs, c.slot(regListener))
	}
	if c.memfd != program.None {
		regs = append(regs, c.memfd, c.initRan)
	}
	if c.spec != nil && len(c.spec.StartContainer) > 0 {
		regs = append(regs, c.slot(regHookState), c.slot(regHookOutput))
	}
	base := 3 + c.proc.ExtraFiles
	raise := func(r int) program.Step {
		return program.Step{Sys: program.SysFcntl, Dst: r, Path: c.b.P.Regs[r], Why: "out of the way of the numbers that are passed on",
			Args: []program.Arg{program.R(r), program.Flag(program.FmtFcntl, unix.F_DUPFD_CLOEXEC), program.N(base)}}
	}
	for _, r := range slices.Compact(regs) {
		c.in(raise(r))
	}
	if c.ruleset != program.None {
		c.in(ifLate(c.landlockOn, raise(c.ruleset)))
	}
	if c.memfd != program.None {
		// This one must not stay open under its old number too: its closing is what is waited for.
		old := c.initRuns
		c.initRuns = c.b.Register("init runs, moved")
		c.in(program.Step{Sys: program.SysFcntl, Dst: c.initRuns, Path: regInitRuns, Why: "out of the way of the numbers that are passed on",
			Args: []program.Arg{program.R(old), program.Flag(program.FmtFcntl, unix.F_DUPFD_CLOEXEC), program.N(base)}},
			program.Step{Sys: program.SysClose, Dst: program.None, Path: regInitRuns, Why: "only one number of it is left", Args: []program.Arg{program.R(old)}})
	}
}

func (c *compiler) lowerDescriptors() {
	for i, r := range c.passed() {
		c.in(program.Step{Sys: program.SysDup3, Dst: program.None, Path: c.b.P.Regs[r], Why: "descriptor " + strconv.Itoa(i),
			Args: []program.Arg{program.R(r), program.N(i), program.N(0)}})
	}
}

func (c *compiler) limits() {
	c.raiseLimits()
	for _, r := range c.proc.Rlimits {
		c.in(program.Step{Sys: program.SysPrlimit, Dst: program.None, Path: r.Name, Why: "limit " + r.Name, Hint: "a higher hard limit needs CAP_SYS_RESOURCE",
			Args: []program.Arg{program.N(0), program.Flag(program.FmtResource, uint64(r.Resource)), c.b.U64s(program.FmtRlimit, r.Soft, r.Hard), program.Null()}})
	}
}

// workingDirectory enters it.
func (c *compiler) workingDirectory(advice string) {
	dir := cmp.Or(c.proc.Dir, "/")
	cwd := c.b.Register("working directory")
	c.in(hint(because(c.open(c.rootFD, dir, cwd, pathDir, inRoot), "the working directory"), advice),
		program.Step{Sys: program.SysFchdir, Dst: program.None, Path: dir, Why: "the working directory", Args: []program.Arg{program.R(cwd)},
			Hint: "the user must be able to enter it"})
}

// user drops the bounding set, while CAP_SETPCAP is there, and changes the user.
func (c *compiler) user() {
	drop := program.L(c.drop)
	c.in(program.Step{Sys: program.SysPrctl, Dst: program.None, Why: "no program executed can gain these", Loop: &drop,
		Args: []program.Arg{prctlOp(unix.PR_CAPBSET_DROP), {Kind: program.Bit}, program.N(0), program.N(0), program.N(0)}})
	c.in(c.prctl(prctlOp(unix.PR_SET_KEEPCAPS), program.N(1), program.N(0), "the change of user keeps the capabilities for the next steps"))
	if !c.noSetgroups() {
		s := program.Step{Sys: program.SysSetgroups, Dst: program.None, Why: "the supplementary groups", Args: []program.Arg{program.L(c.groupCount), program.L(c.groups)}}
		if c.denied != program.None {
			s.If, s.Unless = c.denied+1, true
		}
		c.in(s)
	}
	c.in(program.Step{Sys: program.SysSetresgid, Dst: program.None, Why: "the group", Args: []program.Arg{program.L(c.gid), program.L(c.gid), program.L(c.gid)}},
		program.Step{Sys: program.SysSetresuid, Dst: program.None, Why: "the user", Args: []program.Arg{program.L(c.uid), program.L(c.uid), program.L(c.uid)}})
	clear := c.prctl(prctlOp(unix.PR_CAP_AMBIENT), program.Flag(program.FmtAmbient, unix.PR_CAP_AMBIENT_CLEAR_ALL), program.N(0), "no ambient capability is inherited")
	c.in(clear)
	c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(0), program.N(0), "the change of user may have made this process traceable again"))
}

// capset leaves the process its capabilities and one more, which it still needs; -1: none.
func (c *compiler) capset(more int) {
	caps, why := c.proc.Capabilities, "exactly these capabilities are left"
	if more >= 0 {
		caps.Effective |= 1 << more
		caps.Permitted |= 1 << more
		why = "these capabilities are left, and the one that the filter needs"
	}
	hdr := c.b.U32s(program.FmtCapHeader, unix.LINUX_CAPABILITY_VERSION_3, 0)
	data := c.b.U32s(program.FmtCapData,
		uint32(caps.Effective), uint32(caps.Permitted), uint32(caps.Inheritable),
		uint32(caps.Effective>>32), uint32(caps.Permitted>>32), uint32(caps.Inheritable>>32))
	c.in(program.Step{Sys: program.SysCapset, Dst: program.None, Why: why, Args: []program.Arg{hdr, data}})
}

// capabilities drops the capabilities, last of all, when nothing needs them any more.
func (c *compiler) capabilities() {
	c.capset(-1)
	if caps := c.proc.Capabilities; caps.Ambient != 0 {
		ambient := program.Flag(program.FmtHex, caps.Ambient)
		c.in(program.Step{Sys: program.SysPrctl, Dst: program.None, Why: "the ambient capabilities", Loop: &ambient,
			Args: []program.Arg{prctlOp(unix.PR_CAP_AMBIENT), program.Flag(program.FmtAmbient, unix.PR_CAP_AMBIENT_RAISE), {Kind: program.Bit}, program.N(0), program.N(0)}})
	}
	if c.proc.NoNewPrivileges {
		c.in(c.prctl(prctlOp(unix.PR_SET_NO_NEW_PRIVS), program.N(1), program.N(0), "set-user-ID programs and file capabilities give nothing"))
	}
}

// last is what is left to do before a program is executed.
func (c *compiler) last(keep int) {
	c.in(program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "no other descriptor is passed on",
		Args: []program.Arg{program.N(keep), program.Flag(program.FmtHex, uint64(^uint32(0))), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}})
	none := c.b.U64s(program.FmtSignals, 0)
	c.in(program.Step{Sys: program.SysRtSigprocmask, Dst: program.None, Why: "signals are delivered again",
		Args: []program.Arg{program.Flag(program.FmtSigHow, unix.SIG_SETMASK), none, program.Null(), program.N(8)}})
}

func executeHint(p *Process) string {
	h := "it must exist and be executable inside the root, its interpreter too"
	if p.Landlock != nil && len(p.Landlock.Rules) > 0 {
		h += "; the Landlock rules must let both be read and executed"
	}
	return h
}

// execute is the end of a branch: the filter, then the program.
func (c *compiler) execute(args []string, keep int, mark program.Mark) {
	early := c.proc.filteredEarly()
	if !early || mark != program.Final {
		c.last(keep)
	}
	if !early {
		c.landlock()
		c.seccomp()
	}
	argv := c.b.Strs(args)
	env := program.Arg{Kind: program.Late, Fmt: program.FmtStrs, Val: uint64(c.env)}
	files := c.candidates(args[0])
	for i, f := range files {
		s := program.Step{Sys: program.SysExecve, Mark: mark, Dst: program.None, Path: f, Why: "execute " + args[0],
			Hint: executeHint(c.proc),
			Args: []program.Arg{c.b.Str(f), argv, env}}
		if i < len(files)-1 || len(files) > 1 {
			s.Ignore = []unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES}
		}
		c.in(s)
	}
	if len(files) > 1 {
		c.in(program.Step{Sys: program.OpFail, Dst: program.None, Path: args[0], Why: "execute " + args[0], Args: []program.Arg{program.Flag(program.FmtErrno, uint64(unix.ENOENT))},
			Hint: "no directory of PATH has a program of that name that the user may execute"})
	}
}

// preStart runs one command to its end, in a child with the same credentials.
func (c *compiler) preStart(n int, args []string) {
	what := fmt.Sprintf("pre-start command %d", n)
	pid := c.b.Register(what)
	status := c.b.U64s(program.FmtBuf, 0)
	fork := c.in(c.forkStep(pid, what))
	c.execute(args, 3, program.Stage)
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
// container's init, and its child is the program.
func (c *compiler) init(fork int) {
	c.b.Land(fork)
	c.in(program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "no other descriptor is passed on",
		Args: []program.Arg{program.N(3), program.Flag(program.FmtHex, uint64(^uint32(0))), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}},
		program.Step{Sys: program.SysExecveat, Dst: program.None, Path: "init", Why: "the minimal init, from sealed memory",
			Args: []program.Arg{program.R(c.memfd), c.b.Str(""), c.b.Strs([]string{"init"}), c.b.Strs(nil), program.Flag(program.FmtExecAt, unix.AT_EMPTY_PATH)}})
}
