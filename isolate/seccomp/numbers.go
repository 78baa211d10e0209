package seccomp

import (
	"cmp"
	"math"
	"slices"

	"golang.org/x/net/bpf"
)

// What a filter costs when it is installed, in nanoseconds (measured on Linux
// 6.18): the kernel checks and translates each instruction, and since 5.11 it
// also tries each call number of the native and of the 32-bit ABI, so that calls
// which are always allowed need not run the filter later.
const (
	perInstruction = 90
	perStep        = 3 // of trying one number
	perUntried     = 1 // for numbers that are not tried, so that their search stays short too
)

// tried is about how many numbers the kernel tries.
const tried = 480

// maxExceptions bounds how many numbers are picked out of a range one by one.
const maxExceptions = 8

// choice is a range of call numbers, with the nodes of which each decides them
// rightly. It ends where the next one begins, the last one at the largest number.
type choice struct {
	first uint32
	nodes []*node
}

// entry makes the nodes for one value of seccomp_data.arch. A number of x32 is
// searched for among those of x86_64, with its bit cleared, where the answer
// there is the right one: it mostly is.
func (m nodes) entry(e entry) *node {
	common := m.choices(e.spans)
	n := m.find(common, 0, perStep)
	if e.x32 == nil {
		return n
	}
	own := m.choices(e.x32)
	bounds := firsts(own)
	for _, b := range firsts(common) {
		bounds = append(bounds, b|x32Bit)
	}
	slices.Sort(bounds)
	cleared := m.get(node{kind: clearBits, from: number, value: x32Bit, yes: n})
	var list []choice
	for _, b := range slices.Compact(bounds) {
		c := at(own, b)
		if c.nodes[0] == at(common, b&^x32Bit).nodes[0] {
			c.nodes = []*node{cleared, c.nodes[0]}
		}
		list = append(list, choice{b, c.nodes})
	}
	return m.test(number, bpf.JumpGreaterOrEqual, x32Bit, m.find(merge(list), x32Bit, perUntried), n)
}

// choices makes the choices of spans, one for each.
func (m nodes) choices(spans []span) []choice {
	list := make([]choice, len(spans))
	for i, s := range spans {
		list[i] = choice{s.first, []*node{m.decide(s.decision)}}
	}
	return merge(list)
}

// merge joins neighbours that are the same.
func merge(list []choice) []choice {
	return slices.CompactFunc(list, func(a, b choice) bool { return slices.Equal(a.nodes, b.nodes) })
}

func firsts(list []choice) []uint32 {
	out := make([]uint32, len(list))
	for i, c := range list {
		out[i] = c.first
	}
	return out
}

// at gives the choice for a number.
func at(list []choice, number uint32) choice {
	i, found := slices.BinarySearchFunc(list, number, func(c choice, n uint32) int { return cmp.Compare(c.first, n) })
	if !found {
		i--
	}
	return list[i]
}

// search is the making of nodes that find the choice for the number in the
// accumulator: a tree that divides ranges, with leaves in which exceptions are
// picked out one by one and the rest has a node in common. Of all such trees it
// is (nearly) the cheapest to install. Tables are indexed by the first choice of
// a range and the one after its last.
type search struct {
	nodes
	choices []choice
	step    int32   // what one comparison costs for one number
	tried   []int32 // how many numbers are tried before each choice
	cost    [][]int32
	split   [][]int16 // where a range is divided; 0: it is a leaf
}

// find gives the first node of the search. base is the first number of the ABI.
func (m nodes) find(choices []choice, base uint32, step int32) *node {
	n := len(choices)
	s := search{nodes: m, choices: choices, step: step, tried: make([]int32, n+1), cost: make([][]int32, n), split: make([][]int16, n)}
	for i := range n {
		s.tried[i] = int32(min(max(choices[i].first, base)-base, tried))
	}
	s.tried[n] = tried
	costs, splits := make([]int32, n*(n+1)), make([]int16, n*(n+1))
	var l leaf
	for i := n - 1; i >= 0; i-- {
		s.cost[i], s.split[i] = costs[i*(n+1):][:n+1], splits[i*(n+1):][:n+1]
		l.candidates, l.numbers = l.candidates[:0], 0
		for j := i + 1; j <= n; j++ {
			s.extend(&l, j-1)
			s.plan(i, j, l)
		}
	}
	return s.build(0, n)
}

// plan finds the cheapest way for a range, when those for all shorter ones are
// known. The best place to divide it lies between those of the two ranges that
// are shorter by one (as in Knuth's optimal search trees).
func (s *search) plan(i, j int, l leaf) {
	best, at := int32(math.MaxInt32), 0
	for _, c := range l.candidates {
		best = min(best, c.cost(s.step))
	}
	from, to := i+1, j-1
	if j-i > 2 {
		from = max(from, int(s.split[i][j-1]))
		if k := int(s.split[i+1][j]); k >= from {
			to = k
		}
	}
	here := perInstruction + s.step*(s.tried[j]-s.tried[i])
	for k := from; k <= to; k++ {
		if cost := s.cost[i][k] + s.cost[k][j] + here; cost < best {
			best, at = cost, k
		}
	}
	s.cost[i][j], s.split[i][j] = best, int16(at)
}

// leaf is a range that is not divided, with the nodes that it can have in common.
type leaf struct {
	candidates []candidate
	numbers    uint32 // how many there are, or more than maxExceptions
}

type candidate struct {
	common     *node
	exceptions int32 // numbers that it does not decide
	rest       int32 // numbers that it does decide and that are tried
}

// cost is what it takes to pick the exceptions out one after the other.
func (c candidate) cost(step int32) int32 {
	return c.exceptions*perInstruction + step*(c.rest*c.exceptions+c.exceptions*(c.exceptions+1)/2)
}

// extend makes the leaf longer by one choice.
func (s *search) extend(l *leaf, k int) {
	if len(l.candidates) == 0 && l.numbers > 0 {
		return // there never will be any again
	}
	size, tried := s.last(k)-s.choices[k].first, s.tried[k+1]-s.tried[k]
	size = min(size, maxExceptions) + 1 // more makes no difference
	for i := range l.candidates {
		c := &l.candidates[i]
		if slices.Contains(s.choices[k].nodes, c.common) {
			c.rest += tried
		} else {
			c.exceptions += int32(size)
		}
	}
	if l.numbers <= maxExceptions {
		for _, n := range s.choices[k].nodes {
			if !slices.ContainsFunc(l.candidates, func(c candidate) bool { return c.common == n }) {
				l.candidates = append(l.candidates, candidate{n, int32(l.numbers), tried})
			}
		}
		l.numbers += size
	}
	kept := l.candidates[:0]
	for _, c := range l.candidates {
		if c.exceptions <= maxExceptions {
			kept = append(kept, c)
		}
	}
	l.candidates = kept
}

// last is the last number of a choice.
func (s *search) last(k int) uint32 {
	if k+1 == len(s.choices) {
		return math.MaxUint32
	}
	return s.choices[k+1].first - 1
}

// build makes the nodes as planned.
func (s *search) build(i, j int) *node {
	if k := int(s.split[i][j]); k != 0 {
		return s.test(number, bpf.JumpGreaterOrEqual, s.choices[k].first, s.build(k, j), s.build(i, k))
	}
	var l leaf
	for k := i; k < j; k++ {
		s.extend(&l, k)
	}
	best := slices.MinFunc(l.candidates, func(a, b candidate) int { return cmp.Compare(a.cost(s.step), b.cost(s.step)) })
	n := best.common
	for k := j - 1; k >= i; k-- {
		if slices.Contains(s.choices[k].nodes, best.common) {
			continue
		}
		for nr := s.last(k); ; nr-- {
			n = s.test(number, bpf.JumpEqual, nr, s.choices[k].nodes[0], n)
			if nr == s.choices[k].first {
				break
			}
		}
	}
	return n
}
