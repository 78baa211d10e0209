package nsinit

// Event is one line of the OCI runtimes' events command.
type Event struct {
	Type string      `json:"type"` // stats, or oom, which has no Data
	ID   string      `json:"id"`
	Data *EventStats `json:"data,omitempty"`
}

// EventStats is Stats in the words of that command.
type EventStats struct {
	CPU        EventCPU                `json:"cpu"`
	CPUSet     CPUSet                  `json:"cpuset"`
	Memory     EventMemory             `json:"memory"`
	Pids       EventPids               `json:"pids"`
	BlockIO    EventBlockIO            `json:"blkio"`
	Hugetlb    map[string]EventHugetlb `json:"hugetlb"`
	IntelRDT   struct{}                `json:"intel_rdt"`
	Interfaces []EventInterface        `json:"network_interfaces"`
}

// EventCPU is CPU.
type EventCPU struct {
	Usage      EventCPUUsage   `json:"usage"`
	Throttling EventThrottling `json:"throttling"`
	PSI        *PSI            `json:"psi,omitempty"`
}

// EventCPUUsage is CPUUsage.
type EventCPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	PerCPU       []uint64 `json:"percpu,omitempty"`
	PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
	PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// EventThrottling is Throttling.
type EventThrottling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

// EventMemory is Memory.
type EventMemory struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     EventMemoryEntry  `json:"usage"`
	Swap      EventMemoryEntry  `json:"swap"`
	Kernel    EventMemoryEntry  `json:"kernel"`
	KernelTCP EventMemoryEntry  `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *PSI              `json:"psi,omitempty"`
}

// EventMemoryEntry is MemoryData.
type EventMemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// EventPids is Pids.
type EventPids struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// EventBlockIO is BlockIO.
type EventBlockIO struct {
	ServiceBytes []EventBlockEntry `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []EventBlockEntry `json:"ioServicedRecursive,omitempty"`
	PSI          *PSI              `json:"psi,omitempty"`
}

// EventBlockEntry is BlockEntry.
type EventBlockEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// EventHugetlb is Hugetlb.
type EventHugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// EventInterface is Interface.
type EventInterface struct {
	Name      string
	RxBytes   uint64
	RxPackets uint64
	RxErrors  uint64
	RxDropped uint64
	TxBytes   uint64
	TxPackets uint64
	TxErrors  uint64
	TxDropped uint64
}

// NewEvent gives a stats event about a container. No interfaces are null, as
// runtimes that leave networks to others have it.
func NewEvent(id string, s *Stats, interfaces []Interface) *Event {
	data := &EventStats{
		CPU:     EventCPU{EventCPUUsage(s.CPU.Usage), EventThrottling(s.CPU.Throttling), s.CPU.PSI},
		Memory:  EventMemory{s.Memory.Cache, entry(s.Memory.Usage), entry(s.Memory.Swap), entry(s.Memory.Kernel), entry(s.Memory.KernelTCP), s.Memory.Stats, s.Memory.PSI},
		Pids:    EventPids(s.Pids),
		BlockIO: EventBlockIO{entries(s.BlockIO.ServiceBytes), entries(s.BlockIO.Serviced), s.BlockIO.PSI},
		Hugetlb: make(map[string]EventHugetlb),
	}
	if s.CPUSet != nil {
		data.CPUSet = *s.CPUSet
	}
	for size, h := range s.Hugetlb {
		data.Hugetlb[size] = EventHugetlb(h)
	}
	for _, i := range interfaces {
		data.Interfaces = append(data.Interfaces, EventInterface(i))
	}
	return &Event{Type: "stats", ID: id, Data: data}
}

func entry(m MemoryData) EventMemoryEntry {
	return EventMemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.Max, Failcnt: m.Failcnt}
}

func entries(table []BlockEntry) []EventBlockEntry {
	var out []EventBlockEntry
	for _, e := range table {
		out = append(out, EventBlockEntry(e))
	}
	return out
}
