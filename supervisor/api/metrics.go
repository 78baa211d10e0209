package api

import (
	"strconv"
	"strings"
	"time"

	"berth/supervisor/core"
)

// Metrics are what GET /metrics tells. All is of one moment, but for what the
// kernel says of the units' control groups.
type Metrics struct {
	Version     string
	Generation  uint64
	Supervisors int
	Orphans     *uint64 // nil: the reaper did not answer
	// ReloadFailed: the unit files as they are now are not valid.
	ReloadFailed bool
	Units        []UnitMetrics // sorted by name
}

// UnitMetrics are those of one unit. Nil is a figure that there is not: the unit
// does not run, or the host does not keep it.
type UnitMetrics struct {
	Name     string
	Phase    core.Phase
	Desired  bool
	Ready    bool
	Healthy  *bool // nil: it has no health checks
	Restarts int
	Started  time.Time // zero: never
	// Of its control group, in bytes, microseconds and processes with their threads.
	Memory, MemoryPeak, OOMKills, CPUUsec, Tasks *uint64
}

// metricsType is the media type of the text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// family is a metric with one sample for each unit that has it.
type family struct {
	name, kind, help string
	value            func(*UnitMetrics) (text string, ok bool)
}

// unitFamilies are in the order in which they are told.
var unitFamilies = []family{
	{"berth_unit_desired", "gauge", "Whether the unit is to be up.",
		func(u *UnitMetrics) (string, bool) { return bit(u.Desired), true }},
	{"berth_unit_up", "gauge", "Whether the unit runs.",
		func(u *UnitMetrics) (string, bool) { return bit(u.Phase == core.Running), true }},
	{"berth_unit_ready", "gauge", "Whether the unit is up for those that require it; so is a task that has completed.",
		func(u *UnitMetrics) (string, bool) { return bit(u.Ready), true }},
	{"berth_unit_healthy", "gauge", "Whether the unit's health checks succeed. Only of units that have some.",
		func(u *UnitMetrics) (string, bool) {
			if u.Healthy == nil {
				return "", false
			}
			return bit(*u.Healthy), true
		}},
	{"berth_unit_restarts_total", "counter", "Automatic restarts since the unit was last started by hand.",
		func(u *UnitMetrics) (string, bool) { return strconv.Itoa(u.Restarts), true }},
	{"berth_unit_start_seconds", "gauge", "When the unit was last started, in seconds since 1970.",
		func(u *UnitMetrics) (string, bool) {
			return thousandths(u.Started.UnixMilli()), !u.Started.IsZero()
		}},
	{"berth_unit_memory_bytes", "gauge", "Memory that the unit uses now, caches included.",
		func(u *UnitMetrics) (string, bool) { return count(u.Memory) }},
	{"berth_unit_memory_peak_bytes", "gauge", "The most memory that the unit has used since its start.",
		func(u *UnitMetrics) (string, bool) { return count(u.MemoryPeak) }},
	{"berth_unit_cpu_seconds_total", "counter", "CPU time that the unit has used since its start.",
		func(u *UnitMetrics) (string, bool) {
			if u.CPUUsec == nil {
				return "", false
			}
			return thousandths(int64(*u.CPUUsec / 1000)), true
		}},
	{"berth_unit_tasks", "gauge", "Processes of the unit, with their threads.",
		func(u *UnitMetrics) (string, bool) { return count(u.Tasks) }},
	{"berth_unit_oom_kills_total", "counter", "Processes of the unit that the kernel has killed for lack of memory since its start.",
		func(u *UnitMetrics) (string, bool) { return count(u.OOMKills) }},
}

// Text gives the metrics in the text format of Prometheus, version 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats), always in the same
// order. A metric of which there is no sample is left out.
func (m *Metrics) Text() []byte {
	b := make([]byte, 0, 4096+1024*len(m.Units))
	head := func(name, kind, help string) {
		b = append(b, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
	}
	// label is "" for a metric without any.
	sample := func(name, label, of, value string) {
		b = append(b, name...)
		if label != "" {
			b = append(b, "{"+label+`="`+escapeLabel(of)+`"}`...)
		}
		b = append(b, " "+value+"\n"...)
	}
	single := func(name, kind, help, value string) {
		head(name, kind, help)
		sample(name, "", "", value)
	}
	head("berth_build_info", "gauge", "The version of berthd, always 1.")
	sample("berth_build_info", "version", m.Version, "1")
	single("berth_supervisors_total", "counter", "Supervisors that were started, 1 if none had to be replaced.", strconv.Itoa(m.Supervisors))
	if n, ok := count(m.Orphans); ok {
		single("berth_orphans_reaped_total", "counter", "Processes that were left behind by others and reaped.", n)
	}
	single("berth_generation", "gauge", "The generation of the unit files that runs.", strconv.FormatUint(m.Generation, 10))
	single("berth_reload_last_success", "gauge", "Whether the unit files as they were last read are valid; else an earlier generation runs on.", bit(!m.ReloadFailed))
	phases := map[core.Phase]int{}
	for i := range m.Units {
		phases[m.Units[i].Phase]++
	}
	head("berth_units", "gauge", "Units by phase.")
	for _, p := range core.Phases() {
		sample("berth_units", "phase", string(p), strconv.Itoa(phases[p]))
	}
	for _, f := range unitFamilies {
		told := false
		for i := range m.Units {
			text, ok := f.value(&m.Units[i])
			if !ok {
				continue
			}
			if !told {
				head(f.name, f.kind, f.help)
				told = true
			}
			sample(f.name, "unit", m.Units[i].Name, text)
		}
	}
	return b
}

// labelEscapes are all that the format has for the value of a label.
var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func escapeLabel(value string) string {
	return labelEscapes.Replace(strings.ToValidUTF8(value, "\ufffd"))
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func count(n *uint64) (string, bool) {
	if n == nil {
		return "", false
	}
	return strconv.FormatUint(*n, 10), true
}

// thousandths writes a number of thousandths exactly.
func thousandths(n int64) string {
	return strconv.FormatFloat(float64(n)/1000, 'f', 3, 64)
}
