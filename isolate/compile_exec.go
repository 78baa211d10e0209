package isolate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// TargetProcess is the name, in Files.Processes, of the pidfd of the process
// whose container an exec enters.
const TargetProcess = "target"

// CompileExec turns an ExecSpec into the Program that starts a further process
// in a running container. Like Compile it looks at nothing but its argument.
func CompileExec(spec *ExecSpec) (*program.Program, error) {
	if spec == nil {
		return nil, fmt.Errorf("cannot compile an exec: there is no spec")
	}
	if err := spec.Process.validate(); err != nil {
		return nil, fmt.Errorf("cannot compile an exec in container %q: %w", spec.Name, err)
	}
	if spec.PID && spec.Process.Scheduling.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0 {
		return nil, fmt.Errorf("cannot compile an exec in container %q: a scheduling policy with SCHED_FLAG_RESET_ON_FORK would end with the fork by which a process gets into a PID namespace", spec.Name)
	}
	c := newCompiler(spec.Name, &spec.Process)
	target := c.slot(regProcess(TargetProcess))
	if spec.User {
		c.userOf, c.denied = target, c.b.LateValue("setgroups is denied")
	}
	c.outsideCaps()
	root := program.None
	if spec.Mount {
		root = c.b.Register("target's root")
		c.out(program.Step{Sys: program.OpTargetRoot, Dst: root, Why: "the container's users are in its own root",
			Args: []program.Arg{program.R(target)}, Data: targetRootData{target, root}, Hint: "is the container still running?"})
	}
	p := &spec.Process
	c.out(program.Step{Sys: program.OpLookup, Dst: program.None, Path: "/etc/passwd",
		Why:  "the user, and its groups and home",
		Hint: "use a numeric id, or add the name to /etc/passwd or /etc/group of the root file system",
		Args: []program.Arg{c.b.Str(p.User), c.b.Str(p.Group)},
		Data: c.lookupProcess(root)})

	c.begin()
	c.initialAffinity(spec.Cgroup)
	c.joinGroups(spec.Cgroup)
	var flags uint64
	for _, ns := range []struct {
		on   bool
		flag uint64
	}{{spec.User, unix.CLONE_NEWUSER}, {spec.Time, unix.CLONE_NEWTIME}, {spec.Mount, unix.CLONE_NEWNS}, {spec.UTS, unix.CLONE_NEWUTS}, {spec.IPC, unix.CLONE_NEWIPC},
		{spec.Network, unix.CLONE_NEWNET}, {spec.CgroupNS, unix.CLONE_NEWCGROUP}} {
		if ns.on {
			flags |= ns.flag
		}
	}
	if spec.PID {
		flags |= unix.CLONE_NEWPID
		c.bornLast = true // only children are members
	}
	// In a user namespace this process has no privilege that these need.
	c.makeLabelProc()
	c.inherited(false)
	if flags != 0 {
		c.in(program.Step{Sys: program.SysSetns, Mark: program.Stage, Dst: program.None, Path: spec.Name, Why: "enter the container", Hint: "is it still running?",
			Args: []program.Arg{program.R(target), program.Flag(program.FmtCloneFlags, flags)}})
	}
	c.rootFD = c.b.Register("root")
	c.in(because(c.cwdDir("/", c.rootFD), "the container's root"))
	c.stage(func() {
		c.execConsole(spec.User)
		c.identity(nil, false)
	})
	return c.b.P, nil
}
