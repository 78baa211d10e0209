package cgroup

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// code is an eBPF program in the making: instructions of eight bytes each, as in
// the kernel's Documentation/bpf/standardization/instruction-set.rst.
type code struct {
	text  []byte
	jumps []jump
}

// jump is an instruction that goes to a label which comes later.
type jump struct {
	at int // the instruction
	to string
}

// The opcodes that are used: 32-bit arithmetic and comparisons (Linux 5.1) but for mov64.
const (
	opLoad32 = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	opMov32  = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X
	opAnd32  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opShr32  = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	opMov64  = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	opJump   = unix.BPF_JMP | unix.BPF_JA
	opJumpEq = unix.BPF_JMP32 | unix.BPF_JEQ | unix.BPF_K
	opJumpNe = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_K
	opExit   = unix.BPF_JMP | unix.BPF_EXIT
)

const instructionSize = 8

// add appends an instruction. dst and src are registers.
func (c *code) add(op, dst, src byte, offset int16, value int32) {
	registers := dst | src<<4
	if littleEndian := binary.NativeEndian.Uint16([]byte{1, 0}) == 1; !littleEndian {
		registers = dst<<4 | src
	}
	c.text = append(c.text, op, registers)
	c.text = binary.NativeEndian.AppendUint16(c.text, uint16(offset))
	c.text = binary.NativeEndian.AppendUint32(c.text, uint32(value))
}

// jump appends one that goes to a label if the register and the value say so.
func (c *code) jump(op, register byte, value int32, to string) {
	c.jumps = append(c.jumps, jump{c.len(), to})
	c.add(op, register, 0, 0, value)
}

func (c *code) len() int { return len(c.text) / instructionSize }

// land makes the next instruction the one that jumps to the label go to, and
// tells whether there are any.
func (c *code) land(label string) bool {
	before := len(c.jumps)
	c.jumps = slices.DeleteFunc(c.jumps, func(j jump) bool {
		if j.to == label {
			// It is counted from the instruction behind the jump.
			binary.NativeEndian.PutUint16(c.text[j.at*instructionSize+2:], uint16(c.len()-j.at-1))
		}
		return j.to == label
	})
	return len(c.jumps) < before
}

// The registers that are used: 0 is the result, 1 the context at the beginning.
const (
	regResult = iota
	regContext
	regKind
	regAccess
	regMajor
	regMinor
	regScratch
)

// BPF_DEVCG_DEV_* of linux/bpf.h.
const (
	bpfBlock = 1
	bpfChar  = 2
)

// deviceCode compiles rules. The program gets struct bpf_cgroup_dev_ctx
// (access << 16 | type, major, minor) and gives 1 to allow. The rules are tried
// from the last to the first: each decides on those bits of the access asked for
// that no later one has decided on, and what is left over falls to the default.
func deviceCode(rules []DeviceRule, allowRest bool) []byte {
	c := &code{}
	c.add(opLoad32, regKind, regContext, 0, 0)
	c.add(opMov32, regAccess, regKind, 0, 0)
	c.add(opAnd32, regKind, 0, 0, 0xffff)
	c.add(opShr32, regAccess, 0, 0, 16)
	c.add(opLoad32, regMajor, regContext, 4, 0)
	c.add(opLoad32, regMinor, regContext, 8, 0)
	for _, rule := range slices.Backward(rules) {
		number := int32(bpfChar)
		if rule.Type == 'b' {
			number = bpfBlock
		}
		c.jump(opJumpNe, regKind, number, "next")
		if rule.Major != -1 {
			c.jump(opJumpNe, regMajor, int32(rule.Major), "next")
		}
		if rule.Minor != -1 {
			c.jump(opJumpNe, regMinor, int32(rule.Minor), "next")
		}
		if rule.Allow {
			c.add(opAnd32, regAccess, 0, 0, int32(^rule.access()&accessAll))
			c.jump(opJumpEq, regAccess, 0, "allow")
		} else {
			c.add(opMov32, regScratch, regAccess, 0, 0)
			c.add(opAnd32, regScratch, 0, 0, int32(rule.access()))
			c.jump(opJumpNe, regScratch, 0, "deny")
		}
		c.land("next")
	}
	rest, other := "deny", "allow"
	if allowRest {
		rest, other = other, rest
	}
	c.verdict(rest)
	if c.land(other) { // the kernel refuses code that is never reached
		c.verdict(other)
	}
	return c.text
}

func (c *code) verdict(label string) {
	c.land(label)
	c.add(opMov64, regResult, 0, 0, map[string]int32{"allow": 1, "deny": 0}[label])
	c.add(opExit, 0, 0, 0, 0)
}
