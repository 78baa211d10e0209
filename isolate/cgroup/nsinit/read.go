package nsinit

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is what Read reads; *cgroup.Group is one.
type Group interface {
	Exists() bool
	// Version tells how the group has a controller: 1, 2, or 0 and why not.
	Version(controller string) (int, string)
	Read(controller, file string) (string, error)
	Files(controller string) ([]string, error)
}

// Read reads the statistics of a group. Figures that the host does not keep are
// zero; a group that does not exist is an error.
func Read(g Group) (*Stats, error) {
	r := &reader{g: g}
	s := &Stats{Hugetlb: map[string]Hugetlb{}}
	r.cpu(&s.CPU)
	r.cpuset(s)
	r.memory(&s.Memory)
	r.pids(&s.Pids)
	r.blockIO(&s.BlockIO)
	r.hugetlb(s.Hugetlb)
	if r.err == nil && !g.Exists() {
		r.err = errors.New("the control group does not exist")
	}
	if r.err != nil {
		return nil, fmt.Errorf("cannot read the statistics: %w", r.err)
	}
	return s, nil
}

// reader keeps the first error that is more than a file that is not there.
type reader struct {
	g   Group
	err error
}

func (r *reader) version(controller string) int {
	v, _ := r.g.Version(controller)
	return v
}

func (r *reader) text(controller, file string) string {
	text, err := r.g.Read(controller, file)
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP)
	if err != nil && !missing && r.err == nil {
		r.err = err
	}
	return text
}

// number reads one number; "max" is the largest, and no such file 0.
func (r *reader) number(controller, file string) uint64 { return number(r.text(controller, file)) }

func number(text string) uint64 {
	if text == "max" {
		return math.MaxUint64
	}
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

// keyed reads a file of "key value" lines.
func (r *reader) keyed(controller, file string) map[string]uint64 {
	values := map[string]uint64{}
	for line := range strings.Lines(r.text(controller, file)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			values[key] = number(value)
		}
	}
	return values
}

const nsPerUsec = 1000

func (r *reader) cpu(c *CPU) {
	if r.version("cpuacct") == 1 {
		c.Usage.Total = r.number("cpuacct", "cpuacct.usage")
		c.Usage.Kernel = r.number("cpuacct", "cpuacct.usage_sys")
		c.Usage.User = r.number("cpuacct", "cpuacct.usage_user")
		c.Usage.PerCPU = numbers(r.text("cpuacct", "cpuacct.usage_percpu"))
		c.Usage.PerCPUKernel = numbers(r.text("cpuacct", "cpuacct.usage_percpu_sys"))
		c.Usage.PerCPUUser = numbers(r.text("cpuacct", "cpuacct.usage_percpu_user"))
	} else if r.version("") == 2 { // there without any controller
		stat := r.keyed("", "cpu.stat")
		c.Usage.Total = stat["usage_usec"] * nsPerUsec
		c.Usage.Kernel = stat["system_usec"] * nsPerUsec
		c.Usage.User = stat["user_usec"] * nsPerUsec
	}
	if r.version("cpu") != 0 {
		stat := r.keyed("cpu", "cpu.stat")
		c.Throttling.Periods = stat["nr_periods"]
		c.Throttling.ThrottledPeriods = stat["nr_throttled"]
		c.Throttling.ThrottledTime = stat["throttled_time"] + stat["throttled_usec"]*nsPerUsec
	}
	c.PSI = r.psi("cpu.pressure")
}

func numbers(text string) []uint64 {
	var list []uint64
	for word := range strings.FieldsSeq(text) {
		list = append(list, number(word))
	}
	return list
}

func (r *reader) cpuset(s *Stats) {
	if r.version("cpuset") != 1 {
		return
	}
	flag := func(file string) uint64 { return r.number("cpuset", "cpuset."+file) }
	s.CPUSet = &CPUSet{
		CPUs:             ranges(r.text("cpuset", "cpuset.cpus")),
		CPUExclusive:     flag("cpu_exclusive"),
		Mems:             ranges(r.text("cpuset", "cpuset.mems")),
		MemHardwall:      flag("mem_hardwall"),
		MemExclusive:     flag("mem_exclusive"),
		MemoryMigrate:    flag("memory_migrate"),
		MemorySpreadPage: flag("memory_spread_page"),
		MemorySpreadSlab: flag("memory_spread_slab"),
		MemoryPressure:   flag("memory_pressure"),
		SchedLoadBalance: flag("sched_load_balance"),
	}
	s.CPUSet.SchedRelaxDomainLevel, _ = strconv.ParseInt(r.text("cpuset", "cpuset.sched_relax_domain_level"), 10, 64)
}

// ranges reads a list such as 0-2,4.
func ranges(text string) []uint16 {
	var list []uint16
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		low, err := strconv.ParseUint(first, 10, 16)
		high := low
		if isRange && err == nil {
			high, err = strconv.ParseUint(last, 10, 16)
		}
		for n := low; err == nil && n <= high; n++ {
			list = append(list, uint16(n))
		}
	}
	return list
}

func (r *reader) memory(m *Memory) {
	switch r.version("memory") {
	case 1:
		m.Stats = r.keyed("memory", "memory.stat")
		m.Cache = m.Stats["cache"]
		data := func(kind string) MemoryData {
			return MemoryData{
				Usage:   r.number("memory", "memory."+kind+"usage_in_bytes"),
				Max:     r.number("memory", "memory."+kind+"max_usage_in_bytes"),
				Failcnt: r.number("memory", "memory."+kind+"failcnt"),
				Limit:   r.number("memory", "memory."+kind+"limit_in_bytes"),
			}
		}
		m.Usage, m.Swap, m.Kernel, m.KernelTCP = data(""), data("memsw."), data("kmem."), data("kmem.tcp.")
	case 2:
		m.Stats = r.keyed("memory", "memory.stat")
		m.Cache = m.Stats["file"]
		m.Usage = MemoryData{
			Usage:   r.number("memory", "memory.current"),
			Max:     r.number("memory", "memory.peak"), // since Linux 5.19
			Failcnt: r.keyed("memory", "memory.events")["max"],
			Limit:   r.number("memory", "memory.max"),
		}
		m.Kernel.Usage = m.Stats["kernel"]
		if limit := r.text("memory", "memory.swap.max"); limit != "" {
			m.Swap.Usage = m.Usage.Usage + r.number("memory", "memory.swap.current")
			m.Swap.Limit = math.MaxUint64
			if n := number(limit); n != math.MaxUint64 && m.Usage.Limit != math.MaxUint64 {
				m.Swap.Limit = m.Usage.Limit + n
			}
		}
	default:
		m.Stats = map[string]uint64{}
	}
	m.PSI = r.psi("memory.pressure")
}

func (r *reader) pids(p *Pids) {
	if r.version("pids") == 0 {
		return
	}
	p.Current = r.number("pids", "pids.current")
	if limit := r.text("pids", "pids.max"); limit != "max" {
		p.Limit = number(limit)
	}
}

func (r *reader) blockIO(b *BlockIO) {
	b.ServiceBytes, b.Serviced = []BlockEntry{}, []BlockEntry{}
	if r.version("blkio") == 1 {
		// The scheduler's own figures, if it keeps any, are of what it has done.
		for _, scheduler := range []string{"bfq.", "throttle."} {
			b.ServiceBytes = blockTable(r.text("blkio", "blkio."+scheduler+"io_service_bytes_recursive"))
			b.Serviced = blockTable(r.text("blkio", "blkio."+scheduler+"io_serviced_recursive"))
			if len(b.ServiceBytes) > 0 {
				break
			}
		}
	} else if r.version("io") == 2 {
		for line := range strings.Lines(r.text("io", "io.stat")) {
			b.unifiedLine(strings.Fields(line))
		}
	}
	b.PSI = r.psi("io.pressure")
}

// unifiedLine reads a line of v2's io.stat: "8:0 rbytes=1 wbytes=2 …".
func (b *BlockIO) unifiedLine(fields []string) {
	if len(fields) < 2 {
		return
	}
	major, minor := deviceNumber(fields[0])
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		entry := BlockEntry{Major: major, Minor: minor, Op: "Read", Value: number(value)}
		if strings.HasPrefix(key, "w") {
			entry.Op = "Write"
		}
		switch key {
		case "rbytes", "wbytes":
			b.ServiceBytes = append(b.ServiceBytes, entry)
		case "rios", "wios":
			b.Serviced = append(b.Serviced, entry)
		}
	}
}

// blockTable reads v1's lines "8:0 Read 1"; the last is a sum without a device.
func blockTable(text string) []BlockEntry {
	table := []BlockEntry{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 {
			major, minor := deviceNumber(fields[0])
			table = append(table, BlockEntry{Major: major, Minor: minor, Op: fields[1], Value: number(fields[2])})
		}
	}
	return table
}

func deviceNumber(s string) (major, minor uint64) {
	a, b, _ := strings.Cut(s, ":")
	return number(a), number(b)
}

func (r *reader) hugetlb(sizes map[string]Hugetlb) {
	v := r.version("hugetlb")
	if v == 0 {
		return
	}
	files, err := r.g.Files("hugetlb")
	if err != nil {
		return // gone: told otherwise
	}
	suffix, current, peak := ".limit_in_bytes", ".usage_in_bytes", ".max_usage_in_bytes"
	if v == 2 {
		suffix, current, peak = ".max", ".current", "" // v2 keeps no peak
	}
	for _, file := range files {
		rest, is := strings.CutPrefix(file, "hugetlb.")
		size, ok := strings.CutSuffix(rest, suffix)
		if !is || !ok || strings.Contains(size, ".") {
			continue
		}
		prefix := "hugetlb." + size
		if slices.Contains(files, prefix+".rsvd"+suffix) {
			prefix += ".rsvd" // what is reserved is used
		}
		h := Hugetlb{Usage: r.number("hugetlb", prefix+current)}
		if v == 2 {
			h.Failcnt = r.keyed("hugetlb", "hugetlb."+size+".events")["max"]
		} else {
			h.Max = r.number("hugetlb", prefix+peak)
			h.Failcnt = r.number("hugetlb", prefix+".failcnt")
		}
		sizes[size] = h
	}
}

// psi reads a pressure file, see Documentation/accounting/psi.rst; nil where the
// kernel keeps none.
func (r *reader) psi(file string) *PSI {
	if r.version("") != 2 {
		return nil
	}
	text := r.text("", file)
	if text == "" {
		return nil
	}
	psi := &PSI{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		data := &psi.Some
		if fields[0] == "full" {
			data = &psi.Full
		}
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "avg10":
				data.Avg10, _ = strconv.ParseFloat(value, 64)
			case "avg60":
				data.Avg60, _ = strconv.ParseFloat(value, 64)
			case "avg300":
				data.Avg300, _ = strconv.ParseFloat(value, 64)
			case "total":
				data.Total = number(value)
			}
		}
	}
	return psi
}

// Interfaces gives what went over the network interfaces of a process' network
// namespace, but for the loopback, in the order of /proc/PID/net/dev; none if
// that is this process' own. The caller makes sure that the process is the one
// meant.
func Interfaces(pid int) ([]Interface, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err == nil {
		if of, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && of == own {
			return []Interface{}, nil
		}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil, fmt.Errorf("cannot read the network interfaces of process %d: %w", pid, err)
	}
	return interfaces(string(text)), nil
}

// interfaces reads /proc/PID/net/dev, see proc_pid_net(5): after a name, eight
// columns of what was received and eight of what was sent.
func interfaces(text string) []Interface {
	list := []Interface{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		n := numbers(rest)
		if name = strings.TrimSpace(name); !ok || len(n) < 16 || name == "lo" {
			continue
		}
		list = append(list, Interface{
			Name:    name,
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		})
	}
	return list
}
