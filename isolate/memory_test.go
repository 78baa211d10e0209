package isolate

import (
	"os"
	"strings"
	"testing"
)

// TestMemoryPolicy holds that a program has the policy from its first page on.
func TestMemoryPolicy(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/sys/devices/system/node/node0"); err != nil {
		t.Skip("this kernel has no memory nodes")
	}
	for want, policy := range map[string]*MemoryPolicy{"bind:0": {Mode: 2, Nodes: []int{0}}, "interleave=static:0": {Mode: 3 | 1<<15, Nodes: []int{0}}, "local": {Mode: 4}, "default": nil} {
		spec := bareSpec(t, "grep heap /proc/self/numa_maps | cut -d' ' -f2")
		spec.Process.Scheduling.Memory = policy
		equal(t, "the policy", run(t, spec), want)
	}
	spec := bareSpec(t, "true")
	spec.Process.Scheduling.Memory = &MemoryPolicy{Nodes: []int{maxNode}}
	if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), "no memory node 1024") {
		t.Errorf("compiled: %v", err)
	}
}
