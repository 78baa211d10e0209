package container

import (
	"fmt"
	"maps"
	"slices"

	"berth/isolate/cgroup"

	oci "github.com/opencontainers/runtime-spec/specs-go"
)

func ociResources(l *cgroup.Limits) *oci.LinuxResources {
	r := &oci.LinuxResources{Devices: []oci.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	for _, d := range l.Devices {
		major, minor := d.Major, d.Minor
		access := ""
		for _, a := range []struct {
			set  bool
			name string
		}{{d.Read, "r"}, {d.Write, "w"}, {d.Mknod, "m"}} {
			if a.set {
				access += a.name
			}
		}
		r.Devices = append(r.Devices, oci.LinuxDeviceCgroup{Allow: d.Allow, Type: string(d.Type), Major: &major, Minor: &minor, Access: access})
	}
	if l.MemoryMax != nil {
		r.Memory = &oci.LinuxMemory{Limit: l.MemoryMax}
		if l.MemorySwapMax != nil && *l.MemoryMax >= 0 && *l.MemorySwapMax >= 0 {
			sum := *l.MemoryMax + *l.MemorySwapMax // OCI's swap is memory and swap together
			r.Memory.Swap = &sum
		}
	}
	for _, size := range slices.Sorted(maps.Keys(l.HugetlbMax)) {
		if max := l.HugetlbMax[size]; max >= 0 {
			r.HugepageLimits = append(r.HugepageLimits, oci.LinuxHugepageLimit{Pagesize: size, Limit: uint64(max)})
		}
	}
	r.BlockIO = ociBlockIO(l.IOMax)
	if l.PidsMax != nil {
		r.Pids = &oci.LinuxPids{Limit: l.PidsMax}
	}
	if l.CPUMax != nil || l.CpusetCPUs != "" || l.CpusetMems != "" {
		r.CPU = &oci.LinuxCPU{Cpus: l.CpusetCPUs, Mems: l.CpusetMems}
		if l.CPUMax != nil && *l.CPUMax > 0 {
			period := uint64(100_000)
			if *l.CPUMax < 10 { // the kernel wants a quota of 1 ms at least
				period = 1_000_000
			}
			quota := *l.CPUMax * int64(period) / 1000
			r.CPU.Period, r.CPU.Quota = &period, &quota
		}
	}
	unified := map[string]string{}
	for _, v := range []struct {
		key   string
		value *int64
	}{{"memory.high", l.MemoryHigh}, {"memory.low", l.MemoryLow}, {"memory.min", l.MemoryMin}} {
		if v.value != nil {
			unified[v.key] = number(*v.value)
		}
	}
	if l.MemorySwapMax != nil && (r.Memory == nil || r.Memory.Swap == nil) {
		unified["memory.swap.max"] = number(*l.MemorySwapMax)
	}
	if l.CPUWeight != nil {
		unified["cpu.weight"] = fmt.Sprint(*l.CPUWeight)
	}
	if l.IOWeight != nil {
		unified["io.weight"] = fmt.Sprint(*l.IOWeight)
	}
	if l.OOMGroup {
		unified["memory.oom.group"] = "1"
	}
	if len(unified) > 0 {
		r.Unified = unified
	}
	return r
}

func number(n int64) string {
	if n < 0 {
		return "max"
	}
	return fmt.Sprint(n)
}

func ociBlockIO(disks []cgroup.IOMax) *oci.LinuxBlockIO {
	var out *oci.LinuxBlockIO
	for _, m := range disks {
		rule, err := cgroup.DeviceRuleFromPath(m.Device, "r")
		if err != nil {
			continue // not on this machine: its numbers are not known
		}
		if out == nil {
			out = &oci.LinuxBlockIO{}
		}
		for _, f := range []struct {
			value *int64
			to    *[]oci.LinuxThrottleDevice
		}{{m.ReadBPS, &out.ThrottleReadBpsDevice}, {m.WriteBPS, &out.ThrottleWriteBpsDevice},
			{m.ReadIOPS, &out.ThrottleReadIOPSDevice}, {m.WriteIOPS, &out.ThrottleWriteIOPSDevice}} {
			if f.value != nil && *f.value >= 0 {
				d := oci.LinuxThrottleDevice{Rate: uint64(*f.value)}
				d.Major, d.Minor = rule.Major, rule.Minor
				*f.to = append(*f.to, d)
			}
		}
	}
	return out
}
