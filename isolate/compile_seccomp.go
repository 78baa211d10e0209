package isolate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/seccomp"
)

func (p *Process) validateSeccomp() error {
	if len(p.Seccomp)%8 != 0 || len(p.Seccomp) > 8*4096 {
		return fmt.Errorf("a seccomp filter of %d bytes, want a multiple of 8 up to %d", len(p.Seccomp), 8*4096)
	}
	known := uint32(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	if p.SeccompListener {
		known |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	if p.SeccompFlags&^known != 0 {
		return fmt.Errorf("seccomp flags %#x, of which only TSYNC, LOG, SPEC_ALLOW and, with a listener, WAIT_KILLABLE_RECV make sense", p.SeccompFlags)
	}
	switch {
	case !p.SeccompListener && seccomp.Notifies(p.Seccomp):
		return errors.New("the seccomp filter hands calls to a listener (SCMP_ACT_NOTIFY), and none was asked for")
	case p.SeccompListener && len(p.Seccomp) == 0:
		return errors.New("a seccomp listener needs a filter")
	case p.SeccompListener && p.handsOver() == program.SysInvalid:
		return errors.New("the seccomp filter lets neither sendmsg nor sendmmsg pass whatever their arguments, so its listener could not be handed over; have it allow one of them")
	}
	return nil
}

// filteredEarly tells whether the filter comes before the gate: where the kernel
// wants a capability for it, and where its listener must be sent.
func (p *Process) filteredEarly() bool {
	return len(p.Seccomp) > 0 && (!p.NoNewPrivileges || p.SeccompListener)
}

// handsOver is the call by which the listener can be sent under its own filter.
// While nobody holds the listener, a call that is handed to it waits for ever.
func (p *Process) handsOver() program.Sys {
	for _, s := range []program.Sys{program.SysSendmsg, program.SysSendmmsg} {
		if nr, ok := s.Number(); ok && seccomp.Passes(p.Seccomp, uint32(nr)) {
			return s
		}
	}
	return program.SysInvalid
}

// seccomp installs the filter. From here on every step is subject to it.
func (c *compiler) seccomp() {
	filter := c.proc.Seccomp
	if len(filter) == 0 {
		return
	}
	code := c.b.Data(filter, program.FmtBuf)
	prog := c.b.U64s(program.FmtFilter, uint64(len(filter)/8), 0)
	c.b.Point(prog, 8, code)
	install := program.Step{Sys: program.SysSeccomp, Dst: program.None, Why: "the system call filter", Hint: "the kernel needs CONFIG_SECCOMP_FILTER",
		Args: []program.Arg{program.Flag(program.FmtSeccomp, unix.SECCOMP_SET_MODE_FILTER), program.Flag(program.FmtSeccompFlags, uint64(c.proc.SeccompFlags)), prog}}
	if !c.proc.SeccompListener {
		c.in(install)
		return
	}
	// This process has one thread, and TSYNC does not go with a listener.
	flags := c.proc.SeccompFlags&^unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	listener := c.b.Register("seccomp listener")
	install.Dst, install.Why = listener, "the system call filter, and the listener for what it hands over"
	install.Args[1] = program.Flag(program.FmtSeccompFlags, uint64(flags))
	install.Hint = "only one filter of a process can have a listener; WAIT_KILLABLE_RECV needs Linux 5.19"
	c.in(install)
	c.handOver(listener)
}

// handOver sends the listener over the caller's socket: one byte with SCM_RIGHTS.
func (c *compiler) handOver(listener int) {
	// struct cmsghdr and the descriptor (cmsg(3)), then struct mmsghdr, whose
	// beginning is the struct msghdr that sendmsg takes (sendmsg(2)).
	control := make([]byte, unix.CmsgSpace(4))
	binary.NativeEndian.PutUint64(control, uint64(unix.CmsgLen(4)))
	binary.NativeEndian.PutUint32(control[8:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(control[12:], unix.SCM_RIGHTS)
	rights := c.b.Data(control, program.FmtBuf)
	fd := rights
	fd.Val += uint64(unix.CmsgLen(0))
	payload := c.b.Data([]byte{0}, program.FmtBuf)
	vector := c.b.U64s(program.FmtBuf, 0, 1)
	c.b.Point(vector, 0, payload)
	message := c.b.U64s(program.FmtBuf, 0, 0, 0, 1, 0, uint64(len(control)), 0, 0)
	c.b.Point(message, 16, vector)
	c.b.Point(message, 32, rights)

	sock := program.R(c.slot(regListener))
	send := program.Step{Sys: c.proc.handsOver(), Dst: program.None, Check: true, Want: 1, Path: regListener, Why: "the listener goes to the one who starts this",
		Args: []program.Arg{sock, message, program.Flag(program.FmtMessage, unix.MSG_NOSIGNAL)}, Hint: "the other end of the socket must be open"}
	if send.Sys == program.SysSendmmsg {
		send.Args = []program.Arg{sock, message, program.N(1), program.Flag(program.FmtMessage, unix.MSG_NOSIGNAL)}
	}
	c.in(program.Step{Sys: program.OpStore, Dst: program.None, Args: []program.Arg{fd, program.R(listener)}, Why: "which descriptor to send"}, send)
}
