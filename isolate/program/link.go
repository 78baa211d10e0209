package program

// Linker makes the Ops of an Image from steps whose late values are known.
type Linker struct {
	arena  []byte
	relocs []Reloc
	ops    []Op
	extra  []int32 // descriptors beyond the program's registers
	paths  map[string]uint64
}

// NewLinker gives a linker that adds to an arena and its relocations, which stay
// as they are; steps is about how many there will be.
func NewLinker(arena []byte, relocs []Reloc, steps int) *Linker {
	// At its end a slice is copied when it is appended to.
	return &Linker{arena: arena[:len(arena):len(arena)], relocs: relocs[:len(relocs):len(relocs)], ops: make([]Op, 0, steps+steps/4)}
}

// Len is the number of ops so far.
func (l *Linker) Len() int { return len(l.ops) }

// Str puts a string into the arena, once.
func (l *Linker) Str(s string) uint64 {
	if off, ok := l.paths[s]; ok {
		return off
	}
	if l.paths == nil {
		l.paths = map[string]uint64{}
	}
	off := uint64(len(l.arena))
	l.arena = append(append(l.arena, s...), 0)
	l.paths[s] = off
	return off
}

// Register gives a register, beyond the program's own base ones, that holds fd.
func (l *Linker) Register(fd int32, base int) int {
	l.extra = append(l.extra, fd)
	return base + len(l.extra) - 1
}

// Add appends step number origin of the inside list. arg turns each argument
// into one of the kinds that an Image knows.
func (l *Linker) Add(s *Step, origin int, arg func(Arg) Arg) {
	op := Op{Nr: uint32(sysTable[s.Sys].nr), Origin: uint16(origin), Dst: int16(s.Dst), Args: uint8(len(s.Args)), Want: s.Want, Jump: uint16(s.Jump)}
	for i, a := range s.Args {
		a = arg(a)
		op.Kinds[i], op.Vals[i] = a.Kind, a.Val
	}
	for i, e := range s.Ignore[:min(len(s.Ignore), maxIgnore)] {
		op.Ignore[i] = uint16(e)
	}
	if s.IgnoreAll {
		op.Flags |= flagIgnoreAll
	}
	if s.Check {
		op.Flags |= flagCheck
	}
	if s.Loop != nil {
		op.Flags |= flagLoop
		op.Loop = arg(*s.Loop).Val
	}
	if s.Ahead {
		op.Ahead = 1
	}
	if s.Jump != 0 {
		op.Flags |= [...]uint8{flagOnSuccess, flagOnIgnored, flagInParent}[s.When]
	}
	op.Flags |= [...]uint8{0, flagMark, flagMark | flagFinal}[s.Mark]
	l.ops = append(l.ops, op)
}

// Linked gives the ops with their jumps counted among themselves, and what they
// point to. first is as for Link.
func (l *Linker) Linked(first []int) ([]Op, []byte, []Reloc) {
	for i := range l.ops {
		if j := l.ops[i].Jump; j != 0 {
			l.ops[i].Jump = uint16(first[j])
		}
	}
	return l.ops, l.arena, l.relocs
}

// Link gives the Image. first tells for each inside step where it begins among
// the ops, regs are the descriptors in the program's registers, -1 for none.
func (l *Linker) Link(p *Program, first []int, regs []int32) *Image {
	l.Linked(first)
	return &Image{
		Expendable: p.Tail != nil && p.Tail.BornLast, Sealed: p.Sealed,
		CloneFlags: p.CloneFlags, BornIn: p.BornIn, ForkIn: p.ForkIn, Status: p.Status, Gate: p.Gate,
		Ops: l.ops, Relocs: l.relocs, Arena: l.arena, Regs: append(regs, l.extra...),
	}
}
