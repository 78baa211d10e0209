package vmtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Machine says what a virtual machine has besides the test binary.
type Machine struct {
	Files   []File   // see File
	Modules []string // kernel modules, loaded with what they depend on
	Stages  []Stage  // the same as are given to Main
}

// bound is when a machine that has not powered itself off is ended.
const bound = 5 * time.Minute

// Need ends the test where no machine can be run: it skips it, or fails if
// BERTH_NO_SKIP is set. It skips under go test -short, on other processors than
// x86_64, and in the machine.
func Need(t testing.TB) {
	t.Helper()
	switch {
	case Current() != "":
		t.Skip("this is the virtual machine")
	case runtime.GOARCH != "amd64":
		t.Skip("the machine is an x86_64")
	case testing.Short():
		t.Skip("boots a virtual machine")
	}
	if _, err := exec.LookPath(qemu); err != nil {
		SkipOrFail(t, err)
	}
}

const qemu = "qemu-system-x86_64"

// hardware gives the arguments for a machine with so many MiB of memory and two
// processors. KVM is there where /dev/kvm opens and the processor has what it
// takes; else QEMU translates the machine's code. cx16 makes kernel 6.12 panic
// then.
func hardware(memory int) []string {
	accel, cpu := "tcg", "max,-cx16"
	if kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		kvm.Close()
		info, err := os.ReadFile("/proc/cpuinfo")
		if flags := strings.Fields(string(info)); err == nil && (slices.Contains(flags, "vmx") || slices.Contains(flags, "svm")) {
			accel, cpu = "kvm", "host"
		}
	}
	return []string{
		"-accel", accel, "-cpu", cpu, "-machine", "q35", "-m", strconv.Itoa(memory), "-smp", "2",
		"-nodefaults", "-display", "none",
	}
}

// SkipOrFail skips a test that lacks something, or fails it if BERTH_NO_SKIP is set.
func SkipOrFail(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("BERTH_NO_SKIP") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// Run boots a machine whose init is the test binary of the package in the
// working directory, and fails the test unless every stage succeeded there. It
// needs qemu-system-x86_64 and a kernel, see findKernel.
func Run(t *testing.T, m Machine) {
	t.Helper()
	Need(t)
	kernel, err := findKernel()
	if err != nil {
		SkipOrFail(t, err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the init: %v\n%s", err, out)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := kernel.pack(initrd, kernel.files, m.Modules, append([]File{Copy("init", program)}, m.Files...)); err != nil {
		t.Fatal(err)
	}
	text, stood, err := run(t, kernel.image, initrd)
	if stood != "" && !strings.Contains(text, "panic: test timed out") {
		// The tests in the machine end by themselves after half of the bound. QEMU
		// 7.2 without KVM, with a thread for each processor, has done this three
		// times in some two hundred runs on a busy host: nothing in the machine went
		// on, not even the watchdogs of its kernel.
		t.Logf("the machine stood still and is started once more; its processors:\n%s\nits console:\n%s", stood, text)
		text, _, err = run(t, kernel.image, initrd)
	}
	passed := true
	for _, s := range m.Stages {
		if !strings.Contains(text, fmt.Sprintf("stage %s: ok\n", s.Name)) {
			passed = false
			t.Errorf("stage %s failed", s.Name)
		}
	}
	if err != nil || !passed {
		t.Fatalf("%v; the machine's console:\n%s", err, text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "stage ") || strings.HasPrefix(line, "--- ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// run runs a machine until it powers itself off, or until the bound, and gives
// what its console said; in the latter case also where its processors were.
func run(t *testing.T, kernel, initrd string) (text, stood string, err error) {
	t.Helper()
	control := &qmp{path: filepath.Join(socketDir(t), "qmp")}
	defer control.close()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	machine := exec.CommandContext(ctx, qemu, append(hardware(1024),
		"-no-reboot", "-serial", "stdio", "-qmp", "unix:"+control.path+",server=on,wait=off",
		"-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 "+stageEnv+"=init")...)
	machine.Cancel = func() error {
		stood = control.processors()
		return machine.Process.Kill()
	}
	var console bytes.Buffer
	machine.Stdout, machine.Stderr = &console, &console
	start := time.Now()
	err = machine.Run()
	t.Logf("the machine ran for %v", time.Since(start).Round(time.Millisecond))
	return strings.ReplaceAll(console.String(), "\r", ""), stood, err
}
