package seccomp

import (
	"maps"
	"math"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"
)

// filter is a profile resolved to numbers: what assemble turns into instructions.
type filter struct {
	entries []entry
	badArch Verdict // for every other seccomp_data.arch
}

// entry is the dispatch for one value of seccomp_data.arch. The spans follow
// each other in rising order from 0 and cover all numbers.
type entry struct {
	audit uint32
	spans []span
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
		switch {
		case a == &abiX86_64 && slices.Contains(abis, &abiX32):
			e.spans = append(e.spans, abiX32.spans(p, o)...)
		case a == &abiX86_64:
			e.spans = append(e.spans, span{x32Bit, decision{otherwise: kill}})
		}
		e.spans = merge(append(e.spans, span{skipped, decision{otherwise: p.Default}}))
		out.entries = append(out.entries, e)
	}
	return out
}

// merge joins neighbours with the same decision.
func merge(spans []span) []span {
	return slices.CompactFunc(spans, func(a, b span) bool {
		return a.decision.otherwise == b.decision.otherwise && reflect.DeepEqual(a.decision.tests, b.decision.tests)
	})
}

// spans gives the ABI's decisions for all numbers from its first up.
func (a *abi) spans(p *Profile, o Options) []span {
	decided, newest := a.decisions(p, o)
	beyond := p.Default
	if p.Default.Action == Errno {
		beyond = Verdict{Errno, uint16(unix.ENOSYS)}
	}
	if _, ok := decided[a.bit]; !ok {
		decided[a.bit] = decision{otherwise: p.Default}
	}
	// What follows a number that is named is not, until the next one that is.
	for _, n := range slices.Collect(maps.Keys(decided)) {
		if _, ok := decided[n+1]; ok {
			continue
		}
		if n < newest {
			decided[n+1] = decision{otherwise: p.Default}
		} else {
			decided[n+1] = decision{otherwise: beyond}
		}
	}
	var out []span
	for _, n := range slices.Sorted(maps.Keys(decided)) {
		d := decided[n]
		if n > newest && n&^a.bit < ownNumbers && !d.final {
			d.otherwise = beyond // a multiplexer that no rule names as such
		}
		out = append(out, span{n, d})
	}
	return out
}

// decisions gives the decision on each call number that the profile or the
// lists name, and the newest number that the profile or Allow names (the
// largest number possible if they name none).
func (a *abi) decisions(p *Profile, o Options) (decided map[uint32]decision, newest uint32) {
	named := a.bit // one above the newest
	direct := map[uint32][]test{}
	behind := map[string][]test{} // for calls behind socketcall and ipc
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Verdict == p.Default || !r.applies(o) {
			continue
		}
		for _, name := range r.Names {
			if n, ok := a.number(name); ok {
				direct[n] = append(direct[n], a.tests(r)...)
			}
			if _, ok := multiplexed[name]; ok && a.muxed {
				behind[name] = append(behind[name], a.tests(r)...)
			}
		}
	}
	decided = map[uint32]decision{}
	for n, tests := range direct {
		decided[n] = settle(tests, p.Default)
		named = a.newer(named, n)
	}
	for _, name := range slices.Sorted(maps.Keys(behind)) {
		if v := settle(behind[name], p.Default).unseen(p.Default); v != p.Default {
			a.addMultiplexed(decided, name, v, p.Default)
		}
	}
	for _, name := range o.Allow {
		if n, ok := a.override(decided, name, Verdict{Action: Allow}, p.Default); ok {
			named = a.newer(named, n)
		}
	}
	refuse := Verdict{Errno, uint16(unix.EPERM)}
	if p.Default.Action > Errno {
		refuse = p.Default
	}
	for _, name := range o.Deny {
		a.override(decided, name, refuse, p.Default)
	}
	if named == a.bit {
		return decided, skipped
	}
	return decided, named - 1
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
func (a *abi) addMultiplexed(decided map[uint32]decision, name string, v, byDefault Verdict) {
	n, t := a.throughMultiplexer(name, v)
	d, ok := decided[n]
	if !ok {
		d.otherwise = byDefault
	}
	switch {
	case v.Action > d.otherwise.Action:
		d.tests = slices.Insert(d.tests, 0, t)
	case !d.final:
		d.tests = append(d.tests, t)
	}
	decided[n] = d
}

// throughMultiplexer gives the number of the multiplexing call, and the test
// for one call behind it. ipc(2) takes a version in the upper half of its
// first argument, which the kernel splits off.
func (a *abi) throughMultiplexer(name string, v Verdict) (uint32, test) {
	m := multiplexed[name]
	n, _ := a.number(m.by)
	mask := uint64(math.MaxUint32)
	if m.by == "ipc" {
		mask = math.MaxUint16
	}
	return n, test{[]Arg{{Index: 0, Op: MaskedEqual, Value: mask, ValueTwo: m.number}}, a.bits32, v}
}

// override puts a verdict of Options.Allow or Deny above everything decided
// before, and gives the number of the call.
func (a *abi) override(decided map[uint32]decision, name string, v, byDefault Verdict) (uint32, bool) {
	if _, ok := multiplexed[name]; ok && a.muxed {
		n, t := a.throughMultiplexer(name, v)
		d, ok := decided[n]
		if !ok {
			d.otherwise = byDefault
		}
		d.tests = slices.Insert(slices.Clone(d.tests), 0, t)
		decided[n] = d
	}
	n, ok := a.number(name)
	if ok {
		decided[n] = decision{otherwise: v, final: true}
	}
	return n, ok
}
