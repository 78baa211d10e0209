package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// BenchmarkThousandChecks has 1,000 units, each with a network namespace of its
// own, checked by HTTP every 10 seconds, and tells what that costs the supervisor:
// share of one processor, processor time for each check, memory.
func BenchmarkThousandChecks(b *testing.B) {
	needRoot(b)
	root := busyboxRoot(b)
	if err := os.WriteFile(filepath.Join(root, "etc/index.html"), []byte("up\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	files := map[string]string{}
	for i := range thousand {
		files[fmt.Sprintf("u%04d.toml", i)] = fmt.Sprintf("[service]\ncommand = ['/bin/busybox', 'httpd', '-f', '-p', '127.0.0.1:8080', '-h', '/etc']\n"+
			"[rootfs]\npath = %q\n[namespaces]\nnetwork = 'new'\n[log]\ntarget = 'null'\n[health.up]\nhttp = 'http://127.0.0.1:8080/'\non-failure = 'none'\n", root)
	}
	d := start(b, files, "--log-level", "info")
	deadline := time.Now().Add(5 * time.Minute)
	for healthy := 0; healthy < thousand; {
		list, err := d.api.List(b.Context())
		if err != nil || time.Now().After(deadline) {
			b.Fatalf("%d units are healthy: %v", healthy, err)
		}
		healthy = 0
		for _, u := range list {
			if u.Health == core.Healthy {
				healthy++
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	pid := d.child("supervisor")
	for b.Loop() {
		const window = 20 * time.Second // two checks of each
		before := processorTime(b, pid)
		time.Sleep(window)
		used := processorTime(b, pid) - before
		b.ReportMetric(100*used.Seconds()/window.Seconds(), "%cpu")
		b.ReportMetric(float64(used.Microseconds())/(2*thousand), "us/check")
		b.ReportMetric(float64(residentKB(b, pid))/1024, "MB")
	}
}

// processorTime gives what a process has used, by the kernel's clock of 10 ms.
func processorTime(b testing.TB, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil { // fields 14 and 15 of proc_pid_stat(5)
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
