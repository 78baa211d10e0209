package nsinit

// Container is what nsinit's stats command prints.
type Container struct {
	Interfaces []Interface `json:"interfaces"`
	Cgroup     *Stats      `json:"cgroup_stats"`
}

// Interface counts what went over one network interface.
type Interface struct {
	Name      string `json:"name"`
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

// Stats are what a group has used since it was made.
type Stats struct {
	CPU     CPU                `json:"cpu_stats"`
	CPUSet  *CPUSet            `json:"cpuset_stats,omitempty"` // v1 only
	Memory  Memory             `json:"memory_stats"`
	Pids    Pids               `json:"pids_stats"`
	BlockIO BlockIO            `json:"blkio_stats"`
	Hugetlb map[string]Hugetlb `json:"hugetlb_stats"` // by page size
}

// CPU is processor time.
type CPU struct {
	Usage      CPUUsage   `json:"cpu_usage"`
	Throttling Throttling `json:"throttling_data"`
	PSI        *PSI       `json:"psi,omitempty"`
}

// CPUUsage is in nanoseconds; v2 does not tell it per processor.
type CPUUsage struct {
	Total        uint64   `json:"total_usage"`
	PerCPU       []uint64 `json:"percpu_usage,omitempty"`
	PerCPUKernel []uint64 `json:"percpu_usage_in_kernelmode,omitempty"`
	PerCPUUser   []uint64 `json:"percpu_usage_in_usermode,omitempty"`
	Kernel       uint64   `json:"usage_in_kernelmode"`
	User         uint64   `json:"usage_in_usermode"`
}

// Throttling counts periods; the time is in nanoseconds.
type Throttling struct {
	Periods          uint64 `json:"periods"`
	ThrottledPeriods uint64 `json:"throttled_periods"`
	ThrottledTime    uint64 `json:"throttled_time"`
}

// CPUSet is a cpuset group of v1, in the words of its control files.
type CPUSet struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

// Memory is in bytes.
type Memory struct {
	Cache     uint64            `json:"cache"`
	Usage     MemoryData        `json:"usage"`
	Swap      MemoryData        `json:"swap_usage"` // of memory and swap together
	Kernel    MemoryData        `json:"kernel_usage"`
	KernelTCP MemoryData        `json:"kernel_tcp_usage"`
	Stats     map[string]uint64 `json:"stats"` // memory.stat as the kernel names it
	PSI       *PSI              `json:"psi,omitempty"`
}

// MemoryData is one kind of memory. Without a limit, Limit is the largest number
// that the kernel has for it.
type MemoryData struct {
	Usage   uint64 `json:"usage"`
	Max     uint64 `json:"max_usage"`
	Failcnt uint64 `json:"failcnt"`
	Limit   uint64 `json:"limit"`
}

// Pids counts processes and threads; Limit is 0 for none.
type Pids struct {
	Current uint64 `json:"current"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlockIO has one table per kind of figure.
type BlockIO struct {
	ServiceBytes []BlockEntry `json:"io_service_bytes_recursive"`
	Serviced     []BlockEntry `json:"io_serviced_recursive"`
	PSI          *PSI         `json:"psi,omitempty"`
}

// BlockEntry is one figure of one device; Op is Read, Write and the like.
type BlockEntry struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

// Hugetlb is in bytes; Failcnt counts refused allocations.
type Hugetlb struct {
	Usage   uint64 `json:"usage"`
	Max     uint64 `json:"max_usage"`
	Failcnt uint64 `json:"failcnt"`
}

// PSI is pressure stall information: percent, and microseconds of Total.
type PSI struct {
	Some PSIData `json:"some"`
	Full PSIData `json:"full"`
}

// PSIData is one line of it.
type PSIData struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}
