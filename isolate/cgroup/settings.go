package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// setting is one key, or one device of io-max, as it is written to the control
// files of one hierarchy.
type setting struct {
	key        string // as in the unit file
	id         string // tells settings of one key apart
	controller string
	writes     []controlWrite
}

type controlWrite struct{ file, value string }

// settingList collects the settings of a set of limits in the order in which
// they are to be written to a new group, and what the host cannot do.
type settingList struct {
	tree        *Tree
	settings    []setting
	unsupported []*UnsupportedError
}

func (s *settingList) add(key, id, controller string, writes ...controlWrite) {
	s.settings = append(s.settings, setting{key: key, id: id, controller: controller, writes: writes})
}

func (s *settingList) refuse(key string, soft bool, reason string) {
	if slices.ContainsFunc(s.unsupported, func(e *UnsupportedError) bool { return e.Key == key }) {
		return
	}
	s.unsupported = append(s.unsupported, &UnsupportedError{Key: key, Reason: reason, Soft: soft})
}

// settingsFor translates limits for this host. With reset, switches whose zero
// value means the default are written too, as a change from another value
// needs. The error is about the limits themselves (a device that does not
// exist), not about the host's abilities.
func (t *Tree) settingsFor(l *Limits, reset bool) (*settingList, error) {
	s := &settingList{tree: t}
	s.memory(l, reset)
	s.cpu(l)
	s.cpuset(l, reset)
	s.pids(l)
	if err := s.io(l); err != nil {
		return nil, err
	}
	s.hugetlb(l)
	return s, nil
}

// need gives the hierarchy of a controller, or notes that the key cannot be had.
func (s *settingList) need(key, controller string, soft bool) *hierarchy {
	if h := s.tree.by[controller]; h != nil {
		return h
	}
	s.refuse(key, soft, s.tree.whyMissing(controller))
	return nil
}

func (t *Tree) whyMissing(controller string) string {
	if reason := t.missing[controller]; reason != "" {
		return reason
	}
	return fmt.Sprintf("there is no %s controller", controller)
}

func (s *settingList) memory(l *Limits, reset bool) {
	values := []struct {
		key   string
		file  string
		value *int64
		soft  bool
	}{
		{"memory-min", "memory.min", l.MemoryMin, true},
		{"memory-low", "memory.low", l.MemoryLow, true},
		{"memory-high", "memory.high", l.MemoryHigh, true},
		{"memory-max", "memory.max", l.MemoryMax, false},
		{"memory-swap-max", "memory.swap.max", l.MemorySwapMax, false},
	}
	h := s.tree.by["memory"]
	for _, v := range values {
		if v.value == nil {
			continue
		}
		if h == nil {
			s.need(v.key, "memory", v.soft)
			continue
		}
		if !h.unified {
			s.legacyMemory(l, v.key, *v.value)
			continue
		}
		if v.key == "memory-swap-max" && !existsAt(h.slice, v.file) {
			s.refuse(v.key, false, "the kernel keeps no account of swap (CONFIG_SWAP, or swapaccount=0 on its command line)")
			continue
		}
		s.add(v.key, "", "memory", controlWrite{v.file, maxOr(*v.value)})
	}
	// v1 has no such switch; who asks for it kills the group when OOMKills
	// grows, see Description.OOMGroup.
	if h != nil && h.unified && (l.OOMGroup || reset) {
		value := "0"
		if l.OOMGroup {
			value = "1"
		}
		s.add("oom-group", "", "memory", controlWrite{"memory.oom.group", value})
	}
}

// legacyMemory translates one memory key to v1. There, swap is limited together
// with memory, and the soft limit does what memory.low does from the other
// side: what is above it is reclaimed first. See
// Documentation/admin-guide/cgroup-v1/memory.rst.
func (s *settingList) legacyMemory(l *Limits, key string, value int64) {
	switch key {
	case "memory-min":
		if value > 0 {
			s.refuse(key, true, "cgroup v1 cannot guarantee memory")
		}
	case "memory-high":
		if value >= 0 {
			s.refuse(key, true, "cgroup v1 cannot slow a group down before its limit")
		}
	case "memory-low":
		if value == 0 { // no protection: in v1's terms, no soft limit
			value = -1
		}
		s.add(key, "", "memory", controlWrite{"memory.soft_limit_in_bytes", strconv.FormatInt(value, 10)})
	case "memory-max":
		s.add(key, "", "memory", controlWrite{"memory.limit_in_bytes", strconv.FormatInt(value, 10)})
	case "memory-swap-max":
		const file = "memory.memsw.limit_in_bytes"
		switch {
		case !existsAt(s.tree.by["memory"].slice, file):
			if value >= 0 {
				s.refuse(key, false, "the kernel keeps no account of swap (boot it with swapaccount=1)")
			}
		case value == -1:
			s.add(key, "", "memory", controlWrite{file, "-1"})
		case l.MemoryMax == nil || *l.MemoryMax == -1:
			s.refuse(key, false, "cgroup v1 limits swap only together with memory: set memory-max too")
		default:
			s.add(key, "", "memory", controlWrite{file, strconv.FormatInt(*l.MemoryMax+value, 10)})
		}
	}
}

// The period of cpu.max in microseconds, and the longer one for quotas that
// would fall below the kernel's minimum of 1 ms.
const (
	cpuPeriod     = 100_000
	cpuPeriodLong = 1_000_000
	cpuQuotaMin   = 1_000
)

func (s *settingList) cpu(l *Limits) {
	if l.CPUMax != nil {
		if h := s.need("cpu-max", "cpu", false); h != nil {
			period := int64(cpuPeriod)
			quota := *l.CPUMax * period / 1000
			if quota < cpuQuotaMin {
				period = cpuPeriodLong
				quota = *l.CPUMax * period / 1000
			}
			if *l.CPUMax == -1 {
				period, quota = cpuPeriod, -1
			}
			switch {
			case h.unified:
				s.add("cpu-max", "", "cpu", controlWrite{"cpu.max", fmt.Sprintf("%s %d", maxOr(quota), period)})
			case !existsAt(h.slice, "cpu.cfs_quota_us"):
				s.refuse("cpu-max", false, "the kernel has no CPU bandwidth control (CONFIG_CFS_BANDWIDTH)")
			default:
				// Quota and period are compared with the parent's at every
				// write: without a quota any period is good.
				s.add("cpu-max", "", "cpu",
					controlWrite{"cpu.cfs_quota_us", "-1"},
					controlWrite{"cpu.cfs_period_us", strconv.FormatInt(period, 10)},
					controlWrite{"cpu.cfs_quota_us", strconv.FormatInt(quota, 10)})
			}
		}
	}
	if l.CPUWeight != nil {
		if h := s.need("cpu-weight", "cpu", true); h != nil {
			if h.unified {
				s.add("cpu-weight", "", "cpu", controlWrite{"cpu.weight", strconv.Itoa(*l.CPUWeight)})
			} else {
				s.add("cpu-weight", "", "cpu", controlWrite{"cpu.shares", strconv.Itoa(cpuShares(*l.CPUWeight))})
			}
		}
	}
}

// cpuShares gives the v1 shares for a v2 weight: the defaults, 1024 and 100,
// are made to meet, and 2 is the least that v1 takes.
func cpuShares(weight int) int { return max(2, weight*1024/100) }

func (s *settingList) cpuset(l *Limits, reset bool) {
	for _, v := range []struct{ key, file, value string }{
		{"cpuset-mems", "cpuset.mems", l.CpusetMems},
		{"cpuset-cpus", "cpuset.cpus", l.CpusetCPUs},
	} {
		h := s.tree.by["cpuset"]
		if h == nil {
			if v.value != "" {
				s.need(v.key, "cpuset", false)
			}
			continue
		}
		value := v.value
		if value == "" {
			if !reset {
				continue
			}
			// With processes in the group the kernel refuses to make a set
			// empty again, so all that the group could have takes its place.
			file := v.file
			if h.unified {
				file += ".effective"
			}
			if value, _ = readAt(h.slice, file); value == "" {
				continue
			}
		}
		s.add(v.key, "", "cpuset", controlWrite{v.file, value})
	}
}

func (s *settingList) pids(l *Limits) {
	if l.PidsMax != nil && s.need("pids-max", "pids", false) != nil {
		s.add("pids-max", "", "pids", controlWrite{"pids.max", maxOr(*l.PidsMax)})
	}
}

func (s *settingList) hugetlb(l *Limits) {
	for _, size := range slices.Sorted(maps.Keys(l.HugetlbMax)) {
		h := s.need("hugetlb-max", "hugetlb", false)
		if h == nil {
			return
		}
		if err := s.tree.switchOn(h); err != nil {
			s.refuse("hugetlb-max", false, err.Error())
			return
		}
		suffix, value := ".limit_in_bytes", strconv.FormatInt(l.HugetlbMax[size], 10)
		if h.unified {
			suffix, value = ".max", maxOr(l.HugetlbMax[size])
		}
		if !existsAt(h.slice, "hugetlb."+size+suffix) {
			s.refuse("hugetlb-max", false, "the processor has no pages of "+size)
			continue
		}
		s.add("hugetlb-max", size, "hugetlb", controlWrite{"hugetlb." + size + suffix, value})
	}
}

// maxOr writes a limit as v2 and the pids controller want it.
func maxOr(value int64) string {
	if value == -1 {
		return "max"
	}
	return strconv.FormatInt(value, 10)
}

// Supported gives the limits without those keys that this host cannot do, and
// what these are; for a caller that would rather run a container without a soft
// limit than not at all. An error is one of the limits themselves.
func (t *Tree) Supported(l Limits) (Limits, []*UnsupportedError, error) {
	if err := l.Validate(); err != nil {
		return l, nil, err
	}
	s, err := t.settingsFor(&l, false)
	if err != nil {
		return l, nil, err
	}
	if l.hasDeviceRules() {
		if err := t.checkDevices(&l); err != nil {
			s.unsupported = append(s.unsupported, err)
		}
	}
	for _, e := range s.unsupported {
		switch e.Key {
		case "memory-max":
			l.MemoryMax = nil
		case "memory-high":
			l.MemoryHigh = nil
		case "memory-low":
			l.MemoryLow = nil
		case "memory-min":
			l.MemoryMin = nil
		case "memory-swap-max":
			l.MemorySwapMax = nil
		case "cpu-max":
			l.CPUMax = nil
		case "cpu-weight":
			l.CPUWeight = nil
		case "cpuset-cpus":
			l.CpusetCPUs = ""
		case "cpuset-mems":
			l.CpusetMems = ""
		case "pids-max":
			l.PidsMax = nil
		case "io-weight":
			l.IOWeight = nil
		case "io-max":
			l.IOMax = nil
		case "hugetlb-max":
			l.HugetlbMax = nil
		case "device":
			l.Devices, l.AllDevices = nil, true
		}
	}
	return l, s.unsupported, nil
}

// write writes one setting to a group's directory in its hierarchy.
func (s *setting) write(dir *dirFD) error {
	for _, w := range s.writes {
		if err := writeAt(dir, w.file, w.value); err != nil {
			return &LimitError{Key: s.key, File: dir.Name() + "/" + w.file, Value: w.value, Err: causeOf(err)}
		}
	}
	return nil
}
