package oci

import (
	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The modes and flags of set_mempolicy(2), from linux/mempolicy.h.
var (
	memoryModes = map[specs.MemoryPolicyModeType]int{
		specs.MpolDefault: mpolDefault, specs.MpolPreferred: 1, specs.MpolBind: mpolBind, specs.MpolInterleave: 3,
		specs.MpolLocal: mpolLocal, specs.MpolPreferredMany: mpolPreferredMany, specs.MpolWeightedInterleave: 6,
	}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{
		specs.MpolFNumaBalancing: mpolNumaBalancing, specs.MpolFRelativeNodes: mpolRelativeNodes, specs.MpolFStaticNodes: mpolStaticNodes,
	}
)

const (
	mpolDefault       = 0
	mpolBind          = 2
	mpolLocal         = 4
	mpolPreferredMany = 5

	mpolNumaBalancing = 1 << 13
	mpolRelativeNodes = 1 << 14
	mpolStaticNodes   = 1 << 15
)

// maxNodes is the most that a kernel can be built for (CONFIG_NODES_SHIFT).
const maxNodes = 1024

// memoryPolicy checks what the kernel would refuse with nothing but EINVAL.
func (t *translator) memoryPolicy() {
	const path = "linux.memoryPolicy"
	p := t.linux.MemoryPolicy
	if p == nil {
		return
	}
	mode, ok := memoryModes[p.Mode]
	if !ok {
		t.fault(path+".mode", "want one of "+spaceList(sortedKeys(memoryModes)), "unknown mode %s", quote(string(p.Mode)))
		return
	}
	nodes := t.numbers(path+".nodes", p.Nodes, maxNodes, "memory nodes")
	switch none := mode == mpolDefault || mode == mpolLocal; {
	case none && p.Nodes != "":
		t.fault(path+".nodes", "leave it out", "%s takes no nodes", p.Mode)
	case !none && p.Nodes == "" && p.Mode != specs.MpolPreferred:
		t.fault(path+".nodes", `write it like "0-1"`, "it is missing, and %s needs it", p.Mode)
	}
	flags := 0
	for i, f := range p.Flags {
		bit, ok := memoryFlags[f]
		if !ok {
			t.fault(index(path+".flags", i), "want one of "+spaceList(sortedKeys(memoryFlags)), "unknown flag %s", quote(string(f)))
		}
		flags |= bit
	}
	switch {
	case flags&mpolStaticNodes != 0 && flags&mpolRelativeNodes != 0:
		t.fault(path+".flags", "use one of them", "nodes cannot be both static and relative")
	case flags&mpolNumaBalancing != 0 && mode != mpolBind && mode != mpolPreferredMany:
		t.fault(path+".flags", "leave it out", "balancing goes with MPOL_BIND and MPOL_PREFERRED_MANY only")
	case flags != 0 && p.Nodes == "":
		t.fault(path+".flags", "leave them out", "they are about nodes, and there are none")
	}
	t.spec.Process.Scheduling.Memory = &isolate.MemoryPolicy{Mode: mode | flags, Nodes: nodes}
}
