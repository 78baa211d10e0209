package isolate

import (
	"cmp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// process makes this process the program's: its descriptors, limits, user and
// capabilities. For what follows see tail.
func (c *compiler) process(preStart [][]string, withInit bool) {
	c.inherited(withInit)
	c.identity(preStart, withInit)
}

// inherited sets what needs privileges outside of the container.
func (c *compiler) inherited(withInit bool) {
	c.scheduling()
	if p := c.proc.Personality; p != nil {
		c.in(program.Step{Sys: program.SysPersonality, Dst: program.None, Why: "the execution domain", Args: []program.Arg{program.Flag(program.FmtHex, *p)}})
	}
	if withInit {
		c.memfd, c.initRuns, c.initRan = c.slot(regInit), c.slot(regInitRuns), c.slot(regInitRan)
	}
	c.raiseDescriptors()
	c.limits()
}

// identity is the rest, done inside.
func (c *compiler) identity(preStart [][]string, withInit bool) {
	p := c.proc
	if !c.bornLast {
		c.session()
	}
	if p.Landlock != nil {
		c.landlockRules()
		if c.ruleset != program.None {
			c.raise(c.ruleset)
		}
	}
	if !p.InheritKeyring {
		c.in(ignoring(program.Step{Sys: program.SysKeyctl, Dst: program.None, Why: "no key of the host's sessions can be reached",
			Args: []program.Arg{program.Flag(program.FmtKeyctl, unix.KEYCTL_JOIN_SESSION_KEYRING), program.Null()}}, unix.ENOSYS))
	}
	c.lookUpProgram()
	if p.IDs != nil {
		// A caller that gives numbers expects what OCI runtimes do: who may not
		// enter the directory is in it all the same.
		c.workingDirectory("it must exist inside the root")
	}
	if c.proc.OwnOutput {
		for _, r := range []int{c.slot(regStdout), c.slot(regStderr)} {
			c.in(program.Step{Sys: program.SysFchownat, Dst: program.None, Path: c.b.P.Regs[r], Why: "it is the user's, who can open it again", Args: []program.Arg{
				program.R(r), c.b.Str(""), program.L(c.uid), program.N(-1), program.Flag(program.FmtAt, unix.AT_EMPTY_PATH)}})
		}
	}
	if c.privileged() && c.leaves() {
		c.inheritable()
	}
	c.user()
	switch {
	case c.privileged() && c.leaves():
		c.passOn()
	case c.privileged():
		c.capset(c.filterCapabilities())
	default:
		c.capabilities()
	}
	if p.IDs == nil {
		c.workingDirectory("it must exist inside the root, and the user must be able to enter it")
	}
	c.in(program.Step{Sys: program.SysUmask, Dst: program.None, Why: "the umask", Args: []program.Arg{program.Flag(program.FmtOct, uint64(p.Umask))}})
	c.lowerDescriptors()
	c.tail(preStart, withInit)
}

// session makes this process the leader of a session.
func (c *compiler) session() {
	c.in(program.Step{Sys: program.SysSetsid, Dst: program.None, Why: "a session of its own"})
	if c.proc.Terminal {
		stdin, steal := program.R(c.slot(regStdin)), 1 // which takes CAP_SYS_ADMIN, if another session has the terminal
		if c.bornLast {
			stdin, steal = program.N(0), 0
		}
		c.in(program.Step{Sys: program.SysIoctl, Dst: program.None, Path: "the terminal", Why: "standard input is the controlling terminal",
			Args: []program.Arg{stdin, program.Flag(program.FmtIoctl, unix.TIOCSCTTY), program.N(steal)}})
	}
	if c.proc.Console {
		slave := program.R(c.slot(regSlave))
		if c.bornLast {
			slave = program.N(0)
		}
		c.in(program.Step{Sys: program.SysIoctl, Dst: program.None, Path: consoleName, Why: "its terminal is the controlling terminal",
			Args: []program.Arg{slave, program.Flag(program.FmtIoctl, unix.TIOCSCTTY), program.N(0)}})
	}
}

func (c *compiler) scheduling() {
	s := &c.proc.Scheduling
	if len(s.FinalAffinity) > 0 {
		c.in(c.affinity(mask(s.FinalAffinity), "the processors that the program begins on"))
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

// firstOwn is the number of the first descriptor that is not passed on.
func (c *compiler) firstOwn() int { return 3 + c.proc.ExtraFiles }

// own are the registers of what the tail needs; they become the numbers from firstOwn on.
func (c *compiler) own() []int {
	regs := []int{c.b.P.Status, c.b.P.Gate}
	if c.bornLast {
		regs = append(regs, c.slot(regHandover))
	}
	if c.proc.labelled() {
		regs = append(regs, c.labelFS)
	}
	if c.proc.SeccompListener {
		regs = append(regs, c.slot(regListener))
	}
	if c.memfd != program.None {
		regs = append(regs, c.memfd, c.initRan, c.initRuns)
	}
	if c.spec != nil && len(c.spec.StartContainer) > 0 {
		regs = append(regs, c.slot(regHookState), c.slot(regHookOutput))
	}
	if l := c.proc.Landlock; l != nil && l.handled() != [3]uint64{} {
		regs = append(regs, c.slot(regRuleset))
	}
	return regs
}

// ifThere makes a step depend on the kernel's having what its register stands for.
func (c *compiler) ifThere(reg int, s program.Step) program.Step {
	if reg == c.ruleset {
		return ifLate(c.landlockOn, s)
	}
	return s
}

// raise moves a descriptor out of the way of the numbers that others are to have.
func (c *compiler) raise(reg int) {
	c.in(c.ifThere(reg, program.Step{Sys: program.SysFcntl, Dst: reg, Path: c.b.P.Regs[reg], Why: "out of the way of the numbers that are needed",
		Args: []program.Arg{program.R(reg), program.Flag(program.FmtFcntl, unix.F_DUPFD_CLOEXEC), program.N(c.firstOwn() + len(c.own()))}}))
}

// raiseDescriptors moves what is still needed out of the way of the numbers it is to have.
func (c *compiler) raiseDescriptors() {
	regs := append(c.passed(), c.own()...)
	if c.leaves() {
		regs = append(regs, c.slot(regTail))
	}
	for _, r := range slices.Compact(regs) {
		later := c.proc.Landlock != nil && r == c.slot(regRuleset) || c.spec == nil && c.proc.Console && r == c.slot(regSlave)
		if !later {
			c.raise(r)
		}
	}
}

func (c *compiler) lowerDescriptors() {
	regs := c.passed()
	if c.leaves() {
		regs = append(regs, c.own()...)
	}
	for i, r := range regs {
		c.in(c.ifThere(r, program.Step{Sys: program.SysDup3, Dst: program.None, Path: c.b.P.Regs[r], Why: "descriptor " + strconv.Itoa(i),
			Args: []program.Arg{program.R(r), program.N(i), program.N(0)}}))
	}
}

func (c *compiler) limits() {
	c.raiseLimits()
	for _, r := range c.proc.Rlimits {
		c.in(program.Step{Sys: program.SysPrlimit, Dst: program.None, Path: r.Name, Why: "limit " + r.Name, Hint: "a higher hard limit needs CAP_SYS_RESOURCE",
			Args: []program.Arg{program.N(0), program.Flag(program.FmtResource, uint64(r.Resource)), c.b.U64s(program.FmtRlimit, r.Soft, r.Hard), program.Null()}})
	}
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
		if c.proc.IDs != nil && len(c.proc.IDs.Groups) == 0 {
			s = c.mayKeepGroups(s)
		}
		c.in(s)
	}
	c.in(program.Step{Sys: program.SysSetresgid, Dst: program.None, Why: "the group", Args: []program.Arg{program.L(c.gid), program.L(c.gid), program.L(c.gid)}},
		program.Step{Sys: program.SysSetresuid, Dst: program.None, Why: "the user", Args: []program.Arg{program.L(c.uid), program.L(c.uid), program.L(c.uid)}})
	c.in(c.clearAmbient())
	c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(0), program.N(0), "the change of user may have made this process traceable again"))
}

// privileged tells whether the filter takes a privilege to install, which it
// does without no_new_privs.
func (c *compiler) privileged() bool { return !c.proc.NoNewPrivileges && len(c.proc.Seccomp) > 0 }

// filterCapabilities are what the program has and the one that the filter needs.
func (c *compiler) filterCapabilities() Capabilities {
	caps := c.proc.Capabilities
	caps.Effective |= 1 << unix.CAP_SYS_ADMIN
	caps.Permitted |= 1 << unix.CAP_SYS_ADMIN
	return caps
}

// inheritable and passOn have the tail's image find the capabilities that it
// needs for the filter, whoever the user is: the ambient ones survive an
// execution. What is to be inheritable must be so before it is taken out of the
// bounding set (capabilities(7)).
func (c *compiler) inheritable() {
	caps := c.filterCapabilities()
	caps.Inheritable |= caps.Permitted
	caps.Permitted |= caps.Inheritable | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP
	caps.Effective = caps.Permitted
	c.capset(caps)
}

func (c *compiler) passOn() {
	caps := c.filterCapabilities()
	caps.Inheritable |= caps.Permitted
	caps.Permitted |= caps.Inheritable
	c.capset(caps)
	c.ambient(caps.Permitted)
}

func (c *compiler) clearAmbient() program.Step {
	return c.prctl(prctlOp(unix.PR_CAP_AMBIENT), program.Flag(program.FmtAmbient, unix.PR_CAP_AMBIENT_CLEAR_ALL), program.N(0), "no ambient capability is inherited")
}

func (c *compiler) ambient(set uint64) {
	if set != 0 {
		ambient := program.Flag(program.FmtHex, set)
		c.in(program.Step{Sys: program.SysPrctl, Dst: program.None, Why: "the ambient capabilities", Loop: &ambient,
			Args: []program.Arg{prctlOp(unix.PR_CAP_AMBIENT), program.Flag(program.FmtAmbient, unix.PR_CAP_AMBIENT_RAISE), {Kind: program.Bit}, program.N(0), program.N(0)}})
	}
}

// capset leaves the process exactly these capabilities.
func (c *compiler) capset(caps Capabilities) {
	hdr := c.b.U32s(program.FmtCapHeader, unix.LINUX_CAPABILITY_VERSION_3, 0)
	data := c.b.U32s(program.FmtCapData,
		uint32(caps.Effective), uint32(caps.Permitted), uint32(caps.Inheritable),
		uint32(caps.Effective>>32), uint32(caps.Permitted>>32), uint32(caps.Inheritable>>32))
	why := "exactly these capabilities are left"
	if caps != c.proc.Capabilities {
		why = "these capabilities are left, and what the filter needs"
	}
	c.in(program.Step{Sys: program.SysCapset, Dst: program.None, Why: why, Args: []program.Arg{hdr, data}})
}

// capabilities drops the capabilities, last of all, when nothing needs them any more.
func (c *compiler) capabilities() {
	c.capset(c.proc.Capabilities)
	c.ambient(c.proc.Capabilities.Ambient)
	if c.proc.NoNewPrivileges {
		c.in(c.prctl(prctlOp(unix.PR_SET_NO_NEW_PRIVS), program.N(1), program.N(0), "set-user-ID programs and file capabilities give nothing"))
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
