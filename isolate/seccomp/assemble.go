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

// near is how far a conditional jump reaches.
const near = math.MaxUint8

// assemble makes the program for a filter.
func assemble(f filter) ([]byte, error) {
	m := nodes{}
	first := m.ret(f.badArch)
	for _, e := range slices.Backward(f.entries) {
		first = m.test(word{offset: offsetArch}, bpf.JumpEqual, e.audit, m.entry(e), first)
	}
	a := assembler{places: map[*node]*place{}}
	a.survey(first)
	a.write(first)
	a.load(first.from)
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

// assembler writes a program from its end to its beginning: the targets of a
// jump, which all lie ahead in classic BPF, are then known when it is written.
type assembler struct {
	reversed []bpf.Instruction
	places   map[*node]*place
}

// label is a place in the program, counted from its end.
type label int

// place is where a node was written, as far as it was.
type place struct {
	loaded   label // with its word in the accumulator
	unloaded label // with anything there; only where loads is set
	loads    bool
}

// emit puts an instruction before all others.
func (a *assembler) emit(i bpf.Instruction) label {
	a.reversed = append(a.reversed, i)
	return label(len(a.reversed))
}

// skip is how many instructions lie between the place before all others and l.
func (a *assembler) skip(l label) int { return len(a.reversed) - int(l) }

// survey finds the nodes that are reached with another word in the accumulator than theirs.
func (a *assembler) survey(n *node) {
	if a.places[n] != nil {
		return
	}
	a.places[n] = &place{}
	switch n.kind {
	case compares:
		for _, next := range []*node{n.yes, n.no} {
			a.survey(next)
			if next.from != n.from {
				a.places[next].loads = true
			}
		}
	case clearBits:
		a.survey(n.yes)
	}
}

// write puts a node before all others, after the ones it leads to.
func (a *assembler) write(n *node) {
	p := a.places[n]
	if p.loaded != 0 {
		return
	}
	switch n.kind {
	case returns:
		p.loaded = a.emit(bpf.RetConstant{Val: n.value})
		p.unloaded = p.loaded
		return
	case clearBits:
		a.write(n.yes)
		next := a.places[n.yes].loaded
		if a.skip(next) > 0 {
			a.emit(bpf.Jump{Skip: uint32(a.skip(next))})
		}
		p.loaded = a.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^n.value})
	case compares:
		a.write(n.yes)
		a.write(n.no)
		yes, no := a.reach(n, n.yes), a.reach(n, n.no)
		p.loaded = a.emit(bpf.JumpIf{Cond: n.cond, Val: n.value, SkipTrue: uint8(a.skip(yes)), SkipFalse: uint8(a.skip(no))})
	}
	if p.loads {
		p.unloaded = a.load(n.from)
	}
}

// load puts a word into the accumulator.
func (a *assembler) load(from word) label {
	if from.mask != 0 {
		a.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: from.mask})
	}
	return a.emit(bpf.LoadAbsolute{Off: from.offset, Size: 4})
}

// reach gives the place where one node goes on at another. If that is too far
// for a conditional jump, the other one gets a place nearer by, which leads
// there. Up to two more instructions may be put in before the jump is.
func (a *assembler) reach(from, to *node) label {
	p := a.places[to]
	at := &p.loaded
	if to.from != from.from {
		at = &p.unloaded
	}
	if a.skip(*at) >= near-1 {
		if to.kind == returns {
			*at = a.emit(bpf.RetConstant{Val: to.value})
		} else {
			*at = a.emit(bpf.Jump{Skip: uint32(a.skip(*at))})
		}
	}
	return *at
}
