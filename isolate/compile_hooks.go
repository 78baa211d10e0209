package isolate

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// The registers of what hooks and the runtime's word need.
const (
	regHookState  = "hook state"
	regHookOutput = "hook output"
	regWord       = "the runtime's word"
	regLateGate   = "gate after the word"
)

// syncRuntime lets the runtime know that the namespaces and mounts are there,
// and waits for its word. The other end closed means that it has given up. Up
// to here that pipe is the gate too, at which a child waits that has failed: the
// gate may be a FIFO that nobody's end closes, and a runtime that has ended
// before it took note of the child would leave it there for ever.
func (c *compiler) syncRuntime() {
	c.in(program.Step{Sys: program.OpSync, Dst: program.None, Mark: program.Stage, Why: "the runtime runs its hooks and sets up the network",
		Args: []program.Arg{program.R(c.slot(regWord))}},
		program.Step{Sys: program.SysFcntl, Dst: c.b.P.Gate, Path: "gate", Why: "the runtime knows this process: it may wait for another one now",
			Args: []program.Arg{program.R(c.slot(regLateGate)), program.Flag(program.FmtFcntl, unix.F_DUPFD_CLOEXEC), program.N(3)}})
}

// isSync tells whether a step is the one that syncRuntime makes.
func isSync(p *program.Program, s *program.Step) bool {
	return s.Sys == program.OpSync && p.Regs[s.Args[0].Val] == regWord
}

// createContainer runs the hooks of that name: in the container's namespaces,
// while the root and /proc are still the host's.
func (c *compiler) createContainer() {
	if len(c.spec.CreateContainer) > 0 {
		c.in(program.Step{Sys: program.SysFchdir, Dst: program.None, Path: "/", Why: "hooks begin in the root, wherever mounting has led to", Args: []program.Arg{program.R(c.rootFD)}})
	}
	for i := range c.spec.CreateContainer {
		c.hook(&c.spec.CreateContainer[i], fmt.Sprintf("createContainer hook #%d", i), false, c.b.Strs(c.spec.CreateContainer[i].Env))
	}
}

// startContainer runs the hooks of that name: in the finished container, as
// the program's user and with its filter, for what they execute is the container's.
func (c *compiler) startContainer() {
	if c.spec == nil {
		return
	}
	for i := range c.spec.StartContainer {
		h := &c.spec.StartContainer[i]
		env := c.b.Strs(h.Env)
		if h.Env == nil {
			env = c.programEnv()
		}
		c.hook(h, fmt.Sprintf("startContainer hook #%d", i), !c.isReady, env)
	}
}

// hook runs one to its end.
func (c *compiler) hook(h *Hook, what string, withFilter bool, env program.Arg) {
	pid, status := c.b.Register(what), c.b.U64s(program.FmtBuf, 0)
	state, output := c.slot(regHookState), c.slot(regHookOutput)
	step := c.forkStep(pid, what)
	step.Mark, step.Timeout, step.Path = program.Stage, h.Timeout, h.Path
	fork := c.in(step)
	// In its process: registers written here are its own.
	c.in(program.Step{Sys: program.OpHelper, Dst: program.None, Why: "a hook that cannot be executed ends at once"},
		c.prctl(prctlOp(unix.PR_SET_PDEATHSIG), program.N(int(unix.SIGKILL)), program.N(0), "it ends with the start that it belongs to"),
		program.Step{Sys: program.SysLseek, Dst: program.None, Path: regHookState, Why: "the state from its beginning", Hint: "the state must be in a file",
			Args: []program.Arg{program.R(state), program.N(0), program.N(unix.SEEK_SET)}})
	for _, r := range []int{state, output} {
		c.in(program.Step{Sys: program.SysFcntl, Dst: r, Path: c.b.P.Regs[r], Why: "out of the way of descriptors 0 to 2",
			Args: []program.Arg{program.R(r), program.Flag(program.FmtFcntl, unix.F_DUPFD_CLOEXEC), program.N(3)}})
	}
	for fd, r := range []int{state, output, output} {
		c.in(program.Step{Sys: program.SysDup3, Dst: program.None, Path: c.b.P.Regs[r], Why: fmt.Sprintf("descriptor %d of the hook", fd),
			Args: []program.Arg{program.R(r), program.N(fd), program.N(0)}})
	}
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	c.in(program.Step{Sys: program.SysUmask, Dst: program.None, Why: "the hook's umask", Args: []program.Arg{program.Flag(program.FmtOct, 0o22)}},
		program.Step{Sys: program.SysCloseRange, Dst: program.None, Why: "no other descriptor is passed on",
			Args: []program.Arg{program.N(3), program.Flag(program.FmtHex, uint64(^uint32(0))), program.Flag(program.FmtCloseRange, unix.CLOSE_RANGE_CLOEXEC)}},
		program.Step{Sys: program.SysRtSigprocmask, Dst: program.None, Why: "signals are delivered again",
			Args: []program.Arg{program.Flag(program.FmtSigHow, unix.SIG_SETMASK), c.b.U64s(program.FmtSignals, 0), program.Null(), program.N(8)}})
	if withFilter {
		c.seccomp()
	}
	c.in(program.Step{Sys: program.SysExecve, Dst: program.None, Path: h.Path, Why: what, Hint: "the hook must exist and be executable",
		Args: []program.Arg{c.b.Str(h.Path), c.b.Strs(args), env}})
	c.b.Land(fork)
	c.in(program.Step{Sys: program.SysWait4, Dst: program.None, Path: h.Path, Why: what, Args: []program.Arg{program.R(pid), status, program.N(0), program.Null()}},
		program.Step{Sys: program.OpStatus, Dst: program.None, Path: h.Path, Why: what, Args: []program.Arg{status}})
}

func (h *Hook) check() error {
	if err := checkTarget(h.Path); err != nil {
		return err
	}
	size := 0
	for _, a := range append(append([]string{}, h.Args...), h.Env...) {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %q has a NUL in it", a)
		}
		size += len(a)
	}
	if size > maxStrings {
		return fmt.Errorf("arguments and environment have more than %d bytes", maxStrings)
	}
	if h.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", h.Timeout)
	}
	return nil
}
