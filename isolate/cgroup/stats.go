package cgroup

// Stats is what a group has used, for berth stats. Pointers are nil where the
// host has no such figure.
type Stats struct {
	CPU    CPUStats    `json:"cpu"`
	Memory MemoryStats `json:"memory"`
	IO     []IOStats   `json:"io"`
	Pids   PidsStats   `json:"pids"`
	// IOPressure is of all devices together.
	IOPressure *Pressure `json:"io_pressure,omitempty"`
}

// CPUStats are in microseconds but for the counts.
type CPUStats struct {
	UsageUsec     uint64    `json:"usage_usec"`
	UserUsec      uint64    `json:"user_usec"`
	SystemUsec    uint64    `json:"system_usec"`
	Periods       uint64    `json:"nr_periods"`
	Throttled     uint64    `json:"nr_throttled"`
	ThrottledUsec uint64    `json:"throttled_usec"`
	Pressure      *Pressure `json:"pressure,omitempty"`
}

// MemoryStats are in bytes but for the counts.
type MemoryStats struct {
	Current  uint64            `json:"current"`
	Peak     *uint64           `json:"peak,omitempty"`
	Max      *uint64           `json:"max,omitempty"` // nil: no limit
	Swap     *uint64           `json:"swap,omitempty"`
	OOMs     uint64            `json:"oom"`
	OOMKills uint64            `json:"oom_kill"`
	Stat     map[string]uint64 `json:"stat,omitempty"` // memory.stat as the kernel names it
	Pressure *Pressure         `json:"pressure,omitempty"`
}

// IOStats is one block device's.
type IOStats struct {
	Device     string `json:"device"` // "8:0"
	ReadBytes  uint64 `json:"rbytes"`
	WriteBytes uint64 `json:"wbytes"`
	ReadIOs    uint64 `json:"rios"`
	WriteIOs   uint64 `json:"wios"`
}

// PidsStats counts processes and threads.
type PidsStats struct {
	Current uint64  `json:"current"`
	Max     *uint64 `json:"max,omitempty"`
}

// Pressure is pressure stall information: percent and microseconds.
type Pressure struct {
	Some PressureLine  `json:"some"`
	Full *PressureLine `json:"full,omitempty"`
}

// PressureLine is one line of it.
type PressureLine struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}
