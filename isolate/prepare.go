package isolate

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/tinyinit"
)

// Prepared is a start whose outside steps are done. It owns every descriptor
// that these opened, and its ends of the status pipe and the gate. Its methods
// are safe for concurrent use.
type Prepared struct {
	program *program.Program

	mu       sync.Mutex
	owned    []int      // closed by Launched
	copies   []*os.File // of the caller's, likewise: see PrepareContext
	status   *os.File
	gate     *os.File // nil when the caller has the gate
	handover *os.File // where the program's process comes from; nil when it is the one forked
	sync     *os.File // what the child waits at until Forked is done; nil without a wait
	ready    *os.File // says that it waits at sync; nil where that need not be known
	word     *os.File // what it waits at until Continue; nil without a wait
	reader   *StatusReader

	regs   []int32
	late   []lateValue
	lists  [][]listItem
	arena  []byte
	relocs []program.Reloc
	chunks []uint32
	linked *linked // see linkAhead; nil: it is still to be done

	at                 atomic.Int32 // the outside step that is done, from 0
	cgroupMounts       []CgroupMount
	failAt, failInside int // for tests: the step, from 1, that fails with EIO
}

type lateValue struct {
	val uint64
	ptr bool // val is an offset in the arena
}

type listItem struct {
	path string
	fd   int32
	data string // for an argument of kind ItemData
}

// Prepare runs the outside steps of p in this process: it opens what the
// container is made of and looks up who it runs as. Nothing of it is visible on
// the host but directories of volumes and of a persistent root, which stay.
// The descriptors in f are borrowed until the child has been forked. A failing
// step is a *StepError, and then everything is released.
func Prepare(p *program.Program, f Files) (*Prepared, error) {
	return prepare(p, f, 0, 0)
}

// prepare is Prepare with faults, for tests: the steps of those numbers, from 1, fail with EIO.
func prepare(p *program.Program, f Files, failAt, failInside int) (*Prepared, error) {
	pr := newPrepared(p, failAt, failInside)
	if err := pr.prepare(f); err != nil {
		pr.Close()
		return nil, err
	}
	return pr, nil
}

func newPrepared(p *program.Program, failAt, failInside int) *Prepared {
	pr := &Prepared{
		program: p, failAt: failAt, failInside: failInside,
		regs:   make([]int32, len(p.Regs)),
		late:   make([]lateValue, len(p.Late)),
		lists:  make([][]listItem, len(p.Each)),
		arena:  alignedCopy(p.Arena),
		relocs: p.Relocs[:len(p.Relocs):len(p.Relocs)],
		chunks: p.Chunks[:len(p.Chunks):len(p.Chunks)],
	}
	for i := range pr.regs {
		pr.regs[i] = -1
	}
	return pr
}

// alignedCopy copies an arena to memory aligned for the structures in it.
func alignedCopy(arena []byte) []byte {
	words := make([]uint64, len(arena)/8+1)
	out := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(arena))
	copy(out, arena)
	return out
}

func (pr *Prepared) prepare(f Files) error {
	defer runtime.KeepAlive(f)
	pr.cgroupMounts = f.CgroupMounts
	refused := pr.refused
	if f.Groups == nil {
		if err := refused(pr.fill(f)); err != nil {
			return err
		}
		if !f.GroupsLater {
			if err := pr.Enter(f.CgroupDir, f.CgroupProcs); err != nil {
				return err
			}
		}
		return pr.outside()
	}
	// The groups are made here and the rest there: what takes longer is then done
	// last by the goroutine that goes on.
	done := make(chan error, 1)
	go func() {
		err := refused(pr.fill(f))
		if err == nil {
			err = pr.outside()
		}
		done <- err
	}()
	dir, procs, err := f.Groups()
	if other := <-done; other != nil {
		return other
	}
	if err != nil {
		return err
	}
	return pr.Enter(dir, procs)
}

// refused says what could not be done.
func (pr *Prepared) refused(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot prepare start %q: %w", pr.program.Name, err)
}

// Enter gives the descriptors of the groups that the child enters, where
// Prepare was told that they come later: once, and before the child is forked.
// They are borrowed as those of Files are, until then.
func (pr *Prepared) Enter(dir *os.File, procs map[string]*os.File) error {
	err := pr.enter(dir, procs)
	if err == nil {
		err = pr.checkFilled()
	}
	return pr.refused(err)
}

// outside runs the outside steps.
func (pr *Prepared) outside() error {
	steps := pr.program.Outside
	for i := 0; i < len(steps); {
		if !steps[i].Private {
			if err := pr.step(i); err != nil {
				return err
			}
			i++
			continue
		}
		end := i
		for end < len(steps) && steps[end].Private {
			end++
		}
		if err := pr.private(i, end); err != nil {
			return err
		}
		i = end
	}
	if r := pr.register(regTail); r != program.None {
		fd, err := pr.tailMemFD()
		if err != nil {
			return err
		}
		pr.regs[r] = int32(fd)
	}
	pr.linkAhead()
	return nil
}

// private runs steps in a thread that is used for nothing else afterwards.
func (pr *Prepared) private(from, to int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread never ends, and would hold its namespaces
			// for good: it waits, so that another is taken, and is given back.
			done <- pr.private(from, to)
			runtime.UnlockOSThread()
			return
		}
		for i := from; i < to; i++ {
			if err := pr.step(i); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return <-done
}

// register finds a register by its name; None when the program has no such.
func (pr *Prepared) register(name string) int { return slices.Index(pr.program.Regs, name) }

// set puts a file of the caller into its register, if the program has it.
func (pr *Prepared) set(name string, file *os.File) error {
	r := pr.register(name)
	if r == program.None || file == nil {
		return nil
	}
	conn, err := file.SyscallConn() // unlike Fd, this leaves the file's mode alone
	if err != nil {
		return fmt.Errorf("descriptor %q: %w", name, err)
	}
	return conn.Control(func(fd uintptr) { pr.regs[r] = int32(fd) })
}

// enter takes the descriptors of the groups.
func (pr *Prepared) enter(dir *os.File, procs map[string]*os.File) error {
	for name, file := range procs {
		if err := pr.set(regLegacy(name), file); err != nil {
			return err
		}
		if i := slices.Index(pr.program.Late, lateOptional(name)); i >= 0 {
			pr.late[i].val = 1
			pr.linked = nil
		}
	}
	return pr.set("cgroup", dir)
}

// fill puts the caller's other descriptors and our own pipes into their registers.
func (pr *Prepared) fill(f Files) error {
	null := -1
	for _, std := range []struct {
		name string
		file *os.File
	}{{regStdin, f.Stdin}, {regStdout, f.Stdout}, {regStderr, f.Stderr}, {regHookOutput, f.HookOutput}} {
		r := pr.register(std.name)
		if r == program.None {
			continue
		}
		if std.file != nil {
			pr.regs[r] = int32(std.file.Fd()) // blocking, as programs expect their standard streams
			continue
		}
		if null < 0 {
			var err error
			if null, err = pr.own(unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)); err != nil {
				return fmt.Errorf("cannot open /dev/null: %w", err)
			}
		}
		pr.regs[r] = int32(null)
	}
	if n := len(f.Extra); n > 0 && pr.register(regExtra(n-1)) == program.None {
		return fmt.Errorf("%d further descriptors were handed over, which is more than are passed on", n)
	}
	for i, file := range f.Extra {
		if err := pr.set(regExtra(i), file); err != nil {
			return err
		}
	}
	if err := pr.set(regListener, f.Listener); err != nil {
		return err
	}
	for name, file := range f.Processes {
		if err := pr.set(regProcess(name), file); err != nil {
			return err
		}
	}
	if r := pr.register(regInit); r != program.None {
		init, err := tinyinit.MemFD()
		if err != nil {
			return err
		}
		fd, err := pr.own(unix.FcntlInt(init.Fd(), unix.F_DUPFD_CLOEXEC, 0))
		init.Close()
		if err != nil {
			return fmt.Errorf("cannot keep the container's init: %w", err)
		}
		pr.regs[r] = int32(fd)
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("cannot make a pipe: %w", err)
		}
		pr.owned = append(pr.owned, p[0], p[1])
		pr.regs[pr.register(regInitRan)], pr.regs[pr.register(regInitRuns)] = int32(p[0]), int32(p[1])
	}
	for name, file := range map[string]*os.File{regHookState: f.HookState, regConsole: f.Console} {
		if err := pr.set(name, file); err != nil {
			return err
		}
	}
	if r := pr.register(regHandover); r != program.None {
		fd, err := pr.own(pr.makeHandover())
		if err != nil {
			return err
		}
		pr.regs[r] = int32(fd)
	}
	return pr.pipes(f.Status, f.Gate)
}

// checkFilled sees to it that everything the inside steps take from the caller is there.
func (pr *Prepared) checkFilled() error {
	p := pr.program
	have := make([]bool, len(p.Regs))
	for r, fd := range pr.regs {
		// By a jump and not as have[r] = fd >= 0: where that is one instruction and
		// its store faults, for the memory is new, QEMU's emulation (7.2) has lost
		// the outcome of the comparison when it does it again.
		if fd >= 0 {
			have[r] = true
		}
	}
	need := func(steps []program.Step) error {
		for _, s := range steps {
			for _, a := range s.Args {
				if s.If == 0 && a.Kind == program.Reg && !have[a.Val] {
					return fmt.Errorf("no descriptor %q was handed over", p.Regs[a.Val])
				}
			}
			if s.Dst != program.None {
				have[s.Dst] = true
			}
		}
		return nil
	}
	for _, s := range p.Outside {
		if s.Dst != program.None {
			have[s.Dst] = true
		}
	}
	if r := pr.register(regTail); r != program.None {
		have[r] = true
	}
	if p.BornIn != program.None && !have[p.BornIn] {
		return errors.New("no descriptor of the v2 group was handed over")
	}
	for _, e := range p.ForkIn {
		if !have[e.Reg] {
			return fmt.Errorf("no descriptor %q was handed over", p.Regs[e.Reg])
		}
	}
	return need(p.Inside)
}

// pipes makes the status pipe, the gate and the pipe for the runtime's word.
// Of ours those that are read do not block; a pipe always takes the one byte that
// is written to the others.
func (pr *Prepared) pipes(status, gate *os.File) error {
	if status != nil {
		pr.regs[pr.program.Status] = int32(status.Fd())
	} else {
		r, w, err := pr.pipe()
		if err != nil {
			return err
		}
		pr.status = parentEnd(r, "status")
		pr.reader = NewStatusReader(pr.status, pr.program)
		pr.regs[pr.program.Status] = int32(childEnd(pr, w))
	}
	if i := pr.register(regReady); i != program.None {
		r, w, err := pr.pipe()
		if err != nil {
			return err
		}
		pr.ready = parentEnd(r, regReady)
		pr.regs[i] = int32(childEnd(pr, w))
	}
	for name, file := range map[string]**os.File{regSync: &pr.sync, regWord: &pr.word} {
		if i := pr.register(name); i != program.None {
			r, w, err := pr.pipe()
			if err != nil {
				return err
			}
			*file = os.NewFile(uintptr(w), name)
			pr.regs[i] = int32(childEnd(pr, r))
		}
	}
	gateReg := pr.program.Gate
	if late := pr.register(regLateGate); late != program.None {
		pr.regs[gateReg], gateReg = pr.regs[pr.register(regWord)], late
	}
	if gate != nil {
		pr.regs[gateReg] = int32(gate.Fd())
		return nil
	}
	r, w, err := pr.pipe()
	if err != nil {
		return err
	}
	pr.gate = os.NewFile(uintptr(w), "gate")
	pr.regs[gateReg] = int32(childEnd(pr, r))
	return nil
}

func (pr *Prepared) pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, fmt.Errorf("cannot make a pipe: %w", err)
	}
	return p[0], p[1], nil
}

// parentEnd is an end for reading with a deadline.
func parentEnd(fd int, name string) *os.File {
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

func childEnd(pr *Prepared, fd int) int {
	pr.owned = append(pr.owned, fd)
	return fd
}

// own takes ownership of a descriptor just opened.
func (pr *Prepared) own(fd int, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	pr.mu.Lock()
	pr.owned = append(pr.owned, fd)
	pr.mu.Unlock()
	return fd, nil
}

// UID is the user the service runs as, looked up in its root. With a user
// namespace it is the id that stands for that user in this process's.
func (pr *Prepared) UID() uint32 { return uint32(pr.late[lateHostUID].val) }

// GID is its primary group, likewise.
func (pr *Prepared) GID() uint32 { return uint32(pr.late[lateHostGID].val) }

// The late values that every program has first, see newCompiler.
const (
	lateHostUID = 2
	lateHostGID = 3
)

// Program is what this was prepared from.
func (pr *Prepared) Program() *program.Program { return pr.program }

// Encode gives the image for the launcher and the descriptors that go with it,
// in order. The descriptors are borrowed: they stay open until Launched or Close.
func (pr *Prepared) Encode() (image []byte, fds []int) {
	return pr.image().Encode()
}

// Launched is called once the child has been forked: it closes everything but
// this process's ends of the status pipe and the gate. Without it the status
// never ends. It can be called more than once.
func (pr *Prepared) Launched() {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, fd := range pr.owned {
		unix.Close(fd)
	}
	pr.owned = nil
	for _, f := range pr.copies {
		f.Close()
	}
	pr.copies = nil
}

// Proceed lets the child pass the gate and execute. It is an error when the
// caller has brought its own gate, or the child is gone.
func (pr *Prepared) Proceed() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.gate == nil {
		return errors.New("cannot open the gate: it is not here, or was closed")
	}
	_, err := pr.gate.Write([]byte{1})
	pr.gate.Close()
	pr.gate = nil
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("cannot open the gate: %w", err)
	}
	return nil // with EPIPE the child is gone, and the status tells why
}

// Continue lets a child go on that waits for the runtime's word (AtSync). It is an
// error when the Spec has no SyncRuntime, or this was called before.
func (pr *Prepared) Continue() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.word == nil {
		return errors.New("cannot let the start continue: it does not wait for that, or was closed")
	}
	_, err := pr.word.Write([]byte{1})
	pr.word.Close()
	pr.word = nil
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("cannot let the start continue: %w", err)
	}
	return nil // with EPIPE the child is gone, and the status tells why
}

// Wait reads the status until the child has executed its program (nil), a step
// failed (*StepError), or the deadline has passed (os.ErrDeadlineExceeded). The
// zero time means no deadline.
func (pr *Prepared) Wait(deadline time.Time) error { return pr.WaitUntil(AtProgram, deadline) }

// WaitUntil is Wait for an earlier point, see StatusReader.Until. Calls come
// one after the other, points in their order.
func (pr *Prepared) WaitUntil(point Point, deadline time.Time) error {
	pr.mu.Lock()
	reader := pr.reader
	pr.mu.Unlock()
	if reader == nil {
		return errors.New("cannot wait for the start: it was closed, or somebody else reads its status")
	}
	return reader.Until(point, deadline)
}

// Close releases everything. A child that still waits at the gate then leaves
// without executing anything. It can be called more than once.
func (pr *Prepared) Close() {
	pr.Launched()
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, f := range []**os.File{&pr.gate, &pr.sync, &pr.ready, &pr.word, &pr.handover} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
	if pr.status != nil {
		pr.status.Close()
		pr.status, pr.reader = nil, nil
	}
}
