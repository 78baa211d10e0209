package seccomp

import (
	"math"
	"math/bits"

	"golang.org/x/net/bpf"
)

// maxStates bounds how much the tests of a decision are simplified.
const maxStates = 4096

// decide makes the nodes of a decision in whichever of two ways is shorter:
// each test by itself, or with what those before it have told left out.
func (m nodes) decide(d decision) *node {
	if len(d.tests) == 0 {
		return m.ret(d.otherwise)
	}
	plain := argumentTests{nodes: m, decision: d, done: map[state]*node{}, limit: math.MaxInt}
	simple := plain.from(state{})
	clever := argumentTests{nodes: m, decision: d, done: map[state]*node{}, limit: maxStates, learns: true}
	for i, t := range d.tests {
		for _, a := range t.args {
			clever.lastUse[2*a.Index], clever.lastUse[2*a.Index+1] = i, i
		}
	}
	if n := clever.from(state{known: unknown()}); n != nil && n.count() <= simple.count() {
		return n
	}
	return simple
}

// argumentTests makes the nodes for the tests of one decision.
type argumentTests struct {
	nodes
	decision
	done    map[state]*node
	limit   int // of states, beyond which there is no node
	learns  bool
	lastUse [words]int // the last test that looks at each word
}

// words is how many words the arguments have: low and high of each in turn.
const words = 12

// state is a place among the tests, and what is known there of the words.
type state struct {
	test, arg int
	known     [words]interval
}

// interval is the values that a word can have.
type interval struct{ low, high uint32 }

func unknown() (known [words]interval) {
	for i := range known {
		known[i] = interval{0, math.MaxUint32}
	}
	return known
}

// step makes the node for what comes after a comparison, given what is known then.
type step func(state) *node

// from gives the node for what is left of the tests, nil past the limit.
func (t *argumentTests) from(s state) *node {
	if s.test == len(t.tests) {
		return t.ret(t.otherwise)
	}
	current := &t.tests[s.test]
	if s.arg == len(current.args) {
		return t.ret(current.verdict)
	}
	if t.learns {
		for w := range s.known { // what no one asks for any more makes no difference
			if t.lastUse[w] < s.test {
				s.known[w] = interval{0, math.MaxUint32}
			}
		}
	}
	if n, ok := t.done[s]; ok {
		return n
	}
	if len(t.done) >= t.limit {
		return nil
	}
	n := t.compare(current.args[s.arg], current.bits32, s)
	t.done[s] = n
	return n
}

// compare gives the node for one argument, whose high word is looked at first.
func (t *argumentTests) compare(arg Arg, bits32 bool, s state) *node {
	yes := func(s state) *node { return t.from(state{s.test, s.arg + 1, s.known}) }
	no := func(s state) *node { return t.from(state{s.test + 1, 0, s.known}) }
	op := arg.Op
	switch op { // the rest is done by the opposite
	case NotEqual:
		op, yes, no = Equal, no, yes
	case Less:
		op, yes, no = GreaterOrEqual, no, yes
	case LessOrEqual:
		op, yes, no = Greater, no, yes
	}
	lowWord, highWord := 2*arg.Index, 2*arg.Index+1
	low, high := uint32(arg.Value), uint32(arg.Value>>32)
	ofLow := func(s state) *node {
		switch op {
		case Equal:
			return t.word(lowWord, bpf.JumpEqual, low, s, yes, no)
		case GreaterOrEqual:
			return t.word(lowWord, bpf.JumpGreaterOrEqual, low, s, yes, no)
		case Greater:
			return t.word(lowWord, bpf.JumpGreaterThan, low, s, yes, no)
		}
		return t.masked(lowWord, low, uint32(arg.ValueTwo), s, yes, no)
	}
	if bits32 {
		return ofLow(s)
	}
	switch op {
	case Equal:
		return t.word(highWord, bpf.JumpEqual, high, s, ofLow, no)
	case MaskedEqual:
		return t.masked(highWord, high, uint32(arg.ValueTwo>>32), s, ofLow, no)
	}
	notAbove := func(s state) *node { return t.word(highWord, bpf.JumpEqual, high, s, ofLow, no) }
	return t.word(highWord, bpf.JumpGreaterThan, high, s, yes, notAbove)
}

// word tests a word, unless it is known how the test ends.
func (t *argumentTests) word(w int, cond bpf.JumpTest, value uint32, s state, yes, no step) *node {
	whenYes, whenNo := s, s
	if t.learns {
		k := s.known[w]
		switch cond {
		case bpf.JumpGreaterThan:
			switch {
			case k.low > value:
				return yes(s)
			case k.high <= value:
				return no(s)
			}
			whenYes.known[w].low, whenNo.known[w].high = value+1, value
		case bpf.JumpGreaterOrEqual:
			switch {
			case k.low >= value:
				return yes(s)
			case k.high < value:
				return no(s)
			}
			whenYes.known[w].low, whenNo.known[w].high = value, value-1
		case bpf.JumpEqual:
			switch {
			case k == interval{value, value}:
				return yes(s)
			case value < k.low, value > k.high:
				return no(s)
			}
			whenYes.known[w] = interval{value, value}
			switch value { // a hole within cannot be told
			case k.low:
				whenNo.known[w].low++
			case k.high:
				whenNo.known[w].high--
			}
		}
	}
	return t.branch(word{offset: argument(w)}, cond, value, yes(whenYes), no(whenNo))
}

// masked compares a word under a mask. Bits of the value outside of the mask do
// not count, so an empty mask always matches.
func (t *argumentTests) masked(w int, mask, value uint32, s state, yes, no step) *node {
	value &= mask
	if k := s.known[w]; t.learns && k.low == k.high {
		if k.low&mask == value {
			return yes(s)
		}
		return no(s)
	}
	whole := word{offset: argument(w)}
	switch {
	case mask == 0:
		return yes(s)
	case mask == math.MaxUint32:
		return t.word(w, bpf.JumpEqual, value, s, yes, no)
	case value == 0:
		return t.branch(whole, bpf.JumpBitsSet, mask, no(s), yes(s))
	case bits.OnesCount32(mask) == 1:
		return t.branch(whole, bpf.JumpBitsSet, mask, yes(s), no(s))
	}
	return t.branch(word{argument(w), mask}, bpf.JumpEqual, value, yes(s), no(s))
}

func (t *argumentTests) branch(from word, cond bpf.JumpTest, value uint32, yes, no *node) *node {
	if yes == nil || no == nil {
		return nil
	}
	return t.test(from, cond, value, yes, no)
}

// argument is where a word of the arguments lies.
func argument(w int) uint32 { return offsetArgs + 4*uint32(w) }
