package seccomp

import "golang.org/x/net/bpf"

// node is one place of a filter: a verdict, a test of one word, or a step that
// changes the accumulator. Nodes that do the same are the same node, so calls
// and ABIs that are decided alike share their instructions.
type node struct {
	kind    nodeKind
	from    word
	cond    bpf.JumpTest
	value   uint32 // compared with, or the mask of clearBits, or the verdict's return value
	yes, no *node  // clearBits goes on at yes
}

type nodeKind int

const (
	returns nodeKind = iota
	compares
	clearBits // removes the bits of value from the accumulator, which yes then takes for its word
)

// word is what the accumulator holds for a test: a word of struct seccomp_data,
// under a mask where that is not 0.
type word struct {
	offset uint32
	mask   uint32
}

// number is the word with the call's number.
var number = word{offset: offsetNumber}

// nodes makes each node once.
type nodes map[node]*node

func (m nodes) get(n node) *node {
	if n.kind == compares && n.yes == n.no {
		return n.yes
	}
	if have, ok := m[n]; ok {
		return have
	}
	m[n] = &n
	return &n
}

func (m nodes) ret(v Verdict) *node { return m.get(node{value: v.ret()}) }

func (m nodes) test(from word, cond bpf.JumpTest, value uint32, yes, no *node) *node {
	return m.get(node{kind: compares, from: from, cond: cond, value: value, yes: yes, no: no})
}

// count is how many nodes, verdicts aside, hang on n.
func (n *node) count() int {
	seen := map[*node]bool{}
	var walk func(*node)
	walk = func(n *node) {
		if n == nil || n.kind == returns || seen[n] {
			return
		}
		seen[n] = true
		walk(n.yes)
		walk(n.no)
	}
	walk(n)
	return len(seen)
}
