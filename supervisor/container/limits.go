package container

import (
	"fmt"
	"strings"

	"berth/isolate/cgroup"
	"berth/units"
)

// Limits translates [cgroup] and [[device]]. It reads the device nodes named.
func Limits(u *units.Unit) (cgroup.Limits, error) {
	c := &u.Cgroup
	l := cgroup.Limits{
		MemoryMax: size(c.MemoryMax), MemoryHigh: size(c.MemoryHigh),
		MemoryLow: size(c.MemoryLow), MemoryMin: size(c.MemoryMin),
		MemorySwapMax: size(c.MemorySwapMax),
		OOMGroup:      c.OOMGroup,
		CPUMax:        (*int64)(c.CPUMax),
		CPUWeight:     c.CPUWeight,
		CpusetCPUs:    c.CpusetCPUs, CpusetMems: c.CpusetMems,
		PidsMax:  size(c.PidsMax),
		IOWeight: c.IOWeight,
	}
	for _, m := range c.IOMax {
		l.IOMax = append(l.IOMax, cgroup.IOMax{
			Device: m.Device, ReadBPS: size(m.ReadBPS), WriteBPS: size(m.WriteBPS),
			ReadIOPS: size(m.ReadIOPS), WriteIOPS: size(m.WriteIOPS),
		})
	}
	for page, max := range c.HugetlbMax {
		if l.HugetlbMax == nil {
			l.HugetlbMax = map[string]int64{}
		}
		if !strings.HasSuffix(page, "B") {
			page += "B" // "2M" is the kernel's "2MB"
		}
		l.HugetlbMax[page] = int64(max)
	}
	for _, d := range u.Devices {
		r, err := cgroup.DeviceRuleFromPath(d.Path, d.Access)
		if err != nil {
			return l, fmt.Errorf("cannot allow device %s: %w", d.Path, err)
		}
		l.Devices = append(l.Devices, r)
	}
	if u.Service.Terminal != "" {
		r, err := cgroup.DeviceRuleFromPath(u.Service.Terminal, "rw")
		if err != nil {
			return l, fmt.Errorf("cannot allow the terminal %s: %w", u.Service.Terminal, err)
		}
		l.Devices = append(l.Devices, r)
	}
	return l, nil
}

func size(s *units.Size) *int64 { return (*int64)(s) }
