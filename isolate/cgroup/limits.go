package cgroup

import "slices"

// Limits are the resource limits of one group, in the terms of cgroup v2; on v1
// they are translated. nil: leave at the kernel's default. -1: no limit ("max").
// The zero value limits nothing.
type Limits struct {
	MemoryMax, MemoryHigh, MemoryLow, MemoryMin, MemorySwapMax *int64 // bytes
	OOMGroup                                                   bool
	CPUMax                                                     *int64 // thousandths of one CPU
	CPUWeight                                                  *int   // 1 to 10000
	CpusetCPUs                                                 string
	CpusetMems                                                 string
	PidsMax                                                    *int64
	IOWeight                                                   *int // 1 to 10000
	IOMax                                                      []IOMax
	HugetlbMax                                                 map[string]int64 // page size in the kernel's form ("2MB") to bytes
	// Devices are the device rules, last match wins, after the built-in ones
	// (null, zero, full, random, urandom, tty, ptmx, pts). nil and no
	// AllDevices: only the built-in ones.
	Devices    []DeviceRule
	AllDevices bool
}

// IOMax limits one block device, given by its node's path.
type IOMax struct {
	Device                                 string
	ReadBPS, WriteBPS, ReadIOPS, WriteIOPS *int64
}

// DeviceRule allows access to one device. Type is 'c' or 'b'.
type DeviceRule struct {
	Type               byte
	Major, Minor       int64 // -1: any
	Read, Write, Mknod bool
	Allow              bool
}

// hasDeviceRules tells whether any device is refused.
func (l *Limits) hasDeviceRules() bool {
	return !l.AllDevices || slices.ContainsFunc(l.Devices, func(r DeviceRule) bool { return !r.Allow })
}
