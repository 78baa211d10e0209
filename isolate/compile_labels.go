package isolate

import (
	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// The kernel takes the security label of the next execution from a file of
// /proc/self/attr, and only from the process itself by a descriptor that it has
// opened since its last execution (fs/proc/base.c, proc_pid_attr_write). The label
// is for the program, so it is written when nothing else will be executed before:
// by the tail's image, where there is one. A process that is forked after that has
// the label pending too: of SELinux it is part of the credentials
// (selinux_cred_prepare), of AppArmor of the task (apparmor_task_alloc).

func (p *Process) labelled() bool { return p.AppArmor != "" || p.SELinux != "" }

// makeLabelProc makes the proc file system in which labels are written: one with
// nothing but processes, for its directory stays open where processes of the
// container may get at it. It shows the processes of this one's PID namespace.
func (c *compiler) makeLabelProc() {
	if !c.proc.labelled() {
		return
	}
	steps, proc := c.newFS("proc", regLabels, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC,
		[][2]string{{"subset", "pid"}}, "for the security label: the container's /proc could be anything")
	c.labelFS = proc
	c.in(steps...)
}

// labels says which security label the next execution enters.
func (c *compiler) labels() {
	if !c.proc.labelled() {
		return
	}
	write := func(p, value, why, help string) {
		file := c.b.Register("security label")
		// The link self is the kernel's, and a filter lets everybody open files.
		c.in(program.Step{Sys: program.SysOpenat, Dst: file, Path: "/proc/" + p, Why: why, Hint: help,
			Args: []program.Arg{program.R(c.labelFS), c.b.Str(p), program.Flag(program.FmtOpenFlags, openWrite), program.N(0)}},
			program.Step{Sys: program.SysWrite, Dst: program.None, Path: "/proc/" + p, Why: why, Hint: help,
				Args: []program.Arg{program.R(file), c.b.Str(value), program.N(len(value))}},
			program.Step{Sys: program.SysClose, Dst: program.None, Path: "/proc/" + p, Why: why, Args: []program.Arg{program.R(file)}})
	}
	if l := c.proc.AppArmor; l != "" {
		write("self/attr/apparmor/exec", "exec "+l, "the AppArmor profile", "the kernel needs AppArmor, and the profile must be loaded")
	}
	if l := c.proc.SELinux; l != "" {
		write("self/attr/exec", l, "the SELinux label", "the kernel needs SELinux, and its policy must know the label")
	}
	c.in(program.Step{Sys: program.SysClose, Dst: program.None, Path: "/proc", Why: "no other process writes there", Args: []program.Arg{program.R(c.labelFS)}})
}
