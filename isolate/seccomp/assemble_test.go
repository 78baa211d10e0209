package seccomp

import (
	"iter"
	"math"
	"testing"
)

// answer looks a call up in a resolved filter without any instructions.
func (f filter) answer(d data) Verdict {
	for _, e := range f.entries {
		if e.audit != d.arch {
			continue
		}
		spans := e.spans
		if e.x32 != nil && d.nr >= x32Bit {
			spans = e.x32
		}
		i := len(spans) - 1
		for spans[i].first > d.nr {
			i--
		}
		for _, t := range spans[i].decision.tests {
			all := true
			for _, arg := range t.args {
				all = all && matches(arg, &abi{bits32: t.bits32}, d.args[arg.Index])
			}
			if all {
				return t.verdict
			}
		}
		return spans[i].decision.otherwise
	}
	return f.badArch
}

// allCalls are all numbers of the ABIs of a machine, those around the ends of
// ranges, and for each of them arguments that make a difference to the built-in
// profile.
func allCalls(arch string) iter.Seq[data] {
	var numbers []uint32
	for n := range uint32(1024) {
		numbers = append(numbers, n, n|x32Bit, n|1<<31, n|0xf0000, n|x32Bit|1<<31)
	}
	for n := range uint32(4) {
		numbers = append(numbers, x32Bit-n, 1<<31-n, math.MaxUint32-n, x32Bit|1<<31-n, math.MaxUint32^x32Bit-n)
	}
	audits := []uint32{x86_64, i386, arm64}
	if arch == "arm64" {
		audits = []uint32{arm64, arm, x86_64}
	}
	var arguments [][6]uint64
	for _, a := range []uint64{0, 1, 8, 37, 38, 39, 40, 41, 0x20000, 0x20008, math.MaxUint32, 1 << 32, 1<<32 + 39, 0x10000000, 0x7e020000, 0x80000000, math.MaxUint64} {
		arguments = append(arguments, [6]uint64{a}, [6]uint64{1: a}, [6]uint64{2: a})
	}
	return func(yield func(data) bool) {
		for _, audit := range audits {
			for _, n := range numbers {
				all := arguments
				if n&^x32Bit > 560 { // behind all calls that there are
					all = arguments[:1]
				}
				for _, args := range all {
					if !yield(data{nr: n, arch: audit, args: args}) {
						return
					}
				}
			}
		}
	}
}

// TestAssembledIsResolved holds the instructions for the built-in profile to
// what was resolved, for every call that there is.
func TestAssembledIsResolved(t *testing.T) {
	for _, o := range []Options{
		{Arch: "amd64"}, {Arch: "arm64"},
		{Arch: "amd64", Caps: []string{"CAP_SYS_ADMIN"}}, {Arch: "amd64", Deny: []string{"socket", "read", "clone3"}},
	} {
		o.Kernel = KernelVersion{6, 1}
		filter, _, err := Compile(Default(), o)
		if err != nil {
			t.Fatal(err)
		}
		o, err = o.complete()
		if err != nil {
			t.Fatal(err)
		}
		resolved := resolve(Default(), o)
		vm := machineFor(t, filter)
		for d := range allCalls(o.Arch) {
			if got, want := evaluate(t, vm, d), resolved.answer(d); got != want.ret() {
				t.Fatalf("call %d (%#x) of %#x, arguments %#x: got %#x, want %v", d.nr, d.nr, d.arch, d.args, got, want)
			}
		}
	}
}

// TestFarJumps holds filters that are longer than a conditional jump to what was
// resolved: of many lengths, so that jumps of every length occur.
func TestFarJumps(t *testing.T) {
	o, err := Options{Arch: "amd64", Kernel: KernelVersion{6, 1}}.complete()
	if err != nil {
		t.Fatal(err)
	}
	p := &Profile{Default: eperm, Arches: []string{"SCMP_ARCH_X86", "SCMP_ARCH_X32"}}
	longest := 0
	for i, c := range numbersAMD64[:200] {
		p.Rules = append(p.Rules,
			Rule{Names: []string{c.name}, Verdict: Verdict{Action: Log}, Args: []Arg{{Index: 1, Op: Greater, Value: uint64(i) << 32}, {Index: 2, Op: NotEqual, Value: 8}}},
			Rule{Names: []string{c.name}, Verdict: allowed, Args: []Arg{{Index: 0, Op: MaskedEqual, Value: 0xff, ValueTwo: uint64(i)}}})
		filter, _, err := Compile(p, o)
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, len(filter)/8)
		resolved, vm := resolve(p, o), machineFor(t, filter)
		for _, audit := range []uint32{x86_64, i386} {
			for n := range uint32(400) {
				for _, d := range []data{{nr: n}, {nr: n | x32Bit}, {nr: n, args: [6]uint64{uint64(n % 256), 201 << 32}}, {nr: n, args: [6]uint64{uint64(i), 0, 8}}} {
					d.arch = audit
					if got, want := evaluate(t, vm, d), resolved.answer(d); got != want.ret() {
						t.Fatalf("%d calls: call %d (%#x) of %#x, arguments %#x: got %#x, want %v", i+1, d.nr, d.nr, d.arch, d.args, got, want)
					}
				}
			}
		}
	}
	if longest < 1000 {
		t.Errorf("the longest filter has only %d instructions", longest)
	}
}
