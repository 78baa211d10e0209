package pid1test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// bootLimit is for one boot, on a machine that has much else to do.
const bootLimit = 3 * time.Minute

// A clock is how the guest's time passes.
type clock struct {
	options []string // QEMU's
	rest    string   // from the last service until memory is read
}

// clocks are the two ways each init is measured. As QEMU emulates the processor,
// its time depends on what else the machine does, and on how much of the guest's
// code runs for the first time. With -icount, time in the guest is the number of
// instructions executed, a nanosecond each, and waiting takes as long as it asks
// for: the same at each boot, but on one processor.
var clocks = []clock{
	{[]string{"-accel", "tcg", "-smp", "2"}, "100ms"},
	{[]string{"-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"}, "60s"},
}

// measured is what the meter says; see testdata/bench/meter.
type measured struct {
	Exec      int64
	Up        map[int]int64
	Processes []struct {
		PID            int
		Name           string
		PSS, Anonymous int
	}
	Failure string
}

// fromKernel is when the last service was up, in milliseconds since the kernel began.
func (m measured) fromKernel() float64 {
	last := int64(0)
	for _, at := range m.Up {
		last = max(last, at)
	}
	return float64(last) / 1e6
}

// fromExec is the same since the init was executed.
func (m measured) fromExec() float64 { return m.fromKernel() - float64(m.Exec)/1e6 }

// memory is the PSS of the init's processes in MB.
func (m measured) memory() float64 {
	sum := 0
	for _, p := range m.Processes {
		sum += p.PSS
	}
	return float64(sum) * 1024 / 1e6
}

func (m measured) processes() float64 { return float64(len(m.Processes)) }

// BenchmarkBoot boots each init by turns under each clock, b.N times, and prints
// a table and a line for each figure. BENCH_INITS names those that are booted.
func BenchmarkBoot(b *testing.B) {
	vmtest.Need(b)
	dir := b.TempDir()
	berthd, meter, service := filepath.Join(dir, "berthd"), filepath.Join(dir, "meter"), filepath.Join(dir, "service")
	build(b, "go", "build", "-trimpath", "-tags=nethttpomithttp2", "-ldflags=-s -w -buildid=", "-o", berthd, "berth/cmd/berthd")
	build(b, "go", "build", "-ldflags=-s -w", "-o", meter, "./testdata/bench/meter")
	build(b, "gcc", "-static", "-Os", "-s", "-o", service, "testdata/bench/up/up.c")
	inits := []initSystem{berthInit(berthd), berthBareInit(berthd), busyboxInit(), s6Init(), runitInit(), finitInit(), systemdInit()}
	if only := os.Getenv("BENCH_INITS"); only != "" {
		inits = slices.DeleteFunc(inits, func(s initSystem) bool { return !slices.Contains(strings.Fields(only), s.name) })
	}
	machines := make([]*vmtest.Bare, len(inits))
	for i, s := range inits {
		var err error
		if machines[i], err = s.machine(filepath.Join(dir, s.name), meter, service); err != nil {
			b.Fatalf("%s: %v", s.name, err)
		}
	}
	results := make([][][]measured, len(inits)) // by init, clock and round
	for i := range results {
		results[i] = make([][]measured, len(clocks))
	}
	for b.Loop() {
		for i, s := range inits {
			for c := range clocks {
				results[i][c] = append(results[i][c], boot(b, s.name, machines[i], clocks[c]))
			}
		}
	}
	b.ReportMetric(0, "ns/op") // how long all boots took says nothing
	release, err := vmtest.KernelRelease()
	if err != nil {
		b.Fatal(err)
	}
	fmt.Print(table(release, inits, results))
}

// A figure is one column of the table.
type figure struct {
	name, heading, unit string
	clock               int
	value               func(measured) float64
}

var figures = []figure{
	{"ready-counted", "kernel, counted", "ms", 1, measured.fromKernel},
	{"init-counted", "init, counted", "ms", 1, measured.fromExec},
	{"ready", "kernel", "ms", 0, measured.fromKernel},
	{"init", "init", "ms", 0, measured.fromExec},
	{"memory", "memory", "MB", 1, measured.memory},
	{"processes", "processes", "", 1, measured.processes},
}

// table gives medians with the least and the greatest value, and then each
// median as a line `bench <name> <value> <unit>`.
func table(release string, inits []initSystem, results [][][]measured) string {
	var text, bench strings.Builder
	fmt.Fprintf(&text, "Linux %s, %d boots each, until ten services are up: median (least to greatest)\n%-12s", release, len(results[0][0]), "init")
	for _, f := range figures {
		fmt.Fprintf(&text, "%28s", strings.TrimSpace(f.heading+" "+f.unit))
	}
	text.WriteByte('\n')
	for i, s := range inits {
		fmt.Fprintf(&text, "%-12s", s.name)
		for _, f := range figures {
			values := make([]float64, 0, len(results[i][f.clock]))
			for _, m := range results[i][f.clock] {
				values = append(values, f.value(m))
			}
			slices.Sort(values)
			median, cell := values[len(values)/2], ""
			if f.unit == "" {
				cell = fmt.Sprintf("%.0f", median)
			} else {
				cell = fmt.Sprintf("%.1f (%.1f to %.1f)", median, values[0], values[len(values)-1])
			}
			fmt.Fprintf(&text, "%28s", cell)
			fmt.Fprintf(&bench, "bench Boot/%s/%s %.2f %s\n", s.name, f.name, median, cmp.Or(f.unit, "count"))
		}
		text.WriteByte('\n')
	}
	return text.String() + bench.String()
}

// build runs a compiler.
func build(b *testing.B, argv ...string) {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// machine packs an init with the meter.
func (s initSystem) machine(dir, meter, service string) (*vmtest.Bare, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	files, err := skeleton(meter, service)
	if err != nil {
		return nil, err
	}
	programs, err := newCollection(s.packages)
	if err != nil {
		return nil, err
	}
	for _, path := range s.programs {
		if err := programs.add(path); err != nil {
			return nil, err
		}
	}
	files = append(files, vmtest.Text("bench/argv", strings.Join(s.argv, "\n")+"\n", 0o644))
	return vmtest.NewBare(dir, append(append(files, programs.files...), s.files...))
}

// boot boots once and gives what the meter said.
func boot(b *testing.B, name string, machine *vmtest.Bare, c clock) measured {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), bootLimit)
	defer cancel()
	console, err := machine.Boot(ctx, "BENCH_REST="+c.rest, c.options...)
	var m measured
	_, line, found := strings.Cut(console, "\nmeter: ")
	if found {
		line, _, _ = strings.Cut(line, "\n")
		err = json.Unmarshal([]byte(line), &m)
	}
	if err != nil || !found || m.Failure != "" {
		b.Fatalf("%s: %v; %s\nthe machine's console:\n%s", name, err, m.Failure, console)
	}
	return m
}
