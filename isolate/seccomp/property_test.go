package seccomp

import (
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// reference gives the verdict on one call by reading the profile as the package
// comment says it, name by name, without ranges, words or instructions.
func reference(p *Profile, o Options, d data) Verdict {
	a := calledABI(p, o, d)
	switch {
	case a == nil:
		return killed
	case d.nr == skipped:
		return p.Default
	}
	called := func(name string) bool {
		n, ok := a.number(name)
		return ok && n == d.nr
	}
	behind := func(name string) bool { return a.muxed && isBehind(a, name, d) }
	lists := func(matches func(string) bool) (Verdict, bool) {
		switch {
		case slices.ContainsFunc(o.Deny, matches) && p.Default.Action > Errno:
			return p.Default, true
		case slices.ContainsFunc(o.Deny, matches):
			return eperm, true
		case slices.ContainsFunc(o.Allow, matches):
			return allowed, true
		}
		return Verdict{}, false
	}
	// A denied socketcall is denied whatever lies behind it; else the call behind goes first.
	if slices.ContainsFunc(o.Deny, called) {
		v, _ := lists(called)
		return v
	}
	if v, ok := lists(behind); ok && (v != allowed || !slices.ContainsFunc(o.Allow, called)) {
		return v
	}
	if v, ok := lists(called); ok {
		return v
	}
	v, byRule := profileVerdict(p, o, a, called, d.args, true)
	if inner, ok := profileVerdict(p, o, a, behind, d.args, false); ok && inner != p.Default {
		switch {
		case inner.Action > p.settled(o, called).Action, !byRule:
			return inner
		}
	}
	if !byRule && beyondNewest(p, o, a, d.nr) {
		return enosys
	}
	return v
}

func calledABI(p *Profile, o Options, d data) *abi {
	abis := p.abis(machines[o.Arch])
	if d.arch == x86_64 && d.nr >= x32Bit && d.nr != skipped {
		abis = slices.DeleteFunc(abis, func(a *abi) bool { return a != &abiX32 })
	}
	for _, a := range abis {
		if a.audit == d.arch {
			return a
		}
	}
	return nil
}

func isBehind(a *abi, name string, d data) bool {
	m, ok := multiplexed()[name]
	if !ok {
		return false
	}
	by, _ := a.number(m.by)
	call := d.args[0] & math.MaxUint32
	if m.by == "ipc" {
		call &= 0xffff
	}
	return d.nr == by && call == m.number
}

// live are the rules that count for the calls that match.
func (p *Profile) live(o Options, matches func(string) bool) []Rule {
	var live []Rule
	for _, r := range p.Rules {
		if r.Verdict != p.Default && r.applies(o) && slices.ContainsFunc(r.Names, matches) {
			live = append(live, r)
		}
	}
	return live
}

// settled is the verdict of the first rule without arguments, or the default.
func (p *Profile) settled(o Options, matches func(string) bool) Verdict {
	for _, r := range p.live(o, matches) {
		if len(r.Args) == 0 {
			return r.Verdict
		}
	}
	return p.Default
}

func profileVerdict(p *Profile, o Options, a *abi, matches func(string) bool, args [6]uint64, seen bool) (Verdict, bool) {
	live := p.live(o, matches)
	for _, r := range live {
		if len(r.Args) == 0 {
			return r.Verdict, true
		}
	}
	for _, r := range live {
		if seen && holds(r, a, args) || !seen && r.Verdict.Action > p.Default.Action {
			return r.Verdict, true
		}
	}
	// A number that is named has the plain default.
	return p.Default, false
}

func holds(r Rule, a *abi, args [6]uint64) bool {
	count := map[int]int{}
	all, one, twice := true, false, false
	for _, arg := range r.Args {
		count[arg.Index]++
		twice = twice || count[arg.Index] > 1
		h := matches(arg, a, args[arg.Index])
		all, one = all && h, one || h
	}
	if twice {
		return one
	}
	return all
}

func matches(arg Arg, a *abi, x uint64) bool {
	v, w := arg.Value, arg.ValueTwo
	if a.bits32 {
		x, v, w = x&math.MaxUint32, v&math.MaxUint32, w&math.MaxUint32
	}
	switch arg.Op {
	case NotEqual:
		return x != v
	case Less:
		return x < v
	case LessOrEqual:
		return x <= v
	case Equal:
		return x == v
	case GreaterOrEqual:
		return x >= v
	case Greater:
		return x > v
	}
	return x&v == w&v
}

func beyondNewest(p *Profile, o Options, a *abi, nr uint32) bool {
	newest, any := uint32(0), false
	count := func(name string) {
		if n, ok := a.number(name); ok && n&^a.bit < 512 {
			newest, any = max(newest, n), true
			if n == nr {
				nr = a.bit // named: never beyond
			}
		} else if ok && n == nr {
			nr = a.bit
		}
	}
	for _, r := range p.Rules {
		if r.Verdict != p.Default && r.applies(o) {
			for _, name := range r.Names {
				count(name)
			}
		}
	}
	for _, name := range o.Allow {
		count(name)
	}
	return any && nr > newest && p.Default.Action == Errno
}

// interesting are values where comparisons of two words go wrong.
var interesting = []uint64{0, 1, 2, 5, 0xffff, 1<<16 | 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 5<<32 | 5, 1<<63 - 1, 1 << 63, math.MaxUint64}

func TestCompiledIsTheProfile(t *testing.T) {
	pool := []string{
		"read", "write", "open", "openat", "bind", "socket", "socketcall", "ipc", "semop", "shmat", "recv", "accept4",
		"clone", "clone3", "mount", "execve", "ioctl", "rt_sigaction", "set_tls", "cacheflush", "sync_file_range2",
		"removexattrat", "listns", "nonesuch", "riscv_hwprobe", "exit_group", "personality",
	}
	value := rapid.OneOf(rapid.SampledFrom(interesting), rapid.Uint64(), rapid.Uint64Range(0, 8))
	verdict := rapid.Custom(func(t *rapid.T) Verdict {
		v := Verdict{Action: Action(rapid.IntRange(int(Allow), int(KillProcess)).Draw(t, "action"))}
		if v.Action == Errno || v.Action == Trace {
			v.Data = rapid.SampledFrom([]uint16{0, 1, uint16(unix.ENOSYS), 4095}).Draw(t, "data")
		}
		return v
	})
	arg := rapid.Custom(func(t *rapid.T) Arg {
		return Arg{
			Index: rapid.IntRange(0, 5).Draw(t, "index"), Op: Op(rapid.IntRange(int(NotEqual), int(MaskedEqual)).Draw(t, "op")),
			Value: value.Draw(t, "value"), ValueTwo: value.Draw(t, "value two"),
		}
	})
	few := []string{"bind", "socketcall", "ipc", "semop"} // so that rules meet
	names := rapid.OneOf(
		rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 6, rapid.ID[string]),
		rapid.SliceOfNDistinct(rapid.SampledFrom(few), 1, 2, rapid.ID[string]),
	)
	condition := rapid.Custom(func(t *rapid.T) Condition {
		return Condition{
			Caps:      rapid.SliceOfN(rapid.SampledFrom([]string{"CAP_BPF", "CAP_SYS_ADMIN"}), 0, 1).Draw(t, "caps"),
			Arches:    rapid.SliceOfN(rapid.SampledFrom([]string{"amd64", "arm64", "x86"}), 0, 2).Draw(t, "arches"),
			MinKernel: rapid.SampledFrom([]KernelVersion{{}, {}, {5, 0}, {6, 2}}).Draw(t, "kernel"),
		}
	})
	rule := rapid.Custom(func(t *rapid.T) Rule {
		r := Rule{Names: names.Draw(t, "names"), Verdict: verdict.Draw(t, "verdict"), Args: rapid.SliceOfN(arg, 0, 3).Draw(t, "args")}
		if rapid.IntRange(0, 3).Draw(t, "conditional") == 0 {
			r.Includes = condition.Draw(t, "includes")
			r.Excludes = condition.Draw(t, "excludes")
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		p := &Profile{Default: verdict.Draw(t, "default"), Rules: rapid.SliceOfN(rule, 0, 12).Draw(t, "rules")}
		p.Arches = rapid.SliceOfDistinct(rapid.SampledFrom([]string{"SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_S390"}), rapid.ID[string]).Draw(t, "arches")
		o := Options{
			Arch: rapid.SampledFrom([]string{"amd64", "arm64"}).Draw(t, "arch"), Kernel: KernelVersion{6, 1},
			Caps: rapid.SampledFrom([][]string{nil, {"CAP_BPF"}}).Draw(t, "caps"),
		}
		known := rapid.SampledFrom(slices.DeleteFunc(slices.Clone(pool), func(s string) bool { return s == "nonesuch" }))
		o.Deny = rapid.SliceOfNDistinct(known, 0, 2, rapid.ID[string]).Draw(t, "deny")
		o.Allow = slices.DeleteFunc(rapid.SliceOfNDistinct(known, 0, 2, rapid.ID[string]).Draw(t, "allow"),
			func(s string) bool {
				return slices.Contains(o.Deny, s)
			})

		compiled, _, err := Compile(p, o)
		if err != nil {
			t.Fatal(err)
		}
		vm := machineFor(t, compiled)
		check := func(d data) {
			if got, want := evaluate(t, vm, d), reference(p, o, d); got != want.ret() {
				t.Fatalf("call %d (%#x) of %#x, arguments %#x: got %#x, want %v", d.nr, d.nr, d.arch, d.args, got, want)
			}
		}
		var nearValues []uint64 // of the profile itself, and their neighbours
		for _, r := range p.Rules {
			for _, a := range r.Args {
				nearValues = append(nearValues, a.Value, a.Value+1, a.Value-1, a.Value&a.ValueTwo, a.ValueTwo)
			}
		}
		nearValues = append(nearValues, interesting...)
		argument := rapid.OneOf(rapid.SampledFrom(nearValues), value)
		abis := []*abi{&abiX86_64, &abiX86, &abiX32, &abiAARCH64, &abiARM}
		for range 40 {
			a := abis[rapid.IntRange(0, len(abis)-1).Draw(t, "abi")]
			d := data{arch: a.audit}
			if n, ok := a.number(rapid.SampledFrom(pool).Draw(t, "call")); ok {
				d.nr = n + uint32(rapid.IntRange(-1, 1).Draw(t, "beside"))
			} else {
				d.nr = rapid.OneOf(rapid.Uint32Range(0, 600), rapid.Uint32(), rapid.Just(uint32(skipped))).Draw(t, "number")
			}
			for i := range d.args {
				d.args[i] = argument.Draw(t, "argument")
			}
			if a.muxed && rapid.Bool().Draw(t, "through a multiplexer") {
				m := multiplexed()[rapid.SampledFrom([]string{"bind", "socket", "semop", "shmat", "recv", "accept4"}).Draw(t, "behind")]
				d.nr, _ = a.number(m.by)
				d.args[0] = m.number | rapid.SampledFrom([]uint64{0, 0, 1 << 16, 1 << 32}).Draw(t, "version")
			}
			check(d)
		}
	})
}

// TestComparisonsMeet holds many comparisons of few arguments with few values to
// the profile: what one of them tells of an argument is left out of the others.
func TestComparisonsMeet(t *testing.T) {
	values := []uint64{0, 1, 2, 3, 1 << 31, math.MaxUint32, 1 << 32, 1<<32 | 1, 2<<32 | 2, math.MaxUint32 << 32, math.MaxUint64}
	value := rapid.SampledFrom(values)
	arg := rapid.Custom(func(t *rapid.T) Arg {
		return Arg{
			Index: rapid.IntRange(0, 1).Draw(t, "index"), Op: Op(rapid.IntRange(int(NotEqual), int(MaskedEqual)).Draw(t, "op")),
			Value: value.Draw(t, "value"), ValueTwo: value.Draw(t, "value two"),
		}
	})
	rule := rapid.Custom(func(t *rapid.T) Rule {
		return Rule{
			Names:   []string{"bind"},
			Verdict: Verdict{Errno, rapid.Uint16Range(1, 4).Draw(t, "errno")}, Args: rapid.SliceOfN(arg, 1, 2).Draw(t, "args"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		p := &Profile{Default: allowed, Rules: rapid.SliceOfN(rule, 1, 10).Draw(t, "rules"), Arches: []string{"SCMP_ARCH_X86"}}
		o := Options{Arch: "amd64", Kernel: KernelVersion{6, 1}}
		compiled, _, err := Compile(p, o)
		if err != nil {
			t.Fatal(err)
		}
		vm := machineFor(t, compiled)
		for _, a := range []*abi{&abiX86_64, &abiX86} {
			nr, _ := a.number("bind")
			for _, x := range values {
				for _, y := range values {
					d := data{nr: nr, arch: a.audit, args: [6]uint64{x, y}}
					if got, want := evaluate(t, vm, d), reference(p, o, d); got != want.ret() {
						t.Fatalf("bind of %s, arguments %#x: got %#x, want %v", a.name, d.args[:2], got, want)
					}
				}
			}
		}
	})
}
