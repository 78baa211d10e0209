package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Validate tells whether the limits are well-formed, without asking the host.
// Create and Update do it first.
func (l *Limits) Validate() error {
	for _, f := range []struct {
		key   string
		value *int64
		least int64
	}{
		{"memory-max", l.MemoryMax, 0},
		{"memory-high", l.MemoryHigh, 0},
		{"memory-low", l.MemoryLow, 0},
		{"memory-min", l.MemoryMin, 0},
		{"memory-swap-max", l.MemorySwapMax, 0},
		{"cpu-max", l.CPUMax, 1},
		{"pids-max", l.PidsMax, 0},
	} {
		if f.value != nil && *f.value != -1 && *f.value < f.least {
			return fmt.Errorf("%s cannot be %d: it must be at least %d, or -1 for no limit", f.key, *f.value, f.least)
		}
	}
	if l.CPUMax != nil && *l.CPUMax > math.MaxInt64/cpuPeriod {
		return fmt.Errorf("cpu-max cannot be %d: too many processors", *l.CPUMax)
	}
	for _, f := range []struct {
		key   string
		value *int
	}{{"cpu-weight", l.CPUWeight}, {"io-weight", l.IOWeight}} {
		if f.value != nil && (*f.value < 1 || *f.value > 10000) {
			return fmt.Errorf("%s cannot be %d: it must be between 1 and 10000", f.key, *f.value)
		}
	}
	for _, f := range []struct{ key, value string }{{"cpuset-cpus", l.CpusetCPUs}, {"cpuset-mems", l.CpusetMems}} {
		if strings.Trim(f.value, "0123456789,-") != "" {
			return fmt.Errorf("%s cannot be %q: it must be a list of numbers and ranges such as 0-2,4", f.key, f.value)
		}
	}
	for _, io := range l.IOMax {
		if io.Device == "" {
			return fmt.Errorf("io-max needs a device")
		}
		for _, f := range io.fields() {
			if f.value != nil && *f.value != -1 && *f.value < 1 {
				return fmt.Errorf("io-max %s of %s cannot be %d: it must be at least 1, or -1 for no limit", f.key, io.Device, *f.value)
			}
		}
	}
	for _, size := range slices.Sorted(maps.Keys(l.HugetlbMax)) {
		if !isPageSize(size) {
			return fmt.Errorf("hugetlb-max cannot be for pages of %q: a size is written as 2MB or 1GB", size)
		}
		if l.HugetlbMax[size] < -1 {
			return fmt.Errorf("hugetlb-max of %s pages cannot be %d", size, l.HugetlbMax[size])
		}
	}
	for _, rule := range l.Devices {
		if err := rule.validate(); err != nil {
			return err
		}
	}
	return nil
}

// isPageSize tells whether s is a page size as the kernel writes it in the
// names of its control files.
func isPageSize(s string) bool {
	for _, unit := range []string{"KB", "MB", "GB"} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			return number != "" && strings.Trim(number, "0123456789") == ""
		}
	}
	return false
}

func (r DeviceRule) validate() error {
	switch {
	case r.Type != 'c' && r.Type != 'b':
		return fmt.Errorf("a device rule's type must be c or b, not %q", r.Type)
	case r.Major < -1 || r.Major > math.MaxUint32 || r.Minor < -1 || r.Minor > math.MaxUint32:
		return fmt.Errorf("a device rule's numbers cannot be %d:%d", r.Major, r.Minor)
	case !r.Read && !r.Write && !r.Mknod:
		return fmt.Errorf("a device rule for %c %d:%d names no kind of access", r.Type, r.Major, r.Minor)
	}
	return nil
}
