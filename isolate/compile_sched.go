package isolate

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// maxCPU is the highest number of processors that a kernel can be built for.
const maxCPU = 8192

// initialAffinity binds the child to processors before it enters its groups. A
// child that is born in its group enters none; there the group's own processors
// stand where the two have none in common.
func (c *compiler) initialAffinity(g Cgroup) {
	switch cpus := c.proc.Scheduling.InitialAffinity; {
	case len(cpus) > 0:
		s := c.affinity(mask(cpus), "the processors for the way into the groups")
		if g.Unified {
			s = ignoring(s, unix.EINVAL)
		}
		c.in(s)
	case c.proc.Scheduling.AnyProcessor:
		// Those that there are not, and those of other groups, the kernel leaves out.
		c.in(c.affinity(slices.Repeat([]uint64{^uint64(0)}, maxCPU/64), "all processors that the groups have"))
	}
}

// mask are processors as the bits of sched_setaffinity(2).
func mask(cpus []int) []uint64 {
	words := make([]uint64, slices.Max(cpus)/64+1)
	for _, cpu := range cpus {
		words[cpu/64] |= 1 << (cpu % 64)
	}
	return words
}

func (c *compiler) affinity(words []uint64, why string) program.Step {
	return program.Step{Sys: program.SysSchedSetaffinity, Dst: program.None, Why: why, Hint: "are there such processors, and may the group use them?",
		Args: []program.Arg{program.N(0), program.N(8 * len(words)), c.b.U64s(program.FmtBuf, words...)}}
}

// maxNode is the highest number of memory nodes that a kernel can be built for.
const maxNode = 1024

func (c *compiler) memoryPolicy(m *MemoryPolicy) program.Step {
	s := program.Step{Sys: program.SysSetMempolicy, Dst: program.None, Why: "where memory is taken from", Hint: "are there such memory nodes, and may the group use them?",
		Args: []program.Arg{program.Flag(program.FmtHex, uint64(m.Mode)), program.Null(), program.N(0)}}
	if len(m.Nodes) > 0 {
		words := make([]uint64, slices.Max(m.Nodes)/64+1)
		for _, node := range m.Nodes {
			words[node/64] |= 1 << (node % 64)
		}
		// The kernel takes one bit less than it is told (set_mempolicy(2), bugs).
		s.Args[1], s.Args[2] = c.b.U64s(program.FmtBuf, words...), program.N(64*len(words)+1)
	}
	return s
}

// deadlines tells whether only sched_setattr(2) can say what is wanted.
func (s *Scheduling) deadlines() bool { return s.Flags|s.Runtime|s.Deadline|s.Period != 0 }

// attr is policy, nice value and parameters as sched_setattr(2) takes them (struct sched_attr).
func (s *Scheduling) attr() []byte {
	b := make([]byte, 0, 48)
	policy, nice := 0, 0
	if s.Policy != nil {
		policy = *s.Policy
	}
	if s.Nice != nil {
		nice = *s.Nice
	}
	b = binary.NativeEndian.AppendUint32(b, 48)
	b = binary.NativeEndian.AppendUint32(b, uint32(policy))
	b = binary.NativeEndian.AppendUint64(b, s.Flags)
	b = binary.NativeEndian.AppendUint32(b, uint32(int32(nice)))
	b = binary.NativeEndian.AppendUint32(b, uint32(s.Priority))
	for _, v := range []uint64{s.Runtime, s.Deadline, s.Period} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

func (s *Scheduling) validate() error {
	if s.deadlines() && s.Policy == nil {
		return fmt.Errorf("scheduling flags, runtime, deadline and period need a policy")
	}
	for _, cpu := range append(append([]int{}, s.InitialAffinity...), s.FinalAffinity...) {
		if cpu < 0 || cpu >= maxCPU {
			return fmt.Errorf("there is no processor %d", cpu)
		}
	}
	if s.Memory != nil {
		for _, node := range s.Memory.Nodes {
			if node < 0 || node >= maxNode {
				return fmt.Errorf("there is no memory node %d", node)
			}
		}
	}
	return nil
}
