package api

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"

	"github.com/google/go-cmp/cmp"
)

func number(n uint64) *uint64 { return &n }

// TestMetricsText holds the text to testdata/metrics.txt.
func TestMetricsText(t *testing.T) {
	yes, no := true, false
	m := &Metrics{Version: "1.0\"\\\n\xff", Generation: 7, Supervisors: 2, Orphans: number(3), ReloadFailed: true, Units: []UnitMetrics{
		{Name: "db", Phase: core.Failed, Desired: true, Restarts: 5, Healthy: &no, Started: time.Unix(1700000000, 0)},
		{Name: "never", Phase: core.Inactive},
		{Name: "task", Phase: core.Completed, Ready: true, Started: time.Unix(1700000000, 5e6)},
		{Name: "web@\"eu\"", Phase: core.Running, Desired: true, Ready: true, Healthy: &yes, Started: time.Unix(1700000001, 234567891),
			Memory: number(4096), MemoryPeak: number(1 << 40), OOMKills: number(0), CPUUsec: number(1234567), Tasks: number(2)},
	}}
	const path = "testdata/metrics.txt"
	got := m.Text()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// TestMetricsWithout: of what there is none, not even the head is told.
func TestMetricsWithout(t *testing.T) {
	text := string((&Metrics{}).Text())
	for _, name := range []string{"berth_unit_", "berth_orphans_reaped_total"} {
		if strings.Contains(text, name) {
			t.Errorf("it has %s:\n%s", name, text)
		}
	}
}

func BenchmarkMetricsText(b *testing.B) {
	m := &Metrics{Version: "1.0"}
	for i := range 1000 {
		m.Units = append(m.Units, UnitMetrics{Name: fmt.Sprintf("unit%d", i), Phase: core.Running, Started: time.Unix(1700000000, 0),
			Memory: number(4096), MemoryPeak: number(1 << 30), OOMKills: number(0), CPUUsec: number(1234567), Tasks: number(2)})
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Text()
	}
}
