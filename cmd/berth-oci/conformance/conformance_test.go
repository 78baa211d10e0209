package conformance

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// programDeadline is many times what the slowest program takes.
const programDeadline = 2 * time.Minute

// slots is how many programs run at a time: nearly all they do is sleep.
const slots = 6

// A line for each program that berth-oci does not pass: its name, the cause, and
// the reason. What the suite itself breaks cannot pass anywhere, or else the line
// is wrong; with what contradicts the specification a runtime may pass that does
// not follow it; what this machine breaks may pass on another; a race comes out
// now so and now so, whatever the runtime.
//
//go:embed testdata/reasons.tsv
var reasonsText string

type reason struct{ cause, text string }

func readReasons(t *testing.T) map[string]reason {
	t.Helper()
	reasons := map[string]reason{}
	for line := range strings.Lines(reasonsText) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 || !slices.Contains([]string{"suite", "spec", "machine", "race"}, f[1]) || reasons[f[0]] != (reason{}) {
			t.Fatalf("testdata/reasons.tsv: bad line %q", line)
		}
		reasons[f[0]] = reason{f[1], f[2]}
	}
	return reasons
}

// contenders are the runtimes by name and path; a path is empty where one is not
// installed.
func contenders(t testing.TB) (names []string, paths map[string]string) {
	t.Helper()
	paths = map[string]string{"berth-oci": buildRuntime(t)}
	for _, name := range []string{"runc", "crun"} {
		path, err := exec.LookPath(name)
		if err != nil && os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		paths[name] = path
	}
	if paths["crun"] != "" {
		paths["crun"] = asOlder(t, paths["crun"])
	}
	return []string{"runc", "crun", "berth-oci"}, paths
}

// asOlder gives a program that runs the runtime at path with the suite's bundles
// made those of an older version of the specification: crun 1.8 refuses 1.3 for
// its number alone.
func asOlder(t testing.TB, path string) string {
	t.Helper()
	wrapper := filepath.Join(t.TempDir(), "older")
	script := `#!/bin/sh
bundle=. previous=
for arg; do
	[ "$previous" != --bundle ] || bundle=$arg
	previous=$arg
done
[ "$1" != create ] || sed -i 's/"ociVersion": *"1\.3\.0"/"ociVersion": "1.0.2"/' "$bundle/config.json"
exec ` + path + ` "$@"
`
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return wrapper
}

// buildRuntime builds berth-oci as it is shipped. It gives "" while there is no such program.
func buildRuntime(t testing.TB) string {
	t.Helper()
	if sources, _ := filepath.Glob("../*.go"); len(sources) == 0 {
		return ""
	}
	dir := t.TempDir()
	build := exec.Command("make", "--directory=../../..", "BIN="+dir, "build-berth-oci")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build berth-oci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "berth-oci")
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("BERTH_NO_SKIP") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// verdict is one cell of the table.
type verdict struct {
	ran, passed bool
	why         string
	out         outcome
}

func (v verdict) String() string {
	switch {
	case !v.ran:
		return "-"
	case v.passed:
		return "pass"
	}
	return "fail"
}

// TestConformance runs every program of the suite with each runtime and prints
// the table. What runc or crun passes, berth-oci must pass; what none passes has
// its reason.
func TestConformance(t *testing.T) {
	needRoot(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("the suite has a root file system for amd64 only")
	}
	if testing.Short() {
		t.Skip("not in short mode")
	}
	reasons := readReasons(t)
	s := installSuite(t)
	names, paths := contenders(t)

	type job struct{ program, runtime string }
	var jobs []job
	table := map[job]verdict{}
	only := os.Getenv("CONFORMANCE")     // programs, by spaces; empty: all
	keep := os.Getenv("CONFORMANCE_LOG") // a directory that gets all they say; empty: none
	for _, program := range s.programs {
		for _, name := range names {
			if paths[name] != "" && (only == "" || slices.Contains(strings.Fields(only), program)) {
				jobs = append(jobs, job{program, name})
			}
		}
	}
	queue := make(chan job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	var lock sync.Mutex
	var workers sync.WaitGroup
	for range slots {
		place := newSandbox(t)
		if place.lacks["hugetlb"] {
			for _, program := range []string{"linux_cgroups_hugetlb", "linux_cgroups_relative_hugetlb"} {
				reasons[program] = reason{"machine", "somebody uses the hugetlb controller on v2, so that it has no v1 hierarchy"}
			}
		}
		workers.Go(func() {
			for j := range queue {
				begin := time.Now()
				out, err := place.run(command{
					Args: []string{filepath.Join(s.dir, j.program)}, Env: []string{"RUNTIME=" + paths[j.runtime]},
					Dir: s.dir, Deadline: programDeadline,
				})
				v := verdict{ran: true, out: out}
				v.passed, v.why = judge(j.program, out)
				if err != nil {
					v.passed, v.why = false, "sandbox: "+err.Error()
				}
				lock.Lock()
				table[j] = v
				lock.Unlock()
				if keep != "" {
					text := fmt.Sprintf("%v after %v: %s\n%s%s", v, time.Since(begin).Round(time.Millisecond), v.why, out.Stdout, out.Stderr)
					if err := os.WriteFile(filepath.Join(keep, j.program+"."+j.runtime), []byte(text), 0o644); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()

	passes := map[string]int{}
	var wrong []string // said after the table
	fmt.Printf("%-30s %-6s %-6s %-9s %s\n", "program", "runc", "crun", "berth-oci", "reason")
	for _, program := range s.programs {
		row := make([]verdict, len(names))
		for i, name := range names {
			row[i] = table[job{program, name}]
			if row[i].passed {
				passes[name]++
			}
		}
		if !slices.ContainsFunc(row, func(v verdict) bool { return v.ran }) {
			continue
		}
		ours, why := row[2], reasons[program]
		text := ""
		if !ours.passed && why.text != "" {
			text = why.cause + ": " + why.text
		}
		fmt.Printf("%-30s %-6s %-6s %-9s %s\n", program, row[0], row[1], ours, text)
		switch {
		case !ours.ran || why.cause == "race":
		case ours.passed && (why.cause == "suite" || why.cause == "spec"):
			wrong = append(wrong, fmt.Sprintf("%s passes, though testdata/reasons.tsv says that it cannot: %s", program, why.text))
		case !ours.passed && why.cause != "spec" && (row[0].passed || row[1].passed):
			wrong = append(wrong, fmt.Sprintf("%s passes with another runtime and not with berth-oci: %s\n%s%s", program, ours.why, ours.out.Stdout, ours.out.Stderr))
		case !ours.passed && why.text == "":
			wrong = append(wrong, fmt.Sprintf("%s fails without a reason in testdata/reasons.tsv: %s\n%s%s", program, ours.why, ours.out.Stdout, ours.out.Stderr))
		}
	}
	fmt.Printf("%-30s %-6d %-6d %-9d of %d\n", "passed", passes["runc"], passes["crun"], passes["berth-oci"], len(s.programs))
	for _, text := range wrong {
		t.Error(text)
	}
	for program := range reasons {
		if !slices.Contains(s.programs, program) {
			t.Errorf("testdata/reasons.tsv has a reason for %s, which is no program of the suite", program)
		}
	}
}
