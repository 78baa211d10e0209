package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// deviceProgram is a loaded eBPF program for one set of rules. It is kept in the
// tree, since most containers have the same rules; the groups that it is
// attached to keep it alive by themselves, also when this process ends.
type deviceProgram struct{ program *ebpf.Program }

// BPF_DEVCG_DEV_* of linux/bpf.h.
const (
	bpfBlock = 1
	bpfChar  = 2
)

// deviceInstructions compiles rules. The program gets struct bpf_cgroup_dev_ctx
// (access << 16 | type, major, minor) and gives 1 to allow. The rules are tried
// from the last to the first: each decides on those bits of the access asked for
// that no later one has decided on, and what is left over falls to the default.
func deviceInstructions(rules []DeviceRule, allowRest bool) asm.Instructions {
	const (
		kind, access, major, minor, scratch = asm.R2, asm.R3, asm.R4, asm.R5, asm.R6
	)
	program := asm.Instructions{
		asm.LoadMem(kind, asm.R1, 0, asm.Word),
		asm.Mov.Reg32(access, kind),
		asm.And.Imm32(kind, 0xffff),
		asm.RSh.Imm32(access, 16),
		asm.LoadMem(major, asm.R1, 4, asm.Word),
		asm.LoadMem(minor, asm.R1, 8, asm.Word),
	}
	if len(rules) == 0 && allowRest {
		return asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()} // the kernel refuses code that is never reached
	}
	label := "first"
	for i := len(rules) - 1; i >= 0; i-- {
		rule := rules[i]
		next := fmt.Sprintf("after%d", i)
		number := int32(bpfChar)
		if rule.Type == 'b' {
			number = bpfBlock
		}
		block := asm.Instructions{asm.JNE.Imm32(kind, number, next)}
		if rule.Major != -1 {
			block = append(block, asm.JNE.Imm32(major, int32(rule.Major), next))
		}
		if rule.Minor != -1 {
			block = append(block, asm.JNE.Imm32(minor, int32(rule.Minor), next))
		}
		if rule.Allow {
			block = append(block,
				asm.And.Imm32(access, int32(^rule.access()&accessAll)),
				asm.JEq.Imm32(access, 0, "allow"))
		} else {
			block = append(block,
				asm.Mov.Reg32(scratch, access),
				asm.And.Imm32(scratch, int32(rule.access())),
				asm.JNE.Imm32(scratch, 0, "deny"))
		}
		block[0] = block[0].WithSymbol(label)
		label = next
		program = append(program, block...)
	}
	rest := "deny"
	if allowRest {
		rest = "allow"
	}
	return append(program,
		asm.Ja.Label(rest).WithSymbol(label),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("deny"),
		asm.Return(),
	)
}

// deviceProgram gives the loaded program for the rules of l. It belongs to the tree.
func (t *Tree) deviceProgram(l *Limits) (*ebpf.Program, error) {
	return t.deviceProgramFor(l.AllDevices, l.deviceRules())
}

// deviceProgramFor gives the loaded program for a default and rules, last match
// wins. It belongs to the tree.
func (t *Tree) deviceProgramFor(allowRest bool, rules []DeviceRule) (*ebpf.Program, error) {
	key := fmt.Sprintf("%v %v", allowRest, rules)
	for _, r := range rules {
		if r.Allow {
			key += "+"
		} else {
			key += "-"
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.programs[key]; p != nil {
		return p.program, nil
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         programName,
		Type:         ebpf.CGroupDevice,
		Instructions: deviceInstructions(rules, allowRest),
		License:      "Apache-2.0",
	})
	if err != nil {
		return nil, cannotLoad(err)
	}
	t.programs[key] = &deviceProgram{program}
	return program, nil
}

const programName = "berth_devices"

func cannotLoad(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the eBPF program that filters devices cannot be loaded without CAP_SYS_ADMIN or CAP_BPF and CAP_NET_ADMIN: %w", err)
	}
	return fmt.Errorf("the eBPF program that filters devices cannot be loaded: %w", err)
}

// cannotAttach says why a program could not be attached.
func cannotAttach(dir *os.File, err error) error {
	if errors.Is(err, unix.EPERM) {
		return &UnsupportedError{Key: "device", Reason: "the eBPF program that filters devices cannot be attached without CAP_SYS_ADMIN or CAP_NET_ADMIN"}
	}
	return fmt.Errorf("cannot set device: cannot attach the eBPF program to %s: %w", dir.Name(), err)
}

// keepFiltering attaches a program that allows everything to the sub-tree, and
// so tells whether v2 can filter devices here. Containers need none of it, but
// the kernel patches its code when the first device program comes and when the
// last one goes, which each start and end of a lone container would pay for.
func (t *Tree) keepFiltering(h *hierarchy) error {
	attached, err := attachedPrograms(h.slice)
	if err != nil {
		return err
	}
	for _, p := range attached {
		p.Close()
	}
	if len(attached) > 0 {
		return nil
	}
	program, err := t.deviceProgram(&Limits{AllDevices: true})
	if err != nil {
		return err
	}
	return link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: int(h.slice.Fd()), Program: program, Attach: ebpf.AttachCGroupDevice, Flags: unix.BPF_F_ALLOW_MULTI,
	})
}

// setDeviceProgram attaches the program to the group in place of the one that
// is there, which a new group does not have. It stays with the group until that
// is removed: it is attached directly and not by a link, which would end with
// this process.
func (g *Group) setDeviceProgram(h *hierarchy, l *Limits, isNew bool) error {
	return g.filterDevices(h, l.AllDevices, l.deviceRules(), isNew)
}

func (g *Group) filterDevices(h *hierarchy, allowRest bool, rules []DeviceRule, isNew bool) error {
	dir, err := openDirAt(h.slice, g.name)
	if err != nil {
		return err
	}
	defer dir.Close()
	var attached []*ebpf.Program
	if !isNew {
		if attached, err = attachedPrograms(dir); err != nil {
			return fmt.Errorf("cannot set device: cannot ask for the eBPF programs of %s: %w", dir.Name(), err)
		}
	}
	defer func() {
		for _, p := range attached {
			p.Close()
		}
	}()
	if allowRest && !slices.ContainsFunc(rules, func(r DeviceRule) bool { return !r.Allow }) {
		for _, p := range attached {
			if err := detachProgram(dir, p); err != nil {
				return fmt.Errorf("cannot set device: cannot detach the eBPF program of %s: %w", dir.Name(), err)
			}
		}
		return nil
	}
	program, err := g.tree.deviceProgramFor(allowRest, rules)
	if err != nil {
		return &UnsupportedError{Key: "device", Reason: err.Error()}
	}
	options := link.RawAttachProgramOptions{
		Target:  int(dir.Fd()),
		Program: program,
		Attach:  ebpf.AttachCGroupDevice,
		// A container that makes groups of its own may filter further.
		Flags: unix.BPF_F_ALLOW_MULTI,
	}
	if len(attached) > 0 {
		options.Anchor = link.ReplaceProgram(attached[0])
	}
	if err := link.RawAttachProgram(options); err != nil {
		return cannotAttach(dir, err)
	}
	return nil
}

// attachedPrograms opens the device programs attached to a group itself; there
// is at most one, as nobody else attaches any. The caller closes them.
func attachedPrograms(dir *os.File) ([]*ebpf.Program, error) {
	result, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: ebpf.AttachCGroupDevice})
	if err != nil {
		return nil, err
	}
	var programs []*ebpf.Program
	for _, p := range result.Programs {
		program, err := ebpf.NewProgramFromID(p.ID)
		if err != nil {
			for _, p := range programs {
				p.Close()
			}
			return nil, err
		}
		programs = append(programs, program)
	}
	return programs, nil
}

func detachProgram(dir *os.File, p *ebpf.Program) error {
	return link.RawDetachProgram(link.RawDetachProgramOptions{Target: int(dir.Fd()), Program: p, Attach: ebpf.AttachCGroupDevice})
}
