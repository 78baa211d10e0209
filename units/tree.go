package units

import "strings"

// kind is the TOML type of a node.
type kind int

const (
	table_ kind = iota
	array
	text
	integer
	float
	boolean
	datetime
)

// String names the kind with its article, for messages.
func (k kind) String() string {
	return [...]string{"a table", "an array", "a string", "an integer", "a float", "a boolean", "a date or time"}[k]
}

// node is one value of a TOML document, with the place where it stands.
type node struct {
	kind kind
	key  span // the key, or the table's header; for an array's element the same as at
	at   span // the value; for a table made by a header the same as key
	text string

	keys   []string // of a table, in order
	fields map[string]*node
	items  []*node // of an array

	// How the table or array was made, which decides what may still be added
	// to it (TOML 1.1, "Table", "Array of Tables", "Inline Table").
	header  bool // defined by its own [header]
	dotted  bool // made by a dotted key
	closed  bool // written as a value: nothing can be added
	element bool // an array made by [[header]]
}

func newTable(key span) *node {
	return &node{kind: table_, key: key, at: key, fields: make(map[string]*node)}
}

func (n *node) set(key string, child *node) {
	if _, ok := n.fields[key]; !ok {
		n.keys = append(n.keys, key)
	}
	n.fields[key] = child
}

// find gives the node under a path of table keys, or nil.
func (n *node) find(path string) *node {
	for path != "" && n != nil {
		var key string
		key, path, _ = strings.Cut(path, ".")
		if n.kind != table_ {
			return nil
		}
		n = n.fields[key]
	}
	return n
}

// merge lays over onto n: tables merge, everything else replaces. n and over
// are left as they are.
func merge(n, over *node) *node {
	if n == nil || n.kind != table_ || over.kind != table_ {
		return over
	}
	out := newTable(n.key)
	for _, key := range n.keys {
		out.set(key, n.fields[key])
	}
	for _, key := range over.keys {
		out.set(key, merge(n.fields[key], over.fields[key]))
	}
	return out
}
