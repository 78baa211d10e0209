package isolate

import (
	"sync"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// joinedReg is the register of what a namespace to join is known by.
func (c *compiler) joinedReg(ns namedNS) int {
	if ns.Process != "" {
		return c.slot(regProcess(ns.Process))
	}
	return c.slot(regNamespace(ns.name))
}

// showPID gives the steps that make a procfs show a PID namespace to be joined
// instead of that of its maker (Linux 6.17; pidfs's ioctl is from 6.11).
func (c *compiler) showPID(ns namedNS, ctx int) []program.Step {
	const why, help = "whose processes it shows", "joining a PID namespace with a user namespace of its own needs Linux 6.17"
	reg := c.joinedReg(ns)
	var steps []program.Step
	if ns.Process != "" {
		of := reg
		reg = c.slot("pid namespace of " + ns.Process)
		steps = append(steps, program.Step{Sys: program.SysIoctl, Dst: reg, Path: ns.Process, Why: why, Hint: help,
			Args: []program.Arg{program.R(of), program.Flag(program.FmtIoctl, program.PidfdGetPIDNamespace), program.N(0)}})
	}
	return append(steps, program.Step{Sys: program.SysFsconfig, Dst: program.None, Path: "pidns", Why: why, Hint: help, Args: []program.Arg{
		program.R(ctx), program.Flag(program.FmtFsconfig, unix.FSCONFIG_SET_FD), c.b.Str("pidns"), program.Null(), program.R(reg)}})
}

// handedOn is the number under which a helper leaves the mount it has made: its
// table of descriptors is this process's.
const handedOn = 900

// joinedProc makes the procfs of a PID namespace that is joined, which this
// process is not in. steps make one of its maker's namespace.
//
// A kernel that knows no way to say which one has to be asked by a process in
// it. That helper is forked there with the privileges of this one and can be
// seen, so this is not for a namespace whose processes keep CAP_SYS_PTRACE; see
// ShowsPIDNamespaces.
func (c *compiler) joinedProc(steps []program.Step) {
	ctx, mount := steps[0].Dst, steps[len(steps)-1].Dst
	c.in(steps[0])
	var unknown []int
	for _, ns := range c.spec.Namespaces.list() {
		if ns.name != "pid" {
			continue
		}
		for _, s := range c.showPID(ns, ctx) {
			s.Hint, s.Ignore, s.When = "", []unix.Errno{unix.EINVAL, unix.ENOTTY}, program.OnIgnored
			unknown = append(unknown, c.in(s))
		}
	}
	for _, s := range steps[1 : len(steps)-1] {
		c.in(s)
	}
	last := steps[len(steps)-1]
	last.Jump = 1
	made := c.in(last)
	for _, at := range unknown {
		c.b.Land(at)
	}
	helper, status := c.b.Register("helper"), c.b.U64s(program.FmtBuf, 0)
	step := c.forkStep(helper, "this kernel shows the PID namespace of the one who asks")
	step.Args[0].Val |= unix.CLONE_FILES
	fork := c.in(step)
	c.in(program.Step{Sys: program.OpHelper, Dst: program.None, Why: "it ends at once, whatever happens"})
	c.in(steps...)
	c.in(program.Step{Sys: program.SysDup3, Dst: program.None, Why: "where it is found", Args: []program.Arg{program.R(mount), program.N(handedOn), program.Flag(program.FmtOpenFlags, unix.O_CLOEXEC)}},
		program.Step{Sys: program.SysExitGroup, Dst: program.None, Why: "all done here", Args: []program.Arg{program.N(0)}})
	c.b.Land(fork)
	c.in(program.Step{Sys: program.SysWait4, Dst: program.None, Why: "until it is made", Args: []program.Arg{program.R(helper), status, program.N(0), program.Null()}},
		program.Step{Sys: program.OpStatus, Dst: program.None, Why: "until it is made", Args: []program.Arg{status}},
		program.Step{Sys: program.SysFcntl, Dst: mount, Path: "proc", Why: "the one it has made", Args: []program.Arg{program.N(handedOn), program.Flag(program.FmtFcntl, unix.F_DUPFD_CLOEXEC), program.N(0)}},
		program.Step{Sys: program.SysClose, Dst: program.None, Path: "proc", Why: "under one number", Args: []program.Arg{program.N(handedOn)}})
	c.b.Land(made)
}

// ShowsPIDNamespaces tells whether a /proc can be made for a PID namespace that
// its maker is not in (Linux 6.17). Where not, whoever is in a PID namespace that
// Compile is to join sees, for a moment, a process with this one's privileges.
var ShowsPIDNamespaces = sync.OnceValue(func() bool {
	self, err := unix.Open("/proc/self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(self)
	ctx, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(ctx)
	return unix.FsconfigSetFd(ctx, "pidns", self) == nil
})
