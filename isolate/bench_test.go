package isolate

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// staticTrue is an ELF file that does nothing but exit with 0.
func staticTrue(t testing.TB) []byte {
	var code []byte
	machine := uint16(62)
	switch runtime.GOARCH {
	case "amd64":
		code = []byte{0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05} // exit_group(0)
	case "arm64":
		machine = 183
		code = []byte{0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}
	default:
		t.Skip("no trivial program for " + runtime.GOARCH)
	}
	le := binary.LittleEndian
	const base, entry = 0x400000, 64 + 56
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+entry)
	b = le.AppendUint64(b, 64)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, 5)
	size := uint64(entry + len(code))
	for _, v := range []uint64{0, base, base, size, size, 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...)
}

func benchRoot(b *testing.B) string {
	needRoot(b)
	root := b.TempDir()
	for _, d := range []string{"proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "true"), staticTrue(b), 0o755); err != nil {
		b.Fatal(err)
	}
	return root
}

// BenchmarkSpawn measures a whole start to the exit of a trivial program
// (prepare, fork, all namespaces but user, /proc, /sys, /dev, masks,
// pivot_root, no capabilities) and, in turns with it, the least that gives the
// same kind of container. It reports medians, and their ratio.
func BenchmarkSpawn(b *testing.B) {
	root := benchRoot(b)
	spec := hostSpec("/true")
	spec.RootFS = RootFS{Path: root}
	full, err := Compile(spec)
	if err != nil {
		b.Fatal(err)
	}
	bare := lowerBound(root)
	var fullTimes, bareTimes []time.Duration
	for b.Loop() {
		fullTimes = append(fullTimes, startToExit(b, full))
		bareTimes = append(bareTimes, startToExit(b, bare))
	}
	a, l := median(fullTimes), median(bareTimes)
	b.ReportMetric(float64(a.Microseconds()), "berth-us")
	b.ReportMetric(float64(l.Microseconds()), "bound-us")
	b.ReportMetric(float64(a)/float64(l), "ratio")
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func startToExit(b *testing.B, p *program.Program) time.Duration {
	begin := time.Now()
	prep, err := Prepare(p, Files{})
	if err != nil {
		b.Fatal(err)
	}
	child, err := Spawn(prep)
	prep.Close()
	if err != nil {
		b.Fatal(err)
	}
	if ws, err := child.Wait(); err != nil || ws != 0 {
		b.Fatal(ws, err)
	}
	return time.Since(begin)
}

// lowerBound is the least: the same namespaces, four mounts, pivot_root and execve.
func lowerBound(root string) *program.Program {
	c := newCompiler("bare", &Process{})
	c.b.P.CloneFlags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET
	call := func(sys program.Sys, args ...program.Arg) {
		c.in(program.Step{Sys: sys, Dst: program.None, Args: args})
	}
	mount := func(src, at, fstype string, flags uint64) {
		call(program.SysMount, c.b.Str(src), c.b.Str(at), c.b.Str(fstype), program.Flag(program.FmtMount, flags), program.Null())
	}
	call(program.SysUnshare, program.Flag(program.FmtCloneFlags, unix.CLONE_NEWCGROUP))
	c.in(c.makePrivate())
	mount(root, root, "", unix.MS_BIND|unix.MS_REC)
	reg := c.b.Register("root")
	c.in(c.cwdDir(root, reg))
	call(program.SysFchdir, program.R(reg))
	mount("proc", "proc", "proc", 0)
	mount("sys", "sys", "sysfs", unix.MS_RDONLY)
	mount("dev", "dev", "tmpfs", 0)
	call(program.SysPivotRoot, c.b.Str("."), c.b.Str("."))
	call(program.SysUmount2, c.b.Str("."), program.Flag(program.FmtUmount, unix.MNT_DETACH))
	call(program.SysExecve, c.b.Str("/true"), c.b.Strs([]string{"true"}), c.b.Strs(nil))
	c.b.P.Inside[len(c.b.P.Inside)-1].Mark = program.Final
	return c.b.P
}
