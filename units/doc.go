// Package units is the model of a unit: what may be written in a unit file,
// what it means when nothing is written, and what is wrong with what is.
//
// It stands at the beginning of the way of the data. Package config finds the
// files and hands their text to Decode; the units of a generation are checked
// against each other by Check; supervisor/core acts on the result, and Diff
// tells it how a changed unit is applied to a running one. The package is pure:
// it reads no file, asks no clock, and looks nothing up on the machine.
//
// One table, Fields, says everything there is to say about a key. Decoding,
// defaults, validation, apply classes, the JSON schema, `berth explain` and
// docs/reference.md all read it, and a test holds it to the Unit struct.
//
// The way through the package: parse (syntax.go) makes a tree with positions
// of each file, merge (tree.go) lays the drop-ins over the unit file, decode
// (decode.go) fills a Unit from the tree by the table, validate (validate.go)
// looks at the keys together, and Check (graph.go) at the units together. Each
// of them reports all it finds as Diagnostics and carries on.
package units
