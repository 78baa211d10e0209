package isolate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// names sets the names of a bare container, and its loopback interface.
func (c *compiler) names() {
	if name := c.spec.Hostname; name != "" {
		c.in(program.Step{Sys: program.SysSethostname, Dst: program.None, Path: name, Why: "the hostname",
			Args: []program.Arg{c.b.Str(name), program.N(len(name))}})
	}
	c.domainname()
	c.loopback()
}

func (c *compiler) domainname() {
	if name := c.spec.Domainname; name != "" {
		c.in(program.Step{Sys: program.SysSetdomainname, Dst: program.None, Path: name, Why: "the NIS domain name",
			Args: []program.Arg{c.b.Str(name), program.N(len(name))}})
	}
}

// loopback brings the loopback interface of a new network namespace up.
func (c *compiler) loopback() {
	if c.spec.Namespaces.Network.Mode != NSNew {
		return
	}
	sock := c.b.Register("socket")
	c.in(program.Step{Sys: program.SysSocket, Dst: sock, Ahead: true, Why: "for setting up the loopback interface", Args: []program.Arg{
		program.Flag(program.FmtSocket, unix.AF_INET), program.Flag(program.FmtSocketType, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.N(0)}},
		program.Step{Sys: program.SysIoctl, Dst: program.None, Path: "lo", Ahead: true, Why: "the loopback interface is up", Args: []program.Arg{
			program.R(sock), program.Flag(program.FmtIoctl, unix.SIOCSIFFLAGS), c.b.Data(program.LoopbackUp(), program.FmtIfreq)}})
}

// sysctls writes what is set below /proc/sys.
func (c *compiler) sysctls() {
	for _, key := range slices.Sorted(maps.Keys(c.spec.Sysctl)) {
		c.writeProc("sys/"+SysctlPath(key), c.spec.Sysctl[key], "sysctl "+key, "")
	}
}

// makeProc makes a proc file system that is attached nowhere, if there is none
// yet: what the container shows as /proc could be anything.
func (c *compiler) makeProc() {
	if c.procFS != program.None {
		return
	}
	steps, proc := c.newFS("proc", "own proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, nil, "for settings: the container's /proc could be anything")
	c.procFS = proc
	c.in(steps...)
}

// writeProc writes to a file of the proc file system that this program has made.
func (c *compiler) writeProc(p, value, why, help string) {
	c.makeProc()
	file := c.b.Register("setting")
	open := hint(because(c.open(c.procFS, p, file, openWrite, beneath), why), help)
	open.Path = "/proc/" + p
	if c.newUser() && strings.HasPrefix(p, "self/") {
		// The files of a process that is not dumpable are root's outside. While it is
		// dumpable here nobody else is in its user namespace who could trace it.
		c.in(c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(1), program.N(0), "its own files in /proc are its own"), open,
			c.prctl(prctlOp(unix.PR_SET_DUMPABLE), program.N(0), program.N(0), "nobody may trace this process any more"))
	} else {
		c.in(open)
	}
	c.in(program.Step{Sys: program.SysWrite, Dst: program.None, Path: "/proc/" + p, Why: why, Check: true, Want: uint64(len(value)), Hint: help,
		Args: []program.Arg{program.R(file), c.b.Str(value), program.N(len(value))}})
}

// timeNamespace makes a time namespace and moves this process into it: unshare
// only names it for children, so that its clocks can be set while nobody is in
// it (time_namespaces(7)). Before about Linux 6.1 execve would not have entered it.
func (c *compiler) timeNamespace() {
	t := c.spec.Namespaces.Time
	if t == nil || t.Join != nil {
		return
	}
	c.in(program.Step{Sys: program.SysUnshare, Dst: program.None, Args: []program.Arg{program.Flag(program.FmtCloneFlags, unix.CLONE_NEWTIME)},
		Why: "a time namespace", Hint: "the kernel needs CONFIG_TIME_NS"})
	offsets := ""
	for _, o := range []struct {
		clock string
		by    time.Duration
	}{{"monotonic", t.Monotonic}, {"boottime", t.Boottime}} {
		if o.by != 0 {
			sec := o.by / time.Second
			nsec := o.by % time.Second
			if nsec < 0 {
				sec, nsec = sec-1, nsec+time.Second
			}
			offsets += fmt.Sprintf("%s %d %d\n", o.clock, sec, int64(nsec))
		}
	}
	if offsets != "" {
		c.writeProc("self/timens_offsets", offsets, "its clocks", "this needs CAP_SYS_TIME, and clocks that do not become negative")
	}
	ns := c.b.Register("time namespace")
	s := c.openat2(program.R(c.procFS), c.b.Str("self/ns/time_for_children"), ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	s.Path = "/proc/self/ns/time_for_children"
	c.in(because(s, "the time namespace"), program.Step{Sys: program.SysSetns, Dst: program.None, Path: s.Path, Why: "this process is in it too",
		Args: []program.Arg{program.R(ns), program.Flag(program.FmtCloneFlags, unix.CLONE_NEWTIME)}})
}
