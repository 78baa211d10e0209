package seccomp

import (
	"cmp"
	"math"
	"math/bits"
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
	list := make([]choice, 0, len(spans))
	decided := make([]*node, 0, len(spans)) // the memory of the lists of one
	plain := map[Verdict]*node{}
	for _, s := range spans {
		n := plain[s.decision.otherwise]
		if n == nil || len(s.decision.tests) > 0 {
			n = m.decide(s.decision)
		}
		if len(s.decision.tests) == 0 {
			plain[s.decision.otherwise] = n
		}
		if len(list) == 0 || list[len(list)-1].nodes[0] != n {
			decided = append(decided, n)
			list = append(list, choice{s.first, decided[len(decided)-1:]})
		}
	}
	return list
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
// picked out one by one and the rest has a node in common. First the choices are
// put together to leaves, then a tree over these is made, either as it is the
// cheapest to install.
type search struct {
	nodes
	choices []choice
	step    int32   // what one comparison costs for one number
	tried   []int32 // how many numbers are tried before each choice
	leaves  []int   // where each leaf begins, and the end of the last
	split   [][]int // by the first leaf of a range and the one after its last: where it is divided
}

// find gives the first node of the search. base is the first number of the ABI.
func (m nodes) find(choices []choice, base uint32, step int32) *node {
	n := len(choices)
	s := search{nodes: m, choices: choices, step: step, tried: make([]int32, n+1)}
	for i := range n {
		s.tried[i] = int32(min(max(choices[i].first, base)-base, tried))
	}
	s.tried[n] = tried
	s.planLeaves()
	s.planTree()
	return s.build(0, len(s.leaves)-1)
}

// planLeaves finds the leaves that cost the least. How deep the tree will be
// above each is not known yet: at the best, the number of bits by which its
// numbers are fewer than all.
func (s *search) planLeaves() {
	n := len(s.choices)
	cost, end := make([]int32, n+1), make([]int, n)
	var l leaf
	for i := n - 1; i >= 0; i-- {
		l.candidates, l.numbers = l.candidates[:0], 0
		cost[i] = math.MaxInt32
		for j := i + 1; j <= n; j++ {
			s.extend(&l, j-1)
			if len(l.candidates) == 0 {
				break
			}
			numbers := s.tried[j] - s.tried[i]
			depth := int32(bits.Len32(uint32(tried / max(numbers, 1))))
			if c := cost[j] + perInstruction + s.step*numbers*depth + l.best(s.step).cost(s.step); c < cost[i] {
				cost[i], end[i] = c, j
			}
		}
	}
	for i := 0; i < n; i = end[i] {
		s.leaves = append(s.leaves, i)
	}
	s.leaves = append(s.leaves, n)
}

// planTree finds where to divide each range of leaves, when that is known for
// all shorter ones. The best place lies between those of the two ranges that are
// shorter by one (Knuth's optimal search trees).
func (s *search) planTree() {
	n := len(s.leaves) - 1
	cost := make([][]int32, n)
	s.split = make([][]int, n)
	for i := n - 1; i >= 0; i-- {
		cost[i], s.split[i] = make([]int32, n+1), make([]int, n+1)
		for j := i + 2; j <= n; j++ {
			from, to := i+1, j-1
			if j-i > 2 {
				from, to = s.split[i][j-1], s.split[i+1][j]
			}
			best := int32(math.MaxInt32)
			for k := from; k <= to; k++ {
				if c := cost[i][k] + cost[k][j]; c < best {
					best, s.split[i][j] = c, k
				}
			}
			cost[i][j] = best + s.step*(s.tried[s.leaves[j]]-s.tried[s.leaves[i]])
		}
	}
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

// best is the cheapest of the candidates.
func (l *leaf) best(step int32) candidate {
	return slices.MinFunc(l.candidates, func(a, b candidate) int { return cmp.Compare(a.cost(step), b.cost(step)) })
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

// build makes the nodes as planned, for a range of leaves.
func (s *search) build(i, j int) *node {
	if j-i > 1 {
		k := s.split[i][j]
		return s.test(number, bpf.JumpGreaterOrEqual, s.choices[s.leaves[k]].first, s.build(k, j), s.build(i, k))
	}
	var l leaf
	for k := s.leaves[i]; k < s.leaves[j]; k++ {
		s.extend(&l, k)
	}
	common := l.best(s.step).common
	n := common
	for k := s.leaves[j] - 1; k >= s.leaves[i]; k-- {
		if slices.Contains(s.choices[k].nodes, common) {
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
