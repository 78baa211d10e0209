package isolate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// The access rights of landlock(7) that a LandlockRule stands for. All of them
// are handled where there are rules, so what no rule allows is refused.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	landlockExecute = unix.LANDLOCK_ACCESS_FS_EXECUTE
	// landlockFiles are those that make sense for what is no directory.
	landlockFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// maxLandlock bounds the rules and ports.
const maxLandlock = 200

func (p *Process) validateLandlock() error {
	l := p.Landlock
	switch {
	case l == nil:
		return nil
	case !p.NoNewPrivileges:
		return errors.New("landlock needs no-new-privileges")
	case len(l.Rules)+len(l.TCPBind)+len(l.TCPConnect) > maxLandlock:
		return fmt.Errorf("more than %d landlock rules and ports", maxLandlock)
	}
	for _, r := range l.Rules {
		if err := checkTarget(r.Path); err != nil {
			return fmt.Errorf("landlock rule: %w", err)
		}
		if !r.Read && !r.Write && !r.Execute {
			return fmt.Errorf("landlock rule for %s: it allows nothing", r.Path)
		}
	}
	return nil
}

// access are the rights of a rule.
func (r *LandlockRule) access() (rights uint64) {
	if r.Read {
		rights |= landlockRead
	}
	if r.Write {
		rights |= landlockWrite
	}
	if r.Execute {
		rights |= landlockExecute
	}
	return rights
}

// handled are all rights that are refused where no rule allows them, in the
// order of struct landlock_ruleset_attr.
func (l *Landlock) handled() (attr [3]uint64) {
	if len(l.Rules) > 0 {
		attr[0] = landlockRead | landlockWrite | landlockExecute
	}
	if l.TCPBind != nil {
		attr[1] |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	if l.TCPConnect != nil {
		attr[1] |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if l.ScopeAbstractUnix {
		attr[2] |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	if l.ScopeSignals {
		attr[2] |= unix.LANDLOCK_SCOPE_SIGNAL
	}
	return attr
}

// landlockData is what is cut to the kernel's Landlock when a start is prepared:
// places in the arena that begin with rights.
type landlockData struct {
	attr            uint64   // struct landlock_ruleset_attr
	paths           []uint64 // struct landlock_path_beneath_attr
	bestEffort      bool
	onLate, netLate int // 1 if anything, or anything of the network, is left
}

// landlockRules makes the set of rules while everything can still be opened.
func (c *compiler) landlockRules() {
	l := c.proc.Landlock
	if l == nil || l.handled() == [3]uint64{} {
		return
	}
	handled := l.handled()
	attr := c.b.U64s(program.FmtLandlock, handled[:]...)
	data := landlockData{attr: attr.Val, bestEffort: l.BestEffort, onLate: program.None, netLate: program.None}
	if l.BestEffort {
		c.landlockOn, c.landlockNet = c.b.LateValue("Landlock can do it"), c.b.LateValue("Landlock knows ports")
		data.onLate, data.netLate = c.landlockOn, c.landlockNet
	}
	c.ruleset = c.slot(regRuleset)
	c.in(ifLate(c.landlockOn, program.Step{Sys: program.SysLandlockCreateRuleset, Dst: c.ruleset, Why: "what Landlock refuses where no rule allows it",
		Args: []program.Arg{attr, program.N(8 * len(handled)), program.N(0)}}))
	for i := range l.Rules {
		data.paths = append(data.paths, c.landlockPath(&l.Rules[i])...)
	}
	for _, list := range []struct {
		right uint64
		ports []uint16
		why   string
	}{{unix.LANDLOCK_ACCESS_NET_BIND_TCP, l.TCPBind, "bind"}, {unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, l.TCPConnect, "connect"}} {
		for _, port := range list.ports {
			rule := c.b.U64s(program.FmtLandlockPort, list.right, uint64(port))
			c.in(ifLate(c.landlockNet, c.landlockRule(program.LandlockRulePort, rule, fmt.Sprintf("a port that it may %s to", list.why))))
		}
	}
	c.out(program.Step{Sys: program.OpLandlock, Dst: program.None, Data: data, Args: []program.Arg{attr}, Why: "what is to be refused, the kernel's Landlock must know",
		Hint: "ask for less, or for best effort"})
}

// landlockPath adds the rule for a path. Whether that is a directory is only
// known there: rights that make no sense for another file are EINVAL.
func (c *compiler) landlockPath(r *LandlockRule) (places []uint64) {
	why := "what it may do below " + r.Path
	fd := c.b.Register("landlock path")
	c.in(ifLate(c.landlockOn, hint(because(c.open(c.rootFD, r.Path, fd, pathOnly, inRoot), why), "it must exist inside the root")))
	add := func(rights uint64) (step int) {
		attr := c.b.U64s(program.FmtLandlockPath, rights, 0)
		places = append(places, attr.Val)
		at := attr
		at.Val, at.Fmt = attr.Val+8, program.FmtBuf
		rule := c.landlockRule(program.LandlockRulePath, attr, why)
		rule.Path = r.Path
		return c.in(ifLate(c.landlockOn, program.Step{Sys: program.OpStore, Dst: program.None, Args: []program.Arg{at, program.R(fd)}, Why: "which descriptor it is"}),
			ifLate(c.landlockOn, rule))
	}
	first := add(r.access())
	if files := r.access() & landlockFiles; files != r.access() {
		c.b.P.Inside[first].Ignore = []unix.Errno{unix.EINVAL}
		add(files)
		c.b.Land(first)
	}
	c.in(ifLate(c.landlockOn, program.Step{Sys: program.SysClose, Dst: program.None, Path: r.Path, Why: "the rule holds it", Args: []program.Arg{program.R(fd)}}))
	return places
}

func (c *compiler) landlockRule(kind uint64, attr program.Arg, why string) program.Step {
	return program.Step{Sys: program.SysLandlockAddRule, Dst: program.None, Why: why,
		Args: []program.Arg{program.R(c.ruleset), program.Flag(program.FmtLandlockRule, kind), attr, program.N(0)}}
}

// landlock puts the rules into force. What follows must be able to do without
// what they refuse.
func (c *compiler) landlock() {
	if c.ruleset != program.None {
		c.in(ifLate(c.landlockOn, program.Step{Sys: program.SysLandlockRestrictSelf, Dst: program.None, Why: "only what the rules allow from here on",
			Args: []program.Arg{program.R(c.ruleset), program.N(0)}}))
	}
}

// ifLate makes a step depend on a late value, if there is one.
func ifLate(late int, s program.Step) program.Step {
	if late != program.None {
		s.If = late + 1
	}
	return s
}
