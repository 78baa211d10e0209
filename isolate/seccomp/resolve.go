package seccomp

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// filter is a profile resolved to numbers: what assemble turns into instructions.
type filter struct {
	entries []entry
	badArch Verdict // for every other seccomp_data.arch
}

// entry is the dispatch for one value of seccomp_data.arch. The spans follow
// each other in rising order and cover all numbers: those of x32 (nil on other
// ABIs, and if it is not filtered by rules) the ones from x32Bit up.
type entry struct {
	audit      uint32
	spans, x32 []span
}

// span is a range of call numbers with one decision. It ends where the next one begins.
type span struct {
	first    uint32
	decision decision
}

// decision gives the verdict of the first test that matches, or else otherwise.
type decision struct {
	tests     []test
	otherwise Verdict
	final     bool // otherwise comes from a rule, not from the default
}

// test matches if all of args do.
type test struct {
	args    []Arg
	bits32  bool // only the low words are compared
	verdict Verdict
}

// skipped is the call number that a tracer sets to skip a call.
const skipped = math.MaxUint32

// resolve applies the conditions and the precedence told in the package comment.
func resolve(p *Profile, o Options) filter {
	m := machines[o.Arch]
	kill := Verdict{Action: KillProcess}
	out := filter{badArch: kill}
	abis := p.abis(m)
	for _, a := range abis {
		if a == &abiX32 {
			continue // below, with the native ABI
		}
		e := entry{audit: a.audit, spans: a.spans(p, o)}
		skip := span{skipped, decision{otherwise: p.Default}}
		switch {
		case a == &abiX86_64 && slices.Contains(abis, &abiX32):
			e.x32 = append(abiX32.spans(p, o), skip)
		case a == &abiX86_64:
			e.spans = append(e.spans, span{x32Bit, decision{otherwise: kill}}, skip)
		default:
			e.spans = append(e.spans, skip)
		}
		out.entries = append(out.entries, e)
	}
	return out
}

// spans gives the ABI's decisions for all numbers from its first up.
func (a *abi) spans(p *Profile, o Options) []span {
	named, newest := a.decisions(p, o)
	beyond := p.Default
	if p.Default.Action == Errno {
		beyond = Verdict{Errno, uint16(unix.ENOSYS)}
	}
	out := make([]span, 0, 2*len(named)+1)
	next := a.bit // the first number that is not decided yet
	unnamed := func() {
		if next > newest {
			out = append(out, span{next, decision{otherwise: beyond}})
		} else {
			out = append(out, span{next, decision{otherwise: p.Default}})
		}
	}
	for _, d := range named {
		if d.number != next {
			unnamed()
		}
		if d.number > newest && d.number&^a.bit < ownNumbers && !d.final {
			d.otherwise = beyond // a multiplexer that no rule names as such
		}
		out = append(out, span{d.number, d.decision})
		next = d.number + 1
	}
	unnamed()
	return out
}

// numbered is the decision on one call number.
type numbered struct {
	number uint32
	decision
}

// decisions are in the order of their numbers, each of which is there once.
type decisions []numbered

// at gives the decision on a number, which is put in if it is missing.
func (d *decisions) at(number uint32, otherwise Verdict) *decision {
	i, ok := slices.BinarySearchFunc(*d, number, func(n numbered, number uint32) int { return cmp.Compare(n.number, number) })
	if !ok {
		*d = slices.Insert(*d, i, numbered{number, decision{otherwise: otherwise}})
	}
	return &(*d)[i].decision
}

// decisions gives the decision on each call number that the profile or the
// lists name, and the newest number that the profile or Allow names (the
// largest number possible if they name none).
func (a *abi) decisions(p *Profile, o Options) (decided decisions, newest uint32) {
	end := a.bit // one above the newest
	var testsOf [][]test
	direct := make([]uint64, 0, len(a.common)) // call numbers, with an index of testsOf below
	behind := map[string][]test{}              // for calls behind socketcall and ipc
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Verdict == p.Default || !r.applies(o) {
			continue
		}
		tests := a.tests(r)
		testsOf = append(testsOf, tests)
		for _, name := range r.Names {
			if n, ok := a.number(name); ok {
				direct = append(direct, uint64(n)<<32|uint64(len(testsOf)-1))
			}
			if a.muxed {
				if _, ok := multiplexed()[name]; ok {
					behind[name] = append(behind[name], tests...)
				}
			}
		}
	}
	slices.Sort(direct) // by number, then in the profile's order
	decided = make(decisions, 0, len(direct))
	for len(direct) > 0 {
		n, tests, k := uint32(direct[0]>>32), testsOf[uint32(direct[0])], 1
		for ; k < len(direct) && uint32(direct[k]>>32) == n; k++ {
			tests = slices.Concat(tests, testsOf[uint32(direct[k])])
		}
		decided = append(decided, numbered{n, settle(tests, p.Default)})
		end = a.newer(end, n)
		direct = direct[k:]
	}
	for _, name := range slices.Sorted(maps.Keys(behind)) {
		if v := settle(behind[name], p.Default).unseen(p.Default); v != p.Default {
			a.addMultiplexed(&decided, name, v, p.Default)
		}
	}
	for _, name := range o.Allow {
		if n, ok := a.override(&decided, name, Verdict{Action: Allow}, p.Default); ok {
			end = a.newer(end, n)
		}
	}
	refuse := Verdict{Errno, uint16(unix.EPERM)}
	if p.Default.Action > Errno {
		refuse = p.Default
	}
	for _, name := range o.Deny {
		a.override(&decided, name, refuse, p.Default)
	}
	if end == a.bit {
		return decided, skipped
	}
	return decided, end - 1
}

// newer gives one above n if that is more than named, counting only numbers of
// the common table: what an ABI has for itself lies far above and says nothing of age.
func (a *abi) newer(named, n uint32) uint32 {
	if n&^a.bit >= ownNumbers {
		return named
	}
	return max(named, n+1)
}

// tests gives the rule as tests. Arguments compared more than once make a test
// of each comparison.
func (a *abi) tests(r *Rule) []test {
	args := slices.Clone(r.Args)
	once := map[int]bool{}
	split := false
	for i := range args {
		split = split || once[args[i].Index]
		once[args[i].Index] = true
		if a.bits32 {
			args[i].Value &= math.MaxUint32
			args[i].ValueTwo &= math.MaxUint32
		}
	}
	if !split {
		return []test{{args, a.bits32, r.Verdict}}
	}
	var tests []test
	for _, arg := range args {
		tests = append(tests, test{[]Arg{arg}, a.bits32, r.Verdict})
	}
	return tests
}

// settle gives the decision of the rules of one call.
func settle(tests []test, otherwise Verdict) decision {
	for _, t := range tests {
		if len(t.args) == 0 {
			return decision{otherwise: t.verdict, final: true}
		}
	}
	return decision{tests: tests, otherwise: otherwise}
}

// unseen gives the verdict of a decision where the arguments cannot be seen.
func (d decision) unseen(byDefault Verdict) Verdict {
	for _, t := range d.tests {
		if t.verdict.Action > byDefault.Action {
			return t.verdict
		}
	}
	return d.otherwise
}

// addMultiplexed makes a rule for a call hold for socketcall or ipc too.
func (a *abi) addMultiplexed(decided *decisions, name string, v, byDefault Verdict) {
	n, t := a.throughMultiplexer(name, v)
	d := decided.at(n, byDefault)
	switch {
	case v.Action > d.otherwise.Action:
		d.tests = slices.Insert(slices.Clone(d.tests), 0, t)
	case !d.final:
		d.tests = append(slices.Clip(d.tests), t)
	}
}

// throughMultiplexer gives the number of the multiplexing call, and the test
// for one call behind it. ipc(2) takes a version in the upper half of its
// first argument, which the kernel splits off.
func (a *abi) throughMultiplexer(name string, v Verdict) (uint32, test) {
	m := multiplexed()[name]
	n, _ := a.number(m.by)
	mask := uint64(math.MaxUint32)
	if m.by == "ipc" {
		mask = math.MaxUint16
	}
	return n, test{[]Arg{{Index: 0, Op: MaskedEqual, Value: mask, ValueTwo: m.number}}, a.bits32, v}
}

// override puts a verdict of Options.Allow or Deny above everything decided
// before, and gives the number of the call.
func (a *abi) override(decided *decisions, name string, v, byDefault Verdict) (uint32, bool) {
	if _, ok := multiplexed()[name]; ok && a.muxed {
		n, t := a.throughMultiplexer(name, v)
		d := decided.at(n, byDefault)
		d.tests = slices.Insert(slices.Clone(d.tests), 0, t)
	}
	n, ok := a.number(name)
	if ok {
		*decided.at(n, byDefault) = decision{otherwise: v, final: true}
	}
	return n, ok
}
