package seccomp

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"golang.org/x/net/bpf"
)

// Offsets into struct seccomp_data (linux/seccomp.h) on a little-endian
// machine, which all that we run on are.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// assembler writes a program from its end to its beginning: the targets of a
// jump, which all lie ahead in classic BPF, are then known when it is written.
type assembler struct {
	reversed []bpf.Instruction
	returns  map[uint32]label // the latest return of each value
}

// label is a place in the program, counted from its end.
type label int

// near is how far a conditional jump reaches.
const near = math.MaxUint8

// assemble makes the program for a filter.
func assemble(f filter) ([]byte, error) {
	a := assembler{returns: map[uint32]label{}}
	next := a.ret(f.badArch)
	for _, e := range slices.Backward(f.entries) {
		dispatch := a.search(e.spans)
		if len(e.spans) > 1 {
			dispatch = a.emit(bpf.LoadAbsolute{Off: offsetNumber, Size: 4})
		}
		next = a.jump(bpf.JumpEqual, e.audit, dispatch, next)
	}
	a.emit(bpf.LoadAbsolute{Off: offsetArch, Size: 4})
	if len(a.reversed) > maxInstructions {
		return nil, fmt.Errorf("cannot compile the seccomp filter: it needs %d instructions and the kernel takes %d; use fewer rules with arguments", len(a.reversed), maxInstructions)
	}
	slices.Reverse(a.reversed)
	raw, err := bpf.Assemble(a.reversed)
	if err != nil {
		return nil, fmt.Errorf("cannot compile the seccomp filter: %w", err)
	}
	out := make([]byte, 0, 8*len(raw))
	for _, i := range raw {
		out = binary.NativeEndian.AppendUint16(out, i.Op)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out, nil
}

// emit puts an instruction before all others.
func (a *assembler) emit(i bpf.Instruction) label {
	a.reversed = append(a.reversed, i)
	return label(len(a.reversed))
}

// skip is how many instructions lie between the place before all others and l.
func (a *assembler) skip(l label) int { return len(a.reversed) - int(l) }

// ret gives a place that returns the verdict.
func (a *assembler) ret(v Verdict) label {
	value := v.ret()
	if l, ok := a.returns[value]; ok && a.skip(l) < near {
		return l
	}
	a.returns[value] = a.emit(bpf.RetConstant{Val: value})
	return a.returns[value]
}

// reachable gives l, or a place nearer by that leads there. Up to two more
// instructions may be put in before the jump to it is.
func (a *assembler) reachable(l label) label {
	if a.skip(l) < near-1 {
		return l
	}
	if r, ok := a.reversed[l-1].(bpf.RetConstant); ok {
		a.returns[r.Val] = a.emit(r)
		return a.returns[r.Val]
	}
	return a.emit(bpf.Jump{Skip: uint32(a.skip(l))})
}

// jump goes to yes if the accumulator compares with value, and to no otherwise.
func (a *assembler) jump(cond bpf.JumpTest, value uint32, yes, no label) label {
	yes = a.reachable(yes)
	no = a.reachable(no)
	return a.emit(bpf.JumpIf{Cond: cond, Val: value, SkipTrue: uint8(a.skip(yes)), SkipFalse: uint8(a.skip(no))})
}

// search finds the span of the number in the accumulator by halving.
func (a *assembler) search(spans []span) label {
	if len(spans) == 1 {
		return a.decide(spans[0].decision)
	}
	middle := len(spans) / 2
	above := a.search(spans[middle:])
	below := a.search(spans[:middle])
	return a.jump(bpf.JumpGreaterOrEqual, spans[middle].first, above, below)
}

// decide runs the tests in order.
func (a *assembler) decide(d decision) label {
	next := a.ret(d.otherwise)
	for _, t := range slices.Backward(d.tests) {
		fail := next
		next = a.ret(t.verdict)
		for _, arg := range slices.Backward(t.args) {
			next = a.compare(arg, t.bits32, next, fail)
		}
	}
	return next
}

// compare goes to yes if the argument matches, and to no otherwise.
func (a *assembler) compare(arg Arg, bits32 bool, yes, no label) label {
	op := arg.Op
	switch op { // the rest is done by the opposite
	case NotEqual:
		op, yes, no = Equal, no, yes
	case Less:
		op, yes, no = GreaterOrEqual, no, yes
	case LessOrEqual:
		op, yes, no = Greater, no, yes
	}
	low, high := uint32(arg.Value), uint32(arg.Value>>32)
	offset := uint32(offsetArgs + 8*arg.Index)
	if op == MaskedEqual {
		at := a.masked(offset, low, uint32(arg.ValueTwo), yes, no)
		if bits32 {
			return at
		}
		return a.masked(offset+4, high, uint32(arg.ValueTwo>>32), at, no)
	}
	cond := map[Op]bpf.JumpTest{Equal: bpf.JumpEqual, GreaterOrEqual: bpf.JumpGreaterOrEqual, Greater: bpf.JumpGreaterThan}[op]
	at := a.loaded(offset, a.jump(cond, low, yes, no))
	if bits32 {
		return at
	}
	at = a.jump(bpf.JumpEqual, high, at, no)
	if op != Equal {
		at = a.jump(bpf.JumpGreaterThan, high, yes, at)
	}
	return a.loaded(offset+4, at)
}

// masked compares one word under a mask. Bits of the value outside of the mask
// do not count, so an empty mask always matches.
func (a *assembler) masked(offset, mask, value uint32, yes, no label) label {
	if mask == 0 {
		return yes
	}
	a.jump(bpf.JumpEqual, value&mask, yes, no)
	return a.loaded(offset, a.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask}))
}

// loaded puts the load of a word before the place just written.
func (a *assembler) loaded(offset uint32, _ label) label {
	return a.emit(bpf.LoadAbsolute{Off: offset, Size: 4})
}
