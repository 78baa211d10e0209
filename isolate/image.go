package isolate

import (
	"berth/isolate/program"
	"berth/isolate/tail"
)

// image joins the program's inside steps with what the outside steps gave:
// conditions are decided, lists are unrolled, late values are filled in. The
// result runs in this process, which has the descriptors.
func (pr *Prepared) image() *program.Image {
	p := pr.program
	if pr.linked == nil {
		pr.linkAhead()
	}
	done := pr.linked
	pr.linked = nil // an Image takes what is linked for itself
	return done.linker.Link(p, done.first, pr.inputs())
}

// linkAhead does the greater part of image. It stands until a late value changes;
// descriptors may still come.
func (pr *Prepared) linkAhead() {
	l, first := pr.link(0, pr.program.InImage())
	pr.linked = &linked{l, first}
}

// linked is what link gives.
type linked struct {
	linker *program.Linker
	first  []int
}

// tailMemFD makes what the child's image executes at its end. pr owns it.
func (pr *Prepared) tailMemFD() (int, error) {
	p := pr.program
	l, first := pr.link(p.Tail.First, len(p.Inside))
	source := &tail.Source{Tail: *p.Tail, Chunks: pr.chunks, FailAt: pr.failInside}
	source.Ops, source.Arena, source.Relocs = l.Linked(first)
	fd, err := tail.MemFD(source)
	if err != nil {
		return -1, err
	}
	return pr.own(fd, nil)
}

// link joins the inside steps from one up to but not including another; first
// tells where each begins among the ops.
func (pr *Prepared) link(from, to int) (l *program.Linker, first []int) {
	p := pr.program
	l = program.NewLinker(pr.arena, pr.relocs, to-from)
	first = make([]int, len(p.Inside)+1)
	for i := from; i < to; {
		s := &p.Inside[i]
		if s.Each == 0 {
			first[i] = l.Len()
			if s.If == 0 || (pr.late[s.If-1].val != 0) != s.Unless {
				l.Add(s, i, pr.argument(listItem{}, l))
			}
			i++
			continue
		}
		end := i
		for end < to && p.Inside[end].Each == s.Each {
			first[end] = l.Len()
			end++
		}
		for _, item := range pr.lists[s.Each-1] {
			for j := i; j < end; j++ {
				l.Add(&p.Inside[j], j, pr.argument(item, l))
			}
		}
		i = end
	}
	first[to] = l.Len()
	return l, first
}

// argument gives what turns late values and the list's item into immediates and pointers.
func (pr *Prepared) argument(item listItem, l *program.Linker) func(program.Arg) program.Arg {
	return func(a program.Arg) program.Arg {
		switch a.Kind {
		case program.Late:
			v := pr.late[a.Val]
			if v.ptr {
				return program.Arg{Kind: program.Ptr, Val: v.val}
			}
			return program.Arg{Kind: program.Imm, Val: v.val}
		case program.Item:
			return program.Arg{Kind: program.Ptr, Val: l.Str(item.path)}
		case program.ItemData:
			return program.Arg{Kind: program.Ptr, Val: l.Str(item.data)}
		case program.ItemReg:
			return program.Arg{Kind: program.Reg, Val: uint64(l.Register(item.fd, len(pr.regs)))}
		}
		return a
	}
}

// inputs are the registers with what the child is to find in them: only those
// that an inside step reads before one has written it.
func (pr *Prepared) inputs() []int32 {
	p := pr.program
	in := make([]int32, len(p.Regs))
	for i := range in {
		in[i] = -1
	}
	use := func(r int) { in[r] = pr.regs[r] }
	use(p.Status)
	use(p.Gate)
	if p.BornIn != program.None {
		use(p.BornIn)
	}
	for _, e := range p.ForkIn {
		use(e.Reg)
	}
	for _, s := range p.Inside[:p.InImage()] {
		for _, a := range s.Args {
			if a.Kind == program.Reg {
				use(int(a.Val))
			}
		}
	}
	return in
}
