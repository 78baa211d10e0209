// Package tail makes the executable in which the last part of a start runs: what
// waits at the gate, runs pre-start commands, enters the last of the namespaces
// and executes the program.
//
// A child forked by berth has berth's memory, and /proc/PID/exe is berth's own
// file. As soon as anything of the container can see the child, it must have
// neither: a process there that keeps CAP_SYS_PTRACE may read and open what it
// likes of it. So the child, when it has dropped all it has to drop, executes an
// image of a few kilobytes from sealed memory, which holds nothing but a small
// interpreter and the operations that are left. Whoever takes such a process
// over gains what the container has anyway.
package tail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"unsafe"

	"berth/isolate/program"
	"berth/isolate/tinyelf"

	"golang.org/x/sys/unix"
)

// fileName is what /proc/PID/exe shows, as "/memfd:berth-start (deleted)".
const fileName = "berth-start"

// Source is the part of an Image that is to become an executable, in the terms of package program.
type Source struct {
	Tail   program.Tail
	Ops    []program.Op // from Tail.First on; jumps count among them
	Arena  []byte
	Relocs []program.Reloc
	Chunks []uint32 // where the arena's pieces begin, ascending
	FailAt int      // as Image.FailAt
}

// MemFD makes the executable as a sealed memory file, close-on-exec, which the
// caller owns. It is executed with Tail's descriptors open.
func MemFD(s *Source) (int, error) {
	machine, list, err := machineOf(runtime.GOARCH)
	if err != nil {
		return -1, err
	}
	data, err := build(s)
	if err != nil {
		return -1, fmt.Errorf("cannot make the executable for the end of a start: %w", err)
	}
	fd, err := tinyelf.MemFD(fileName, machine.Executable(machine.Link(list), len(data)), data)
	if err != nil {
		return -1, fmt.Errorf("cannot make the executable for the end of a start: %w", err)
	}
	return fd, nil
}

func machineOf(arch string) (tinyelf.Machine, []tinyelf.Instruction, error) {
	switch arch {
	case "amd64":
		return tinyelf.X86_64, instructionsX86_64, nil
	case "arm64":
		return tinyelf.AArch64, instructionsAArch64, nil
	}
	return tinyelf.Machine{}, nil, fmt.Errorf("cannot make the executable for the end of a start: not supported on %s", arch)
}

// operation is what the interpreter executes: the machine code knows the offsets.
type operation struct {
	Nr      int64 // -1: fail with the 32-bit value at Args[0], unless that is 0
	Args    [6]uint64
	Cells   uint64 // bit n: argument n, of 0 to 2, is the 32-bit value at Args[n]
	Zero    uint64 // the operation after a result of 0
	More    uint64 // after a greater one
	Ignored uint64 // after an errno whose bit is in Ignore
	Ignore  uint64
	Store   uint64 // 0, or where the lower half of the result goes
	Failed  uint64 // the operation after any other errno
	Record  program.Record
}

const (
	operationSize = 128
	// The memory begins with the report's cell: the address of the last record completed.
	reportCell = tinyelf.DataAddress
	firstAt    = tinyelf.DataAddress + 16
	everyErrno = ^uint64(0)
	// lastOperations are those that ends adds.
	lastOperations = 9
)

// builder puts the data together: cells, operations, and then what they point to.
type builder struct {
	s       *Source
	ops     []operation
	at      []int // op of the source → operation
	jumps   []jump
	base    uint64            // address of memory
	memory  []byte            // what follows the operations
	cells   map[uint64]uint64 // register → address
	chunks  map[int]uint64    // chunk of the arena → address
	gate    int               // operation that waits at the gate, to tell what comes after it
	refused error
}

// jump is a field of an operation that is to get the address of another one.
type jump struct {
	from, to int // to: op of the source
	field    func(*operation) *uint64
}

func zero(o *operation) *uint64    { return &o.Zero }
func more(o *operation) *uint64    { return &o.More }
func ignored(o *operation) *uint64 { return &o.Ignored }

func address(operation int) uint64 { return firstAt + uint64(operation)*operationSize }

// build gives the memory at tinyelf.DataAddress.
func build(s *Source) ([]byte, error) {
	b := &builder{s: s, base: address(count(s.Ops)), cells: map[uint64]uint64{}, chunks: map[int]uint64{}, gate: -1}
	b.registers()
	handover := -1
	for i := range s.Ops {
		b.at = append(b.at, len(b.ops))
		op := &s.Ops[i]
		if n, ok := program.SysClone.Number(); ok && s.Tail.BornLast && handover < 0 && op.Nr == uint32(n) {
			handover = len(b.ops)
		}
		b.translate(i, op)
	}
	b.at = append(b.at, len(b.ops))
	b.ends(handover)
	for _, j := range b.jumps {
		if j.to <= 0 || j.to >= len(b.at) {
			b.refuse(fmt.Errorf("a jump to operation %d", j.to))
			break
		}
		*j.field(&b.ops[j.from]) = address(b.at[j.to])
	}
	if b.refused == nil && address(len(b.ops)) > b.base {
		b.refuse(fmt.Errorf("%d operations where %d were counted", len(b.ops), count(s.Ops)))
	}
	if b.refused != nil {
		return nil, b.refused
	}
	return b.layout(), nil
}

func (b *builder) refuse(err error) {
	if b.refused == nil {
		b.refused = err
	}
}

func (b *builder) status() uint64 { return uint64(b.s.Tail.Base) }
func (b *builder) gateFD() uint64 { return uint64(b.s.Tail.Base + 1) }

// registers makes the cells that are known before: what a descriptor of its own
// is in, and those that a store takes its value from, which lie where it would
// put it.
func (b *builder) registers() {
	for i, r := range b.s.Tail.Own {
		at := b.cell(uint64(r))
		binary.NativeEndian.PutUint32(b.memory[at-b.base:], uint32(b.s.Tail.Base+i))
	}
	for i := range b.s.Ops {
		if op := &b.s.Ops[i]; op.Pseudo() == program.OpStore {
			if b.cells[op.Vals[1]] != 0 {
				b.refuse(fmt.Errorf("step %d: a register that is stored twice, or known before", op.Origin))
			}
			b.cells[op.Vals[1]] = b.pointer(op.Vals[0])
		}
	}
}

// add appends an operation that goes on with the next one whatever its result.
func (b *builder) add(o operation) int {
	n := len(b.ops)
	next := address(n + 1)
	o.Zero, o.More, o.Ignored = next, next, next
	b.ops = append(b.ops, o)
	return n
}

func (b *builder) jump(from, to int, field func(*operation) *uint64) {
	b.jumps = append(b.jumps, jump{from, to, field})
}

// translate appends what one op of the source does.
func (b *builder) translate(i int, op *program.Op) {
	rec := program.Record{Magic: program.RecordMagic, Origin: uint32(op.Origin), Cause: program.CauseErrno}
	if b.s.FailAt == int(op.Origin)+1 {
		b.fail(unix.EIO, rec)
		return
	}
	if op.Marked() {
		mark := rec
		mark.Cause, mark.Value = program.CauseNone, op.Final()
		b.add(operation{Nr: unix.SYS_WRITE, Args: [6]uint64{b.status(), address(len(b.ops)) + operationSize - 16, 16},
			Ignore: everyErrno, Record: mark})
	}
	switch op.Pseudo() {
	case program.OpGate:
		b.gate = b.add(operation{Nr: unix.SYS_READ, Args: [6]uint64{b.gateFD(), b.scratch(), 1}, Ignore: everyErrno, Record: rec})
		return // where it goes without a byte is for ends
	case program.OpStatus:
		rec.Cause = program.CauseStatus
		b.add(operation{Nr: -1, Args: [6]uint64{b.pointer(op.Vals[0])}, Record: rec})
		return
	case program.OpFail:
		b.fail(unix.Errno(op.Vals[0]), rec)
		return
	case program.OpHelper, program.OpStore: // see ends and registers
		return
	case program.SysInvalid:
	default:
		b.refuse(fmt.Errorf("step %d: unknown operation", op.Origin))
		return
	}
	o := operation{Nr: int64(op.Nr), Record: rec}
	for a := range int(op.Args) {
		switch v := op.Vals[a]; op.Kinds[a] {
		case program.Imm:
			o.Args[a] = v
		case program.Ptr:
			o.Args[a] = b.pointer(v)
		case program.Reg:
			if a > 2 {
				b.refuse(fmt.Errorf("step %d: argument %d is a register", op.Origin, a))
			}
			o.Args[a], o.Cells = b.cell(v), o.Cells|1<<a
		case program.Bit: // see loop
		default:
			b.refuse(fmt.Errorf("step %d: an argument of kind %d", op.Origin, op.Kinds[a]))
		}
	}
	o.Ignore = op.IgnoreMask()
	if op.Dst >= 0 {
		o.Store = b.cell(uint64(op.Dst))
	}
	if op.Checked() && (op.Want > 1 || op.Loops()) || op.Loops() && op.JumpsWhen() != program.JumpNever {
		b.refuse(fmt.Errorf("step %d: a result that must be more than 1, or a loop with conditions", op.Origin))
	}
	if op.Loops() {
		b.loop(o, op)
		return
	}
	at := 0
	if op.Checked() {
		at = b.checked(o, op.Want)
	} else {
		at = b.add(o)
	}
	switch to := int(op.Jump); op.JumpsWhen() {
	case program.JumpOnSuccess:
		b.jump(at, to, zero)
		b.jump(at, to, more)
	case program.JumpOnIgnored:
		b.jump(at, to, ignored)
	case program.JumpInParent:
		b.jump(at, to, more)
	}
}

// loop appends an operation for each bit that is set.
func (b *builder) loop(o operation, op *program.Op) {
	for rest := op.Loop; rest != 0; rest &= rest - 1 {
		for a := range int(op.Args) {
			if op.Kinds[a] == program.Bit {
				o.Args[a] = uint64(bits.TrailingZeros64(rest))
			}
		}
		b.add(o)
	}
}

// checked appends an operation whose result must be 0, or must not be: a call
// whose result must be 1 is one that gives no more.
func (b *builder) checked(o operation, want uint64) int {
	o.Store = b.scratch()
	at := b.add(o)
	rec := o.Record
	rec.Cause = program.CauseResult
	next := address(at + 2)
	b.ops[at].Ignored = next
	if want == 0 {
		b.ops[at].Zero = next
		b.add(operation{Nr: -1, Args: [6]uint64{o.Store}, Record: rec})
		return at
	}
	b.ops[at].More = next
	rec.Cause = program.CauseErrno
	b.fail(unix.EIO, rec)
	return at
}

// fail appends a failure.
func (b *builder) fail(errno unix.Errno, rec program.Record) {
	at := b.scratch()
	binary.NativeEndian.PutUint32(b.memory[at-b.base:], uint32(errno))
	b.add(operation{Nr: -1, Args: [6]uint64{at}, Record: rec})
}

// ends appends what is done last, and sends all failures there. Before the gate
// the starter may not have taken note of this process yet, which must not be
// gone before; one that has no more to do than to hand its child over may.
func (b *builder) ends(handover int) {
	b.fail(unix.ENOEXEC, program.Record{Magic: program.RecordMagic, Origin: b.lastOrigin(), Cause: program.CauseErrno}) // the steps ended without executing anything
	report := operation{Nr: unix.SYS_WRITE, Args: [6]uint64{b.status(), reportCell, 16}, Cells: 2, Ignore: everyErrno}
	exit := func(code uint64) operation { return operation{Nr: unix.SYS_EXIT_GROUP, Args: [6]uint64{code}} }
	translated := len(b.ops)
	early := b.add(report)
	// Who waits for something else from this process is to see that it will not come.
	b.add(operation{Nr: unix.SYS_CLOSE_RANGE, Args: [6]uint64{0, b.gateFD() - 1}, Ignore: everyErrno})
	b.add(operation{Nr: unix.SYS_CLOSE_RANGE, Args: [6]uint64{b.gateFD() + 1, uint64(^uint32(0))}, Ignore: everyErrno})
	b.add(operation{Nr: unix.SYS_READ, Args: [6]uint64{b.gateFD(), b.scratch(), 1}, Ignore: everyErrno})
	b.add(exit(program.ExitFailed))
	late := b.add(report)
	b.add(exit(program.ExitFailed))
	closed := b.add(exit(program.ExitGateClosed))
	for i := range b.ops[:translated] {
		o := &b.ops[i]
		o.Failed = address(late)
		if i > handover && i <= b.gate {
			o.Failed = address(early)
		}
	}
	if b.gate >= 0 {
		b.ops[b.gate].Zero, b.ops[b.gate].Ignored = address(closed), address(closed)
	}
}

func (b *builder) lastOrigin() uint32 {
	if len(b.s.Ops) == 0 {
		b.refuse(errors.New("there are no steps"))
		return 0
	}
	return uint32(b.s.Ops[len(b.s.Ops)-1].Origin)
}

// scratch gives eight bytes of memory.
func (b *builder) scratch() uint64 {
	b.memory = append(b.memory, make([]byte, 8)...)
	return b.base + uint64(len(b.memory)-8)
}

// cell gives the place of a register.
func (b *builder) cell(register uint64) uint64 {
	at, ok := b.cells[register]
	if !ok {
		at = b.scratch()
		b.cells[register] = at
	}
	return at
}

// pointer gives the place of a byte of the arena, of which it copies the chunk
// that it is in and those that this points to.
func (b *builder) pointer(off uint64) uint64 {
	n, found := slices.BinarySearch(b.s.Chunks, uint32(off))
	if !found {
		n--
	}
	if n < 0 || off >= uint64(len(b.s.Arena)) {
		b.refuse(errors.New("an address is out of range"))
		return 0
	}
	from, to := uint64(b.s.Chunks[n]), uint64(len(b.s.Arena))
	if n+1 < len(b.s.Chunks) {
		to = uint64(b.s.Chunks[n+1])
	}
	at, ok := b.chunks[n]
	if !ok {
		at = b.base + uint64(len(b.memory))
		b.chunks[n] = at
		b.memory = append(b.memory, b.s.Arena[from:to]...)
		for len(b.memory)%8 != 0 {
			b.memory = append(b.memory, 0)
		}
		for _, r := range b.s.Relocs {
			if uint64(r.At) >= from && uint64(r.At) < to {
				to := b.pointer(uint64(r.To))
				binary.NativeEndian.PutUint64(b.memory[at-b.base+uint64(r.At)-from:], to)
			}
		}
	}
	return at + off - from
}

// layout writes all down.
func (b *builder) layout() []byte {
	data := make([]byte, firstAt-tinyelf.DataAddress, b.base-tinyelf.DataAddress+uint64(len(b.memory)))
	for i := range b.ops {
		data = append(data, unsafe.Slice((*byte)(unsafe.Pointer(&b.ops[i])), operationSize)...)
	}
	data = append(data, make([]byte, b.base-tinyelf.DataAddress-uint64(len(data)))...) // a step that is made to fail has fewer operations
	return append(data, b.memory...)
}

// count is how many operations there will be.
func count(ops []program.Op) int {
	n := lastOperations
	for i := range ops {
		n++
		if ops[i].Loops() {
			n += bits.OnesCount64(ops[i].Loop)
		}
		if ops[i].Marked() {
			n++
		}
		if ops[i].Checked() {
			n++
		}
	}
	return n
}
