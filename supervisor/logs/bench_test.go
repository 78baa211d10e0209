package logs

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"berth/units"
)

// BenchmarkFile moves lines of 100 bytes from a pipe to a file.
func BenchmarkFile(b *testing.B) {
	m, err := NewManager(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	s, err := m.NewStreams("web", 1, units.Log{Target: "file", MaxSize: 10 << 20, Keep: 2})
	if err != nil {
		b.Fatal(err)
	}
	w, err := s.Writers()
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stdout.Close()
	defer w.Stderr.Close()
	const lines = 40
	block := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", lines))
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		if _, err := w.Stdout.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Finish(b.Context()); err != nil {
		b.Fatal(err)
	}
	s.Close()
}

// BenchmarkIdle tells what streams cost that have written a line and are idle.
func BenchmarkIdle(b *testing.B) {
	const n = 100
	m, err := NewManager(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	runtime.GC()
	debug.FreeOSMemory()
	before := pss(b)
	for i := range n {
		s, err := m.NewStreams(fmt.Sprint("u", i), uint64(i), units.Log{Target: "file"})
		if err != nil {
			b.Fatal(err)
		}
		w, err := s.Writers()
		if err != nil {
			b.Fatal(err)
		}
		_, _ = w.Stdout.WriteString("line\n")
		_ = w.Stdout.Close()
		_ = w.Stderr.Close()
	}
	for runtime.NumGoroutine() > 5 {
		runtime.Gosched()
	}
	runtime.GC()
	debug.FreeOSMemory()
	cost, goroutines := float64(pss(b)-before)/n, float64(runtime.NumGoroutine())
	for b.Loop() {
	}
	b.ReportMetric(cost, "PSS-kB/unit")
	b.ReportMetric(goroutines, "goroutines")
}

func pss(b *testing.B) int {
	data, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	b.Skip("no Pss")
	return 0
}
