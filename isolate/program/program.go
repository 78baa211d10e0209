package program

import (
	"encoding/binary"
	"syscall"
	"time"
)

// Program is a compiled start. It is a value: nothing in it was looked up or
// opened yet, and the same Program can be prepared any number of times, also at
// the same time. Build it with a Builder; do not change it afterwards.
type Program struct {
	Name string // for messages

	// CloneFlags are the CLONE_NEW* flags the child is born with.
	CloneFlags uint64
	// BornIn is the register of the cgroup directory the child is born in, or None.
	BornIn int
	// ForkIn are namespaces that the forking thread enters for the length of the
	// fork; a user namespace a process in between, whose child is the program.
	ForkIn []Enter
	// Sealed: only a starter whose executable nobody can write may fork this.
	Sealed bool
	// Tail, if set, is where the child goes on in an image of its own.
	Tail *Tail
	// Status and Gate are the registers of the child's ends of the status pipe and the gate.
	Status, Gate int

	Outside []Step // run by isolate.Prepare in its own process
	Inside  []Step // run in the child
	// Beside are run by isolate.Prepared.Forked in its own process, on the child
	// that has just been forked and waits for it at an OpSync.
	Beside []Step

	Regs []string // register names; a register holds one descriptor or result
	Late []string // names of the values that only Prepare knows
	Each []string // names of the lists that only Prepare knows

	Arena  []byte // strings and structures that arguments point to
	Relocs []Reloc
	Chunks []uint32 // where each of them begins, ascending
}

// Tail is the end of the inside steps that runs in another image, which the
// step before it executes: see package isolate/tail.
type Tail struct {
	First int   // inside step
	Base  int   // number of the first of the descriptors that are its own
	Own   []int // their registers: status, gate and further ones
	// BornLast: the first fork there makes the process of the program, and the
	// one that the starter has forked ends. That does not wait at the gate,
	// whatever happens.
	BornLast bool
}

// InImage is how many of the inside steps are executed by the forked child itself.
func (p *Program) InImage() int {
	if p.Tail != nil {
		return p.Tail.First
	}
	return len(p.Inside)
}

// Enter is a namespace to enter: the register of it or of a process in it, and
// which kind of namespace, a CLONE_NEW* flag other than CLONE_NEWNS.
type Enter struct {
	Reg  int
	Kind uint64
}

// None is the register that does not exist.
const None = -1

// Reloc says that the eight bytes of the arena at At hold the address of the
// arena's byte To.
type Reloc struct{ At, To uint32 }

// Kind is what an argument's Val means.
type Kind uint8

// The kinds of arguments.
const (
	Imm      Kind = iota // Val itself
	Ptr                  // address of the arena's byte Val
	Reg                  // what register Val holds
	Late                 // a value known only to Prepare: Val is its index in Program.Late
	Item                 // the path of the list's current item, see Step.Each
	ItemReg              // the descriptor of the list's current item
	Bit                  // the current bit of Step.Loop
	FDPath               // "/proc/self/fd/N" for register Val; outside steps only
	ItemData             // the second string of the list's current item
)

// Arg is one argument of a system call, and how it prints.
type Arg struct {
	Kind Kind
	Fmt  Fmt
	Val  uint64
}

// Step is one system call (or one of the few pseudo operations of Sys) of a program.
type Step struct {
	Sys  Sys
	Args []Arg
	Dst  int // register that takes the result, or None

	// What a failure means. Without any of these it ends the start.
	Ignore    []syscall.Errno // these count as success, but Dst is not written
	IgnoreAll bool            // every error does

	// Jump is the step of the same list to go on with, 0 for the next one.
	// Jumps only go forward.
	Jump int
	When When

	// Want is the result that the call must give, when Check is set.
	Check bool
	Want  uint64

	// Loop, with an argument of kind Bit, repeats the step for every bit set in it.
	Loop *Arg
	// Each repeats the step for every item of the list Each-1; steps in a row
	// with the same Each are repeated together.
	Each int
	// If makes the step depend on the late value If-1: it is left out when
	// that is zero, or with Unless when it is not.
	If     int
	Unless bool
	// Mark makes the child say over the status pipe that it has come here, so
	// that a child that is killed can be told by where it was.
	Mark Mark
	// Ahead steps are done already in a network namespace of MakeAhead.
	Ahead bool
	// Private steps are run by Prepare in a thread that has a mount namespace of its own.
	Private bool

	// Timeout is how long what begins with this marked step may take, up to the
	// next mark; 0: no limit. Who reads the status looks at it; the child does not.
	Timeout time.Duration

	Path string // what it is done to, for messages
	Why  string // what it is for: "the root is read-only"
	Hint string // what to try when it fails, or ""

	// Data is what a pseudo operation outside works on.
	Data any
}

// When says in which case Step.Jump is taken.
type When uint8

// The cases.
const (
	OnSuccess When = iota
	OnIgnored      // an error that Ignore lists
	InParent       // the step forked, and this is the parent; the child goes on with the next step
)

// Mark is how a step is announced.
type Mark uint8

// The marks.
const (
	NoMark Mark = iota
	Stage       // a part of the program begins
	Final       // the program proper is executed next: what happens after that is its own
)

// Builder appends to a Program. The zero value is not usable; see NewBuilder.
type Builder struct {
	P    *Program
	strs map[string]uint64
}

// NewBuilder gives a builder of an empty program.
func NewBuilder(name string) *Builder {
	p := &Program{Name: name, BornIn: None, Arena: make([]byte, 8, 4096)}
	b := &Builder{P: p, strs: map[string]uint64{}}
	p.Status = b.Register("status")
	p.Gate = b.Register("gate")
	return b
}

// Register adds a register. It and what else is called in hundreds of places is
// not inlined there, and neither are the compiler's helpers: as inlined code they
// made the daemon 400 KB larger.
//
//go:noinline
func (b *Builder) Register(name string) int {
	b.P.Regs = append(b.P.Regs, name)
	return len(b.P.Regs) - 1
}

// LateValue adds a value that Prepare fills in and gives its index.
func (b *Builder) LateValue(name string) int {
	b.P.Late = append(b.P.Late, name)
	return len(b.P.Late) - 1
}

// List adds a list that Prepare fills in and gives the value for Step.Each.
func (b *Builder) List(name string) int {
	b.P.Each = append(b.P.Each, name)
	return len(b.P.Each)
}

// Str puts a NUL-terminated string into the arena; equal strings are put there once.
//
//go:noinline
func (b *Builder) Str(s string) Arg {
	off, ok := b.strs[s]
	if !ok {
		off = b.chunk()
		b.P.Arena = append(append(b.P.Arena, s...), 0)
		b.strs[s] = off
	}
	return Arg{Ptr, FmtStr, off}
}

// Data puts data into the arena, aligned to eight bytes.
func (b *Builder) Data(data []byte, f Fmt) Arg {
	b.align()
	off := b.chunk()
	b.P.Arena = append(b.P.Arena, data...)
	return Arg{Ptr, f, off}
}

// U64s puts 64-bit values into the arena.
func (b *Builder) U64s(f Fmt, v ...uint64) Arg {
	data := make([]byte, 0, 8*len(v))
	for _, x := range v {
		data = binary.NativeEndian.AppendUint64(data, x)
	}
	return b.Data(data, f)
}

// U32s puts 32-bit values into the arena.
func (b *Builder) U32s(f Fmt, v ...uint32) Arg {
	data := make([]byte, 0, 4*len(v))
	for _, x := range v {
		data = binary.NativeEndian.AppendUint32(data, x)
	}
	return b.Data(data, f)
}

// Strs puts a NULL-terminated array of string pointers into the arena, as execve takes it.
func (b *Builder) Strs(list []string) Arg {
	offs := make([]uint64, len(list))
	for i, s := range list {
		offs[i] = b.Str(s).Val
	}
	b.align()
	at := b.chunk()
	b.P.Arena = append(b.P.Arena, make([]byte, 8*(len(list)+1))...)
	for i, off := range offs {
		b.P.Relocs = append(b.P.Relocs, Reloc{uint32(at) + uint32(8*i), uint32(off)})
	}
	return Arg{Ptr, FmtStrs, at}
}

// Point makes the eight bytes at offset at of a Data argument the address of what to points to.
func (b *Builder) Point(data Arg, at int, to Arg) {
	b.P.Relocs = append(b.P.Relocs, Reloc{uint32(data.Val) + uint32(at), uint32(to.Val)})
}

func (b *Builder) align() {
	for len(b.P.Arena)%8 != 0 {
		b.P.Arena = append(b.P.Arena, 0)
	}
}

// chunk begins another piece of the arena.
func (b *Builder) chunk() uint64 {
	b.P.Chunks = append(b.P.Chunks, uint32(len(b.P.Arena)))
	return uint64(len(b.P.Arena))
}

// Out appends a step to the outside list and gives its index.
//
//go:noinline
func (b *Builder) Out(s Step) int {
	b.P.Outside = append(b.P.Outside, s)
	return len(b.P.Outside) - 1
}

// Beside appends a step to the list beside and gives its index.
func (b *Builder) Beside(s Step) int {
	b.P.Beside = append(b.P.Beside, s)
	return len(b.P.Beside) - 1
}

// In appends a step to the inside list and gives its index.
//
//go:noinline
func (b *Builder) In(s Step) int {
	b.P.Inside = append(b.P.Inside, s)
	return len(b.P.Inside) - 1
}

// Land makes the inside step at index at jump to the step that is appended next.
func (b *Builder) Land(at int) { b.P.Inside[at].Jump = len(b.P.Inside) }

// N is an immediate printed as a decimal number.
func N(v int) Arg { return Arg{Imm, FmtDec, uint64(v)} }

// Flag is an immediate printed as f says.
func Flag(f Fmt, v uint64) Arg { return Arg{Imm, f, v} }

// R is what a register holds.
func R(reg int) Arg { return Arg{Reg, FmtFD, uint64(reg)} }

// L is a late value, printed by its name.
func L(late int) Arg { return Arg{Late, FmtDec, uint64(late)} }

// Null is a NULL pointer.
func Null() Arg { return Arg{Imm, FmtPtr, 0} }

// CWD is AT_FDCWD.
func CWD() Arg { return Arg{Imm, FmtFD, atFDCWD} }
