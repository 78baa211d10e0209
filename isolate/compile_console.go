package isolate

import (
	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// The registers of a terminal.
const (
	regConsole = "console socket"
	regSlave   = "terminal"
)

// consoleName is the first terminal of a devpts that was just made.
const consoleName = "/dev/pts/0"

// bareConsole gives a container with Process.Console its terminal.
func (c *compiler) bareConsole() {
	if c.proc.Console {
		c.stage(func() { c.console(c.ptsFS, c.devFD) })
	}
}

// console allocates a terminal in the devpts whose mount is in the register
// pts, sends its master away and binds the slave on "console" in the directory
// dev. Both are reached by descriptor: no path that the container has a say in
// is used. The devpts must be new, so that the terminal is its first.
func (c *compiler) console(pts, dev int) {
	master := c.terminal(pts, true)
	clone, at := c.b.Register("console"), c.b.Register("at /dev/console")
	made := ignoring(program.Step{Sys: program.SysMknodat, Dst: program.None, Path: "/dev/console", Why: "where the terminal is bound", Args: []program.Arg{
		program.R(dev), c.b.Str("console"), program.Flag(program.FmtMode, unix.S_IFREG|0o600), program.N(0)}}, unix.EEXIST)
	c.in(made, because(c.open(dev, "console", at, pathOnly|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS), "where the terminal is bound"))
	c.refuseType(at, unix.S_IFLNK, unix.ELOOP, "/dev/console", "it must not be a symbolic link")
	c.in(because(c.openTree(program.R(pts), "0", clone, unix.OPEN_TREE_CLONE), "the terminal is the console too"),
		because(c.attach(clone, at, "/dev/console"), "the terminal is the console too"))
	c.sendMaster(master)
}

// renewTerminal opens the terminal once more, in the clone of the root that the
// container gets instead of the root in which it was made. Else the kernel has no
// path for it that leads there: programs would see it as "/0".
func (c *compiler) renewTerminal() {
	if !c.proc.Console {
		return
	}
	const why = "the terminal, where the container has it"
	pts := c.b.Register("terminals, renewed")
	c.in(because(c.open(c.rootFD, "/dev/pts", pts, pathDir, inRoot), why))
	c.expectFS(pts, unix.DEVPTS_SUPER_MAGIC, true, why)
	again := c.open(pts, "0", c.slot(regSlave), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, beneath)
	again.Path = consoleName
	c.in(because(again, why))
}

// terminal allocates a terminal in the devpts whose mount is in the register pts,
// and gives the register of its master.
func (c *compiler) terminal(pts int, first bool) (master int) {
	const p, why = consoleName, "a terminal of the container's own devpts"
	slave := c.slot(regSlave)
	master = c.b.Register("terminal master")
	ioctl := func(fd int, op uint64, arg program.Arg, what string) program.Step {
		return program.Step{Sys: program.SysIoctl, Dst: program.None, Path: p, Why: what, Args: []program.Arg{program.R(fd), program.Flag(program.FmtIoctl, op), arg}}
	}
	peer := ioctl(master, unix.TIOCGPTPEER, program.Flag(program.FmtOpenFlags, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC), "the container's end of it")
	peer.Dst = slave
	open := c.open(pts, "ptmx", master, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, beneath)
	open.Path = "/dev/pts/ptmx"
	c.in(hint(because(open, why), "the devpts must not be mounted nodev"),
		ioctl(master, unix.TIOCSPTLCK, c.b.U32s(program.FmtBuf, 0), "it can be opened"))
	if first {
		number := c.b.U32s(program.FmtBuf, ^uint32(0))
		c.in(ioctl(master, unix.TIOCGPTN, number, "which one it is"),
			program.Step{Sys: program.OpExpect, Dst: program.None, Path: p, Why: "it is the first one", Args: []program.Arg{number, program.Flag(program.FmtHex, 0xffffffff), program.N(0), program.Flag(program.FmtErrno, uint64(unix.EEXIST))}})
	}
	c.in(peer)
	if h, w := c.proc.ConsoleHeight, c.proc.ConsoleWidth; h != 0 || w != 0 {
		c.in(ioctl(master, unix.TIOCSWINSZ, c.b.Data(winsize(h, w), program.FmtBuf), "its size"))
	}
	c.in(program.Step{Sys: program.SysFchownat, Dst: program.None, Path: p, Why: "it is the user's; its group stays", Args: []program.Arg{
		program.R(slave), c.b.Str(""), program.L(c.uid), program.N(-1), program.Flag(program.FmtAt, unix.AT_EMPTY_PATH)}})
	return master
}

// execConsole gives a further process with Process.Console its terminal, in
// what the container has on /dev/pts: it must be a devpts, in which there is
// nothing but what the kernel has made.
func (c *compiler) execConsole(user bool) {
	if !c.proc.Console {
		return
	}
	if user {
		// Who is nobody in the user namespace has terminals there of nobody's.
		c.in(ignoring(program.Step{Sys: program.SysSetresuid, Dst: program.None, Why: "the terminal is made by root of the container, if there is one",
			Args: []program.Arg{program.N(0), program.N(0), program.N(0)}}, unix.EINVAL))
	}
	const why = "the container's terminals"
	pts := c.b.Register("terminals")
	c.in(hint(because(c.open(c.rootFD, "/dev/pts", pts, pathDir, inRoot), why), "a process with a terminal needs a devpts on /dev/pts of the container"))
	c.expectFS(pts, unix.DEVPTS_SUPER_MAGIC, true, why)
	master := c.terminal(pts, false)
	c.raise(c.slot(regSlave))
	c.sendMaster(master)
}

// sendMaster sends a descriptor and the terminal's name over the caller's socket.
func (c *compiler) sendMaster(master int) {
	name := c.b.Str(consoleName)
	iov := c.b.U64s(program.FmtBuf, 0, uint64(len(consoleName)))
	c.b.Point(iov, 0, name)
	control := c.b.Data(rights(), program.FmtBuf)
	// struct msghdr: name, its length, vector, its length, control, its length, flags.
	msg := c.b.U64s(program.FmtBuf, 0, 0, 0, 1, 0, uint64(unix.CmsgLen(4)), 0)
	c.b.Point(msg, 16, iov)
	c.b.Point(msg, 32, control)
	at := control
	at.Val += uint64(unix.CmsgLen(0))
	c.in(program.Step{Sys: program.OpStore, Dst: program.None, Why: "the descriptor to send", Args: []program.Arg{at, program.R(master)}},
		program.Step{Sys: program.SysSendmsg, Dst: program.None, Path: "the console socket", Why: "the one who asked gets the terminal's master",
			Args: []program.Arg{program.R(c.slot(regConsole)), msg, program.Flag(program.FmtMessage, unix.MSG_NOSIGNAL)}, Check: true, Want: uint64(len(consoleName)),
			Hint: "somebody must listen on the console socket"},
		program.Step{Sys: program.SysClose, Dst: program.None, Path: "terminal master", Why: "it is not ours any more", Args: []program.Arg{program.R(master)}})
}

// rights is a control message with room for one descriptor.
func rights() []byte {
	msg := unix.UnixRights(0)
	return append(msg, make([]byte, 8-len(msg)%8)...)
}

// winsize is struct winsize of ioctl_tty(2).
func winsize(height, width uint16) []byte {
	return []byte{byte(height), byte(height >> 8), byte(width), byte(width >> 8), 0, 0, 0, 0}
}
