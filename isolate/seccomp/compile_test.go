package seccomp

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
}

// decode reads a compiled filter back.
func decode(t tester, filter []byte) []bpf.Instruction {
	t.Helper()
	var raw []bpf.RawInstruction
	for b := filter; len(b) > 0; b = b[8:] {
		raw = append(raw, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		})
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter does not disassemble")
	}
	return instructions
}

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

// evaluate runs a filter as the kernel does. The virtual machine of x/net/bpf
// loads words big-endian, so that is how they are laid out for it.
func evaluate(t tester, vm *bpf.VM, d data) uint32 {
	t.Helper()
	packet := binary.BigEndian.AppendUint32(nil, d.nr)
	packet = binary.BigEndian.AppendUint32(packet, d.arch)
	packet = append(packet, make([]byte, 8)...)
	for _, a := range d.args {
		packet = binary.BigEndian.AppendUint32(packet, uint32(a))
		packet = binary.BigEndian.AppendUint32(packet, uint32(a>>32))
	}
	value, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(value)
}

func machineFor(t tester, filter []byte) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(decode(t, filter))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// longest gives the number of conditional jumps on the longest path from i on.
func longest(instructions []bpf.Instruction) int {
	depth := make([]int, len(instructions))
	for i := len(instructions) - 1; i >= 0; i-- {
		switch in := instructions[i].(type) {
		case bpf.JumpIf:
			depth[i] = 1 + max(depth[i+1+int(in.SkipTrue)], depth[i+1+int(in.SkipFalse)])
		case bpf.Jump:
			depth[i] = depth[i+1+int(in.Skip)]
		case bpf.RetConstant:
		default:
			depth[i] = depth[i+1]
		}
	}
	return depth[0]
}

func TestDefaultGolden(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		filter, flags, err := Compile(Default(), Options{Arch: arch, Kernel: KernelVersion{6, 1}})
		if err != nil {
			t.Fatal(err)
		}
		if flags != 0 {
			t.Errorf("%s: flags are %#x", arch, flags)
		}
		var b strings.Builder
		instructions := decode(t, filter)
		fmt.Fprintf(&b, "# %d instructions, %d comparisons on the longest path\n", len(instructions), longest(instructions))
		for i, in := range instructions {
			fmt.Fprintf(&b, "%4d %v\n", i, in)
		}
		golden(t, "default-"+arch+".txt", b.String())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; look, then run go test -update:\n%s", path, diff)
	}
}

func TestDefaultNamesAreKnown(t *testing.T) {
	if unknown := Default().Unknown(); len(unknown) != 0 {
		t.Errorf("the built-in profile names calls that the tables lack: %v", unknown)
	}
}

const (
	x86_64 = 0xc000003e
	i386   = 0x40000003
	arm64  = 0xc00000b7
	arm    = 0x40000028
)

var (
	allowed = Verdict{Action: Allow}
	eperm   = Verdict{Errno, uint16(unix.EPERM)}
	enosys  = Verdict{Errno, uint16(unix.ENOSYS)}
	killed  = Verdict{Action: KillProcess}
)

// TestDefaultVerdicts holds the built-in profile to what Docker's does. The
// numbers are written out here, apart from the tables.
func TestDefaultVerdicts(t *testing.T) {
	for _, c := range []struct {
		what    string
		options Options
		data    data
		want    Verdict
	}{
		{"read", Options{}, data{nr: 0, arch: x86_64}, allowed},
		{"write on i386", Options{}, data{nr: 4, arch: i386}, allowed},
		{"read on x32", Options{}, data{nr: x32Bit, arch: x86_64}, allowed},
		{"execve on x32", Options{}, data{nr: x32Bit | 520, arch: x86_64}, allowed},
		{"64-bit execve through x32", Options{}, data{nr: x32Bit | 59, arch: x86_64}, eperm},
		{"mount", Options{}, data{nr: 165, arch: x86_64}, eperm},
		{"mount with SYS_ADMIN", Options{Caps: []string{"SYS_ADMIN"}}, data{nr: 165, arch: x86_64}, allowed},
		{"mount on i386", Options{}, data{nr: 21, arch: i386}, eperm},
		{"bpf", Options{}, data{nr: 321, arch: x86_64}, eperm},
		{"bpf with BPF", Options{Caps: []string{"cap_bpf"}}, data{nr: 321, arch: x86_64}, allowed},
		{"keyctl", Options{}, data{nr: 250, arch: x86_64}, eperm},
		{"clone3", Options{}, data{nr: 435, arch: x86_64}, enosys},
		{"clone3 with SYS_ADMIN", Options{Caps: []string{"CAP_SYS_ADMIN"}}, data{nr: 435, arch: x86_64}, allowed},
		{"clone plain", Options{}, data{nr: 56, arch: x86_64, args: [6]uint64{uint64(unix.SIGCHLD)}}, allowed},
		{"clone new user", Options{}, data{nr: 56, arch: x86_64, args: [6]uint64{unix.CLONE_NEWUSER}}, eperm},
		{"clone new user on i386", Options{}, data{nr: 120, arch: i386, args: [6]uint64{unix.CLONE_NEWUSER}}, eperm},
		{"socket inet", Options{}, data{nr: 41, arch: x86_64, args: [6]uint64{unix.AF_INET}}, allowed},
		{"socket vsock", Options{}, data{nr: 41, arch: x86_64, args: [6]uint64{unix.AF_VSOCK}}, eperm},
		{"socket alg", Options{}, data{nr: 41, arch: x86_64, args: [6]uint64{unix.AF_ALG}}, eperm},
		{"socketcall", Options{}, data{nr: 102, arch: i386, args: [6]uint64{1}}, allowed},
		{"socketcall, socket denied", Options{Deny: []string{"socket"}}, data{nr: 102, arch: i386, args: [6]uint64{1}}, eperm},
		{"socketcall bind, socket denied", Options{Deny: []string{"socket"}}, data{nr: 102, arch: i386, args: [6]uint64{2}}, allowed},
		{"ipc with version, semop denied", Options{Deny: []string{"semop"}}, data{nr: 117, arch: i386, args: [6]uint64{1<<16 | 1}}, eperm},
		{"ptrace", Options{}, data{nr: 101, arch: x86_64}, allowed},
		{"ptrace on an old kernel", Options{Kernel: KernelVersion{4, 7}}, data{nr: 101, arch: x86_64}, eperm},
		{"a call of tomorrow", Options{}, data{nr: 499, arch: x86_64}, enosys},
		{"a call of tomorrow on i386", Options{}, data{nr: 499, arch: i386}, enosys},
		{"a call of tomorrow on x32", Options{}, data{nr: x32Bit | 499, arch: x86_64}, enosys},
		{"a skipped call", Options{}, data{nr: skipped, arch: x86_64}, eperm},
		{"a foreign architecture", Options{}, data{nr: 0, arch: arm64}, killed},
		{"mount allowed by hand", Options{Allow: []string{"mount"}}, data{nr: 165, arch: x86_64}, allowed},
		{"read denied by hand", Options{Deny: []string{"read"}}, data{nr: 0, arch: x86_64}, eperm},
		{"read denied by hand on x32", Options{Deny: []string{"read"}}, data{nr: x32Bit, arch: x86_64}, eperm},
		{"clone allowed by hand", Options{Allow: []string{"clone"}}, data{nr: 56, arch: x86_64, args: [6]uint64{unix.CLONE_NEWUSER}}, allowed},
		{"read on arm64", Options{Arch: "arm64"}, data{nr: 63, arch: arm64}, allowed},
		{"mount on arm64", Options{Arch: "arm64"}, data{nr: 40, arch: arm64}, eperm},
		{"set_tls on arm", Options{Arch: "arm64"}, data{nr: 0xf0005, arch: arm}, allowed},
		{"read on arm", Options{Arch: "arm64"}, data{nr: 3, arch: arm}, allowed},
		{"mount on arm", Options{Arch: "arm64"}, data{nr: 21, arch: arm}, eperm},
		{"x86 on arm64", Options{Arch: "arm64"}, data{nr: 0, arch: x86_64}, killed},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.options.Arch == "" {
				c.options.Arch = "amd64"
			}
			if c.options.Kernel == (KernelVersion{}) {
				c.options.Kernel = KernelVersion{6, 1}
			}
			filter, _, err := Compile(Default(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := evaluate(t, machineFor(t, filter), c.data); got != c.want.ret() {
				t.Errorf("got %#x, want %v", got, c.want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	const bind, i386bind, socketcall = 49, 361, 102
	args := func(a ...uint64) (out [6]uint64) { copy(out[:], a); return out }
	for _, c := range []struct {
		what, profile string
		data          data
		want          Verdict
	}{
		{"x32 not named", `{"defaultAction":"SCMP_ACT_ALLOW"}`, data{nr: x32Bit, arch: x86_64}, killed},
		{"i386 not named", `{"defaultAction":"SCMP_ACT_ALLOW"}`, data{nr: 3, arch: i386}, killed},
		{"i386 named", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"]}`, data{nr: 3, arch: i386}, allowed},
		{"skipped call", `{"defaultAction":"SCMP_ACT_ALLOW"}`, data{nr: skipped, arch: x86_64}, allowed},
		{"the rule without arguments decides, though later",
			`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
			 {"names":["bind"],"action":"SCMP_ACT_ERRNO"}]}`, data{nr: bind, arch: x86_64, args: args(1)}, eperm},
		{"the first of two without arguments",
			`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_TRAP"},
			 {"names":["bind"],"action":"SCMP_ACT_ERRNO"}]}`, data{nr: bind, arch: x86_64}, Verdict{Action: Trap}},
		{"the first that matches",
			`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":5,"op":"SCMP_CMP_LT"}]},
			 {"names":["bind"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":9,"op":"SCMP_CMP_LT"}]}]}`,
			data{nr: bind, arch: x86_64, args: args(7)}, eperm},
		{"the same argument twice is two rules",
			`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_ERRNO","errno":"EPERM","args":[
			  {"index":0,"value":5,"op":"SCMP_CMP_EQ"},{"index":0,"value":6,"op":"SCMP_CMP_EQ"}]}]}`,
			data{nr: bind, arch: x86_64, args: args(6)}, eperm},
		{"a stricter call behind an allowed socketcall",
			`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[
			 {"names":["socketcall"],"action":"SCMP_ACT_ALLOW"},{"names":["bind"],"action":"SCMP_ACT_KILL_PROCESS"}]}`,
			data{nr: socketcall, arch: i386, args: args(2)}, killed},
		{"an allowed call with arguments does not open socketcall",
			`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}]}`,
			data{nr: socketcall, arch: i386, args: args(2)}, eperm},
		{"an allowed call opens socketcall for itself",
			`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[{"names":["bind"],"action":"SCMP_ACT_ALLOW"}]}`,
			data{nr: socketcall, arch: i386, args: args(2)}, allowed},
		{"and for no other",
			`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[{"names":["bind"],"action":"SCMP_ACT_ALLOW"}]}`,
			data{nr: socketcall, arch: i386, args: args(3)}, eperm},
		{"a refused call with arguments is refused through socketcall",
			`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}]}`,
			data{nr: socketcall, arch: i386, args: args(2)}, eperm},
		{"and keeps its arguments directly",
			`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
			 {"names":["bind"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}]}`,
			data{nr: i386bind, arch: i386, args: args(4)}, allowed},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := Parse([]byte(c.profile))
			if err != nil {
				t.Fatal(err)
			}
			filter, _, err := Compile(p, Options{Arch: "amd64", Kernel: KernelVersion{6, 1}})
			if err != nil {
				t.Fatal(err)
			}
			if got := evaluate(t, machineFor(t, filter), c.data); got != c.want.ret() {
				t.Errorf("got %#x, want %v", got, c.want)
			}
		})
	}
}

func TestOptionFaults(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{Arch: "mips"}, `"mips": only amd64 and arm64`},
		{Options{Deny: []string{"monut"}}, `deny-syscalls: unknown system call "monut"; did you mean "mount"?`},
		{Options{Allow: []string{"zzzzzzzz"}}, `allow-syscalls: unknown system call "zzzzzzzz"`},
		{Options{Allow: []string{"mount"}, Deny: []string{"mount"}}, `"mount" is in deny-syscalls and in allow-syscalls`},
	} {
		if _, _, err := Compile(Default(), c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.options, err, c.want)
		}
	}
}

func TestTooLong(t *testing.T) {
	p := &Profile{Default: allowed}
	for i := range 4096 {
		p.Rules = append(p.Rules, Rule{Names: []string{"read"}, Verdict: eperm, Args: []Arg{{Op: Equal, Value: uint64(i)}}})
	}
	if _, _, err := Compile(p, Options{}); err == nil || !strings.Contains(err.Error(), "the kernel takes 4096") {
		t.Errorf("got %v", err)
	}
}

func TestCache(t *testing.T) {
	var c Cache
	results := make(chan []byte, 8)
	for range cap(results) {
		go func() {
			filter, _, err := c.Compile(Default(), Options{Caps: []string{"CAP_BPF", "SYS_ADMIN"}})
			if err != nil {
				t.Error(err)
			}
			results <- filter
		}()
	}
	first := <-results
	for range cap(results) - 1 {
		if again := <-results; &again[0] != &first[0] {
			t.Error("compiled twice")
		}
	}
	same, _, err := c.Compile(Default(), Options{Caps: []string{"sys_admin", "bpf", "bpf"}})
	if err != nil || &same[0] != &first[0] {
		t.Errorf("the same options in other words are compiled again (%v)", err)
	}
	other, _, err := c.Compile(Default(), Options{})
	if err != nil || bytes.Equal(other, first) {
		t.Errorf("other options give the same filter (%v)", err)
	}
	for i := range 2 * maxCached {
		p := &Profile{Default: Verdict{Errno, uint16(i)}}
		if _, _, err := c.Compile(p, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.filters) > maxCached {
		t.Errorf("%d filters kept", len(c.filters))
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	for b.Loop() {
		if _, _, err := Compile(Default(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	var c Cache
	for b.Loop() {
		if _, _, err := c.Compile(Default(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
