package ocigroup

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The range of cpu.shares; see sched(7) and kernel/sched/core.c.
const (
	leastShares = 2
	mostShares  = 1 << 18
)

func (s *settings) cpu(c *specs.LinuxCPU) {
	if *c == (specs.LinuxCPU{Cpus: c.Cpus, Mems: c.Mems}) {
		return
	}
	if c.Quota != nil && c.Burst != nil && *c.Quota > 0 && *c.Burst > uint64(*c.Quota) {
		s.invalid("cpu.burst", "%d is more than the quota %d", *c.Burst, *c.Quota)
	}
	if c.Shares != nil && *c.Shares > mostShares {
		s.invalid("cpu.shares", "%d is more than %d", *c.Shares, mostShares)
	}
	if c.Idle != nil && *c.Idle != 0 && *c.Idle != 1 {
		s.invalid("cpu.idle", "it is %d, and must be 0 or 1", *c.Idle)
	}
	v := s.version("cpu", "cpu")
	if v == 0 {
		return
	}
	// A group has a weight or is idle: no weight is taken by an idle one, and
	// one that becomes idle forgets it.
	idle := func() {
		s.addIfThere("cpu.idle", "cpu", "cpu.idle", strconv.FormatInt(*c.Idle, 10), "the kernel has no idle groups (before Linux 5.15)")
	}
	if c.Idle != nil && *c.Idle == 0 && (s.live || s.host.Has("cpu", "cpu.idle")) {
		idle()
	}
	if v == 1 {
		s.cpu1(c)
	} else {
		s.cpu2(c)
	}
	if c.Idle != nil && *c.Idle != 0 {
		idle()
	}
}

func (s *settings) cpu1(c *specs.LinuxCPU) {
	const noBandwidth = "the kernel has no CPU bandwidth control (CONFIG_CFS_BANDWIDTH)"
	if c.Shares != nil && *c.Shares != 0 {
		s.add("cpu.shares", "cpu", "cpu.shares", strconv.FormatUint(max(*c.Shares, leastShares), 10))
	}
	if c.Period != nil && *c.Period != 0 {
		s.addIfThere("cpu.period", "cpu", "cpu.cfs_period_us", strconv.FormatUint(*c.Period, 10), noBandwidth)
	}
	if n, is := set(c.Quota); is {
		s.addIfThere("cpu.quota", "cpu", "cpu.cfs_quota_us", max1(n), noBandwidth)
	}
	if c.Burst != nil {
		s.addIfThere("cpu.burst", "cpu", "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10), noBurst)
	}
	const noRealtime = "the kernel does not divide realtime among groups (CONFIG_RT_GROUP_SCHED)"
	if c.RealtimePeriod != nil && *c.RealtimePeriod != 0 {
		s.addIfThere("cpu.realtimePeriod", "cpu", "cpu.rt_period_us", strconv.FormatUint(*c.RealtimePeriod, 10), noRealtime)
	}
	if n, is := set(c.RealtimeRuntime); is {
		s.addIfThere("cpu.realtimeRuntime", "cpu", "cpu.rt_runtime_us", max1(n), noRealtime)
	}
}

const noBurst = "the kernel has no bursts (before Linux 5.15)"

func (s *settings) cpu2(c *specs.LinuxCPU) {
	if c.Shares != nil && *c.Shares != 0 && *c.Shares <= mostShares {
		s.add("cpu.shares", "cpu", "cpu.weight", strconv.FormatUint(weight(*c.Shares), 10))
	}
	quota, hasQuota := set(c.Quota)
	if hasQuota || c.Period != nil && *c.Period != 0 {
		value := max2(quota)
		if !hasQuota {
			value = s.quotaSoFar()
		}
		if c.Period != nil && *c.Period != 0 {
			value += fmt.Sprintf(" %d", *c.Period) // else the period stays as it is
		}
		s.addIfThere("cpu.quota", "cpu", "cpu.max", value, "the kernel has no CPU bandwidth control (CONFIG_CFS_BANDWIDTH)")
	}
	if c.Burst != nil {
		s.addIfThere("cpu.burst", "cpu", "cpu.max.burst", strconv.FormatUint(*c.Burst, 10), noBurst)
	}
	if n, is := set(c.RealtimeRuntime); is && n > 0 {
		s.refuse("cpu.realtimeRuntime", "cgroup v2 does not divide realtime among groups")
	}
	if c.RealtimePeriod != nil && *c.RealtimePeriod != 0 {
		s.refuse("cpu.realtimePeriod", "cgroup v2 does not divide realtime among groups")
	}
}

func (s *settings) quotaSoFar() string {
	if text, err := s.host.Read("cpu", "cpu.max"); err == nil {
		if quota, _, ok := strings.Cut(text, " "); ok {
			return quota
		}
	}
	return "max"
}

// weight gives the v2 weight for v1 shares, 1 for the least, 100 for the default
// 1024 and 10000 for the most: a parabola through these three on logarithmic
// scales, on which runtimes have agreed.
func weight(shares uint64) uint64 {
	switch {
	case shares <= leastShares:
		return 1
	case shares >= mostShares:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

func (s *settings) cpuset(c *specs.LinuxCPU) {
	for _, f := range []struct{ key, file, value string }{
		{"cpu.mems", "cpuset.mems", c.Mems},
		{"cpu.cpus", "cpuset.cpus", c.Cpus},
	} {
		if f.value != "" && s.version(f.key, "cpuset") != 0 {
			s.add(f.key, "cpuset", f.file, f.value)
		}
	}
}
