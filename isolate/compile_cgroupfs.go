package isolate

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// hierarchiesData is what the program needs to know of the host's control
// groups: late values that tell the form, and the hierarchies of v1.
type hierarchiesData struct {
	pureLate    int // v2 alone
	unifiedLate int // v2 beside v1
	v1          int // list: name of the directory, and what mount(2) takes
	links       int // list: a controller's name, and the directory it is in
}

// outsideCgroupFS finds out in which form the host has its control groups.
func (c *compiler) outsideCgroupFS() {
	if c.cgroupForm != nil {
		return
	}
	d := hierarchiesData{c.b.LateValue("v2 only"), c.b.LateValue("v2 beside v1"), c.b.List("v1 hierarchy"), c.b.List("controller of several")}
	c.cgroupForm = &d
	c.out(program.Step{Sys: program.OpHierarchies, Dst: program.None, Path: "/proc/self/mountinfo", Data: d,
		Why: "which control group hierarchies there are", Hint: "mount cgroup2 on /sys/fs/cgroup on the host"})
}

// cgroupMount mounts the container's own part of the control groups. The
// kernel shows as root the group that the mounting process's cgroup namespace
// begins at; a container without such a namespace gets one for these steps.
func (c *compiler) cgroupMount(m *Mount, at int) {
	d := c.cgroupForm
	const why = "its own part of the control groups"
	attrs := mountAttrs(m) | m.Set
	host, fork := program.None, program.None
	switch {
	case c.spec.Namespaces.Cgroup.Mode != NSHost:
	case c.spec.Namespaces.User != nil:
		// From inside a user namespace there is no way back.
		fork = c.cgroupHelper(why)
	default:
		host = c.b.Register("the cgroup namespace to return to")
		s := c.openat2(program.CWD(), c.b.Str("/proc/self/ns/cgroup"), host, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		s.Path = "/proc/self/ns/cgroup"
		c.in(because(s, "the cgroup namespace stays what it is"),
			program.Step{Sys: program.SysUnshare, Dst: program.None, Args: []program.Arg{program.Flag(program.FmtCloneFlags, unix.CLONE_NEWCGROUP)}, Why: "but only its own groups are shown"})
	}
	only := func(late int, unless bool, steps ...program.Step) {
		for _, s := range steps {
			s.If, s.Unless, s.Path = late+1, unless, m.Target
			c.in(s)
		}
	}
	steps, pure := c.newFS("cgroup2", "cgroup fs", attrs, nil, why)
	only(d.pureLate, false, append(steps, because(c.attach(pure, at, m.Target), why))...)

	steps, dir := c.newFS("tmpfs", "cgroup directory", attrs&^unix.MOUNT_ATTR_RDONLY, [][2]string{{"mode", "0755"}}, "a directory for the hierarchies of v1")
	only(d.pureLate, true, steps...)
	only(d.pureLate, true, because(c.attach(dir, at, m.Target), "a directory for the hierarchies of v1"),
		program.Step{Sys: program.SysFchdir, Dst: program.None, Why: "nobody else is in it yet", Args: []program.Arg{program.R(dir)}})
	flags, _ := mountFlags(attrs)
	item, data := program.Arg{Kind: program.Item, Fmt: program.FmtStr}, program.Arg{Kind: program.ItemData, Fmt: program.FmtStr}
	c.in(program.Step{Sys: program.SysMkdirat, Dst: program.None, Path: m.Target, Each: d.v1, Why: "where a hierarchy is mounted",
		Args: []program.Arg{program.R(dir), item, program.Flag(program.FmtOct, 0o755)}},
		program.Step{Sys: program.SysMount, Dst: program.None, Path: m.Target, Each: d.v1, Why: why,
			Args: []program.Arg{c.b.Str("cgroup"), item, c.b.Str("cgroup"), program.Flag(program.FmtMount, flags), data}},
		program.Step{Sys: program.SysSymlinkat, Dst: program.None, Path: m.Target, Each: d.links, Why: "a controller by its own name", Args: []program.Arg{data, program.R(dir), item}})
	only(d.unifiedLate, false, because(c.mkdirat(dir, "unified", 0o755), "where v2 is mounted"))
	steps, unified := c.newFS("cgroup2", "cgroup fs beside v1", attrs, nil, why)
	only(d.unifiedLate, false, append(steps, because(c.attachAt(unified, program.R(dir), "unified"), why))...)
	if attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		only(d.pureLate, true, because(c.setattr(dir, false, unix.MOUNT_ATTR_RDONLY, 0, 0), "the directory is read-only"))
	}
	if host != program.None {
		c.in(program.Step{Sys: program.SysSetns, Dst: program.None, Path: "/proc/self/ns/cgroup", Why: "back in the cgroup namespace that it has",
			Args: []program.Arg{program.R(host), program.Flag(program.FmtCloneFlags, unix.CLONE_NEWCGROUP)}})
	}
	if fork != program.None {
		c.in(program.Step{Sys: program.SysExitGroup, Dst: program.None, Why: "that is all", Args: []program.Arg{program.N(0)}})
		c.b.Land(fork)
		status := c.b.U64s(program.FmtBuf, 0)
		c.in(program.Step{Sys: program.SysWait4, Dst: program.None, Path: m.Target, Why: why, Args: []program.Arg{program.R(c.b.P.Inside[fork].Dst), status, program.N(0), program.Null()}},
			program.Step{Sys: program.OpStatus, Dst: program.None, Path: m.Target, Why: why, Args: []program.Arg{status}})
	}
}

// cgroupHelper forks a process that makes the steps up to where its fork lands
// in a cgroup namespace of its own, and in this process' mount namespace.
func (c *compiler) cgroupHelper(what string) (fork int) {
	step := c.forkStep(c.b.Register("helper"), what)
	step.Args[0] = program.Flag(program.FmtCloneFlags, uint64(unix.CLONE_NEWCGROUP|unix.SIGCHLD))
	fork = c.in(step)
	c.in(program.Step{Sys: program.OpHelper, Dst: program.None, Why: "it ends at once where a step fails"},
		c.prctl(prctlOp(unix.PR_SET_PDEATHSIG), program.N(int(unix.SIGKILL)), program.N(0), "it ends with the start that it belongs to"))
	return fork
}

// hierarchies looks at the host's mounts of control groups.
func (pr *Prepared) hierarchies(d hierarchiesData) error {
	mounts := pr.cgroupMounts
	if len(mounts) == 0 {
		infos, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
		if err != nil {
			return err
		}
		for _, m := range infos {
			mounts = append(mounts, CgroupMount{m.FSType == "cgroup2", m.Mountpoint, strings.Split(m.VFSOptions, ",")})
		}
	}
	unified := false
	var v1 []listItem
	for _, m := range mounts {
		if m.Unified {
			unified = true
			continue
		}
		var which []string
		for _, o := range m.Options {
			if strings.HasPrefix(o, "name=") || slices.Contains(v1Controllers, o) {
				which = append(which, o)
			}
		}
		data, name := strings.Join(which, ","), path.Base(m.Dir)
		if data == "" || slices.ContainsFunc(v1, func(i listItem) bool { return i.data == data || i.path == name }) {
			continue
		}
		v1 = append(v1, listItem{path: name, fd: -1, data: data})
	}
	switch {
	case len(v1) == 0 && !unified:
		return errors.New("no control group file system is mounted on the host")
	case len(v1) == 0:
		pr.late[d.pureLate].val = 1
		return nil
	case unified:
		pr.late[d.unifiedLate].val = 1
	}
	slices.SortFunc(v1, func(a, b listItem) int { return strings.Compare(a.path, b.path) })
	pr.lists[d.v1-1] = v1
	var links []listItem
	for _, h := range v1 {
		if names := strings.Split(h.data, ","); len(names) > 1 {
			for _, n := range names {
				if !slices.ContainsFunc(v1, func(i listItem) bool { return i.path == n }) && !strings.Contains(n, "=") {
					links = append(links, listItem{path: n, fd: -1, data: h.path})
				}
			}
		}
	}
	pr.lists[d.links-1] = links
	if slices.ContainsFunc(v1, func(i listItem) bool { return i.path == "unified" }) {
		return fmt.Errorf("a v1 hierarchy of the host is named %q, which is the place of v2", "unified")
	}
	return nil
}

// v1Controllers are the names that cgroup v1 takes as controllers; its other options are no identity of a hierarchy.
var v1Controllers = []string{"blkio", "cpu", "cpuacct", "cpuset", "debug", "devices", "dmem", "freezer", "hugetlb", "memory", "misc", "net_cls", "net_prio", "perf_event", "pids", "rdma"}
