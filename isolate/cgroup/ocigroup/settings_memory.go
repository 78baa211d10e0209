package ocigroup

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// set gives a number that is there and not 0, which engines write for "as it is".
func set(n *int64) (int64, bool) {
	if n == nil || *n == 0 {
		return 0, false
	}
	return *n, true
}

// max2 writes a limit as v2 wants it.
func max2(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// max1 writes a limit as v1 wants it.
func max1(n int64) string { return strconv.FormatInt(max(n, -1), 10) }

func (s *settings) memory(m *specs.LinuxMemory) {
	if *m == (specs.LinuxMemory{}) {
		return
	}
	switch s.version("memory", "memory") {
	case 1:
		s.checkUsage(m, "memory.usage_in_bytes")
		s.memory1(m)
	case 2:
		s.checkUsage(m, "memory.current")
		s.memory2(m)
	}
}

// checkUsage does what memory.checkBeforeUpdate asks for.
func (s *settings) checkUsage(m *specs.LinuxMemory, file string) {
	limit, is := set(m.Limit)
	if !s.live || !is || limit < 0 || m.CheckBeforeUpdate == nil || !*m.CheckBeforeUpdate {
		return
	}
	text, err := s.host.Read("memory", file)
	if err != nil {
		s.invalid("memory.limit", "cannot tell how much is in use: %v", err)
		return
	}
	if usage, _ := strconv.ParseInt(text, 10, 64); usage > limit {
		s.invalid("memory.limit", "%d is less than the %d in use", limit, usage)
	}
}

// memory1 translates to v1, see Documentation/admin-guide/cgroup-v1/memory.rst.
func (s *settings) memory1(m *specs.LinuxMemory) {
	const c, memsw = "memory", "memory.memsw.limit_in_bytes"
	limit, hasLimit := set(m.Limit)
	swap, hasSwap := set(m.Swap)
	if hasLimit && limit < 0 && !hasSwap && s.host.Has(c, memsw) {
		swap, hasSwap = -1, true // else it would stay the limit
	}
	if hasLimit {
		s.add("memory.limit", c, "memory.limit_in_bytes", max1(limit))
	}
	if hasSwap && (swap > 0 || s.host.Has(c, memsw)) {
		s.addIfThere("memory.swap", c, memsw, max1(swap), noSwapAccount)
	}
	if n, is := set(m.Reservation); is {
		s.add("memory.reservation", c, "memory.soft_limit_in_bytes", max1(n))
	}
	// The spec lets a runtime ignore kernel memory, and kernels have dropped it:
	// since Linux 5.16 the file takes no limit (EOPNOTSUPP) or does not keep it.
	if n, is := set(m.KernelTCP); is {
		s.addIfThere("memory.kernelTCP", c, "memory.kmem.tcp.limit_in_bytes", max1(n), "the kernel keeps no such limit")
	}
	if m.Swappiness != nil {
		if *m.Swappiness > 100 {
			s.invalid("memory.swappiness", "%d is not between 0 and 100", *m.Swappiness)
		} else {
			s.add("memory.swappiness", c, "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
		}
	}
	if m.DisableOOMKiller != nil && (*m.DisableOOMKiller || s.live) {
		s.add("memory.disableOOMKiller", c, "memory.oom_control", bit(*m.DisableOOMKiller))
	}
	if m.UseHierarchy != nil {
		s.add("memory.useHierarchy", c, "memory.use_hierarchy", bit(*m.UseHierarchy))
	}
}

const noSwapAccount = "the kernel keeps no account of swap (boot it with swapaccount=1)"

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// memory2 translates to v2, where swap is limited by itself.
func (s *settings) memory2(m *specs.LinuxMemory) {
	const c = "memory"
	limit, hasLimit := set(m.Limit)
	swap, hasSwap := set(m.Swap)
	if hasLimit && limit < 0 && !hasSwap && s.host.Has(c, "memory.swap.max") {
		swap, hasSwap = -1, true
	}
	if hasSwap && swap > 0 {
		swap, hasSwap = s.swapAlone(swap, limit)
	}
	if hasSwap && (swap >= 0 || s.host.Has(c, "memory.swap.max")) {
		s.addIfThere("memory.swap", c, "memory.swap.max", max2(swap), noSwapAccount)
	}
	if hasLimit {
		s.add("memory.limit", c, "memory.max", max2(limit))
	}
	if n, is := set(m.Reservation); is {
		s.add("memory.reservation", c, "memory.low", max2(n))
	}
	const onlyV1 = "cgroup v2 has nothing like it"
	if n, is := set(m.KernelTCP); is && n > 0 {
		s.refuse("memory.kernelTCP", onlyV1)
	}
	if m.Swappiness != nil {
		s.refuse("memory.swappiness", onlyV1)
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		s.refuse("memory.disableOOMKiller", onlyV1)
	}
	if m.UseHierarchy != nil && !*m.UseHierarchy {
		s.refuse("memory.useHierarchy", "cgroup v2 always accounts hierarchically")
	}
}

// swapAlone takes the memory out of a limit of memory and swap together. Of a
// living group the limit of memory may be the one that is there.
func (s *settings) swapAlone(both, limit int64) (int64, bool) {
	if limit == 0 && s.live {
		if text, err := s.host.Read("memory", "memory.max"); err == nil {
			limit, _ = strconv.ParseInt(text, 10, 64) // "max" gives 0
		}
	}
	if limit <= 0 {
		s.invalid("memory.swap", "cgroup v2 limits swap alone, which only a limit of memory tells; set memory.limit too")
		return 0, false
	}
	if both < limit {
		s.invalid("memory.swap", "%d, for memory and swap together, is less than the %d for memory", both, limit)
		return 0, false
	}
	return both - limit, true
}
