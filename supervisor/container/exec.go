package container

import "berth/isolate"

// Exec gives a further process in the container c of a running unit: p's
// arguments, user and directory, and everything else as the unit's own process
// has it, so that an exec is never more powerful than the service.
func Exec(c *Container, p isolate.Process) *isolate.ExecSpec {
	base := c.Spec.Process
	base.Args, base.Terminal, base.ExtraFiles = p.Args, p.Terminal, 0
	if p.User != "" {
		base.User, base.Group, base.Groups = p.User, "", nil
	}
	if p.Dir != "" {
		base.Dir = p.Dir
	}
	base.Env = append(append([]string{}, base.Env...), p.Env...)
	n := &c.Spec.Namespaces
	entered := func(ns isolate.Namespace) bool { return ns.Mode != isolate.NSHost }
	return &isolate.ExecSpec{
		Name: c.Spec.Name, Process: base, Cgroup: c.Spec.Cgroup,
		PID: entered(n.PID), Mount: true, UTS: entered(n.UTS), IPC: entered(n.IPC),
		CgroupNS: entered(n.Cgroup), Network: entered(n.Network), User: n.User != nil, Time: n.Time != nil,
	}
}
