package isolate

import "berth/isolate/program"

// image joins the program's inside steps with what the outside steps gave:
// conditions are decided, lists are unrolled, late values are filled in. The
// result runs in this process, which has the descriptors.
func (pr *Prepared) image() *program.Image {
	p := pr.program
	l := program.NewLinker(pr.arena, pr.relocs, len(p.Inside))
	first := make([]int, len(p.Inside)+1) // where each step begins in the image
	for i := 0; i < len(p.Inside); {
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
		for end < len(p.Inside) && p.Inside[end].Each == s.Each {
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
	first[len(p.Inside)] = l.Len()
	return l.Link(p, first, pr.inputs())
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
	for _, s := range p.Inside {
		for _, a := range s.Args {
			if a.Kind == program.Reg {
				use(int(a.Val))
			}
		}
	}
	return in
}
