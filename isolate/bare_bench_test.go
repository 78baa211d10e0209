package isolate

import (
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkBare measures the same as BenchmarkSpawn for what an OCI engine asks
// for by default: all its mounts, masks and devices, on a root that is written to directly.
func BenchmarkBare(b *testing.B) {
	root := benchRoot(b)
	spec := bareSpec(b, "")
	spec.RootFS.Path = root
	mounts := spec.Mounts[:0]
	for _, m := range spec.Mounts {
		if m.Type != Bind {
			mounts = append(mounts, m)
		}
	}
	spec.Mounts = mounts
	spec.Process.Args = []string{"/true"}
	spec.MaskedPaths = []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
	spec.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	p, err := Compile(spec)
	if err != nil {
		b.Fatal(err)
	}
	least := lowerBound(filepath.Clean(root))
	var times, leastTimes []time.Duration
	for b.Loop() {
		times = append(times, startToExit(b, p))
		leastTimes = append(leastTimes, startToExit(b, least))
	}
	t, l := median(times), median(leastTimes)
	b.ReportMetric(float64(t.Microseconds()), "berth-us")
	b.ReportMetric(float64(l.Microseconds()), "bound-us")
	b.ReportMetric(float64(t)/float64(l), "ratio")
}
