package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Stats reads what the group has used. Figures that this host does not keep are
// zero, or nil where they are pointers; the error is that of a group that is
// not there.
func (g *Group) Stats() (*Stats, error) {
	dirs := make(map[*hierarchy]*dirFD)
	defer func() {
		for _, dir := range dirs {
			dir.Close()
		}
	}()
	for _, h := range g.tree.hierarchies {
		dir, err := g.dir(h)
		if h.onDemand && isGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the statistics of %s: %w", g.name, err)
		}
		dirs[h] = dir
	}
	stats := &Stats{}
	unified := dirs[g.tree.unified()]
	if unified != nil { // which accounts without a controller
		unifiedCPUUsage(unified, &stats.CPU)
	} else if h := g.tree.by["cpuacct"]; h != nil {
		legacyCPUUsage(dirs[h], &stats.CPU)
	}
	if dir := dirs[g.tree.by["cpu"]]; dir != nil {
		throttling(dir, &stats.CPU)
	}
	if h := g.tree.by["memory"]; h != nil {
		if h.unified {
			unifiedMemory(dirs[h], &stats.Memory)
		} else {
			legacyMemoryStats(dirs[h], &stats.Memory)
			stats.Memory.OOMKills, _ = g.oomKills()
		}
	}
	if h := g.tree.by["io"]; h != nil {
		stats.IO = unifiedIO(dirs[h])
	} else if h := g.tree.by["blkio"]; h != nil {
		stats.IO = legacyIO(dirs[h])
	}
	if h := g.tree.by["pids"]; h != nil {
		stats.Pids.Current, _ = readUintAt(dirs[h], "pids.current")
		stats.Pids.Max = limitAt(dirs[h], "pids.max")
	} else if pids, err := g.Pids(); err == nil {
		stats.Pids.Current = uint64(len(pids))
	}
	if unified != nil {
		stats.CPU.Pressure = pressureAt(unified, "cpu.pressure")
		stats.Memory.Pressure = pressureAt(unified, "memory.pressure")
		stats.IOPressure = pressureAt(unified, "io.pressure")
	}
	return stats, nil
}

func unifiedCPUUsage(dir *dirFD, cpu *CPUStats) {
	values, _ := readKeyedAt(dir, "cpu.stat")
	cpu.UsageUsec, cpu.UserUsec, cpu.SystemUsec = values["usage_usec"], values["user_usec"], values["system_usec"]
}

func legacyCPUUsage(dir *dirFD, cpu *CPUStats) {
	for _, f := range []struct {
		file string
		to   *uint64
	}{
		{"cpuacct.usage", &cpu.UsageUsec},
		{"cpuacct.usage_user", &cpu.UserUsec},
		{"cpuacct.usage_sys", &cpu.SystemUsec},
	} {
		nanoseconds, _ := readUintAt(dir, f.file)
		*f.to = nanoseconds / 1000
	}
}

func throttling(dir *dirFD, cpu *CPUStats) {
	values, _ := readKeyedAt(dir, "cpu.stat")
	cpu.Periods, cpu.Throttled = values["nr_periods"], values["nr_throttled"]
	cpu.ThrottledUsec = values["throttled_usec"]
	if nanoseconds, ok := values["throttled_time"]; ok { // v1
		cpu.ThrottledUsec = nanoseconds / 1000
	}
}

func unifiedMemory(dir *dirFD, memory *MemoryStats) {
	memory.Current, _ = readUintAt(dir, "memory.current")
	memory.Peak = limitAt(dir, "memory.peak") // since Linux 5.19
	memory.Max = limitAt(dir, "memory.max")
	memory.Swap = limitAt(dir, "memory.swap.current")
	events, _ := readKeyedAt(dir, "memory.events")
	memory.OOMs, memory.OOMKills = events["oom"], events["oom_kill"]
	memory.Stat, _ = readKeyedAt(dir, "memory.stat")
}

// legacyMemoryStats leaves OOMs at zero: v1 does not count them.
func legacyMemoryStats(dir *dirFD, memory *MemoryStats) {
	memory.Current, _ = readUintAt(dir, "memory.usage_in_bytes")
	memory.Peak = limitAt(dir, "memory.max_usage_in_bytes")
	// Without a limit v1 shows the largest number of whole pages.
	if limit := limitAt(dir, "memory.limit_in_bytes"); limit != nil && *limit < math.MaxInt64-uint64(os.Getpagesize()) {
		memory.Max = limit
	}
	memory.Stat, _ = readKeyedAt(dir, "memory.stat")
	if swap, ok := memory.Stat["total_swap"]; ok {
		memory.Swap = &swap
	} else if swap, ok := memory.Stat["swap"]; ok {
		memory.Swap = &swap
	}
}

// limitAt reads a number; nil is "max" or no such file.
func limitAt(dir *dirFD, file string) *uint64 {
	n, err := readUintAt(dir, file)
	if err != nil {
		return nil
	}
	return &n
}

func unifiedIO(dir *dirFD) []IOStats {
	text, _ := readAt(dir, "io.stat")
	var all []IOStats
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		stats := IOStats{Device: fields[0]}
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			n, _ := strconv.ParseUint(value, 10, 64)
			switch key {
			case "rbytes":
				stats.ReadBytes = n
			case "wbytes":
				stats.WriteBytes = n
			case "rios":
				stats.ReadIOs = n
			case "wios":
				stats.WriteIOs = n
			}
		}
		all = append(all, stats)
	}
	return all
}

func legacyIO(dir *dirFD) []IOStats {
	var all []IOStats
	add := func(file string, read, write func(*IOStats) *uint64) {
		text, _ := readAt(dir, file)
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) != 3 { // the last line is a sum
				continue
			}
			i := slices.IndexFunc(all, func(s IOStats) bool { return s.Device == fields[0] })
			if i < 0 {
				i = len(all)
				all = append(all, IOStats{Device: fields[0]})
			}
			n, _ := strconv.ParseUint(fields[2], 10, 64)
			switch fields[1] {
			case "Read":
				*read(&all[i]) = n
			case "Write":
				*write(&all[i]) = n
			}
		}
	}
	add("blkio.throttle.io_service_bytes_recursive",
		func(s *IOStats) *uint64 { return &s.ReadBytes }, func(s *IOStats) *uint64 { return &s.WriteBytes })
	add("blkio.throttle.io_serviced_recursive",
		func(s *IOStats) *uint64 { return &s.ReadIOs }, func(s *IOStats) *uint64 { return &s.WriteIOs })
	return all
}

// pressureAt reads a pressure file, see Documentation/accounting/psi.rst; nil
// where the kernel keeps none.
func pressureAt(dir *dirFD, file string) *Pressure {
	text, err := readAt(dir, file)
	if err != nil {
		return nil
	}
	pressure, err := parsePressure(text)
	if err != nil {
		return nil
	}
	return pressure
}

func parsePressure(text string) (*Pressure, error) {
	pressure := &Pressure{}
	found := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		var values PressureLine
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "avg10":
				values.Avg10, _ = strconv.ParseFloat(value, 64)
			case "avg60":
				values.Avg60, _ = strconv.ParseFloat(value, 64)
			case "avg300":
				values.Avg300, _ = strconv.ParseFloat(value, 64)
			case "total":
				values.Total, _ = strconv.ParseUint(value, 10, 64)
			}
		}
		switch fields[0] {
		case "some":
			pressure.Some, found = values, true
		case "full":
			pressure.Full = &values
		}
	}
	if !found {
		return nil, errors.New("no pressure figures")
	}
	return pressure, nil
}
