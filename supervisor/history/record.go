// Package history keeps the generations that were taken up, so that berth
// history can tell of them and berth rollback can go back to one, also after a
// restart of the supervisor or of the machine.
//
// A generation is two files in the state directory, which only its owner may
// enter: NUMBER.units holds the units as they were put together, each as a unit
// file behind a line with its name, and is never changed; NUMBER.json is the
// Record, which is written last at first and again as the outcome becomes known.
// Each is written beside its place, synced and renamed. What is damaged is told
// and passed over.
package history

import (
	"slices"
	"time"

	"berth/config"
	"berth/units"
)

// Record tells of one generation.
type Record struct {
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`
	Author     Author    `json:"author"`
	// Files are the unit files that had changed, as far as that is known.
	Files []string `json:"files,omitempty"`
	// Of is the generation whose units these are, after a rollback to it; 0: none.
	Of uint64 `json:"of,omitempty"`
	// Units is how many there are.
	Units int `json:"units"`
	// Changes say what was to happen to the units, without secrets; More is how
	// many steps too many there were to be kept.
	Changes config.Plan `json:"changes,omitempty"`
	More    int         `json:"more,omitempty"`
	Outcome Outcome     `json:"outcome"`
	// Diagnostics are those of an invalid generation, the first of them.
	Diagnostics units.Diagnostics `json:"diagnostics,omitempty"`

	// Held are, after a rollback, the units of which the files said something
	// else than the generation gone back to, with the sum of what they said; ""
	// for a unit that had no file.
	Held map[string]string `json:"held,omitempty"`
	// Directories are those that the unit files were looked for in.
	Directories []string `json:"directories"`
	// Texts tells the files read apart from others: the sum of paths and texts.
	Texts string `json:"texts,omitempty"`
	// Sum is the CRC-32 of the file of units.
	Sum uint32 `json:"sum,omitempty"`
}

// Kind is what the author of a generation is.
type Kind string

// The kinds of authors.
const (
	KindFiles Kind = "files" // a change of the unit files was followed
	KindBoot  Kind = "boot"  // the unit files as they were found at the start of the daemon
	KindUser  Kind = "user"  // a process that asked for it
)

// Author is who a generation is of. Of a process it is what the kernel said of
// it (SO_PEERCRED), but for the command, which it can choose itself.
type Author struct {
	Kind    Kind   `json:"kind"`
	UID     *int   `json:"uid,omitempty"`
	User    string `json:"user,omitempty"` // the name of UID; "": it has none
	PID     int    `json:"pid,omitempty"`
	Command string `json:"command,omitempty"` // its arguments
}

// State is what became of a generation.
type State string

// The states.
const (
	Applying   State = "applying"   // not every unit has got where the plan wants it
	Applied    State = "applied"    // every unit has, or is told in Rejected or Failed
	Superseded State = "superseded" // the next generation came before
	RolledBack State = "rolled back"
	Invalid    State = "invalid" // it was never taken up
)

// Outcome is what became of a generation.
type Outcome struct {
	State State     `json:"state"`
	Time  time.Time `json:"time"`
	// Rejected are the units whose new version did not become ready, and why:
	// they went back to the version before by themselves.
	Rejected map[string]string `json:"rejected,omitempty"`
	// Failed are the units that did not come up and had no version to go back to.
	Failed map[string]string `json:"failed,omitempty"`
	// By is the generation that took this one back.
	By uint64 `json:"by,omitempty"`
}

// Good tells whether everything of the generation came up, and still was wanted
// when the next one came.
func (r *Record) Good() bool {
	return r.Outcome.State == Applied && len(r.Outcome.Rejected) == 0 && len(r.Outcome.Failed) == 0
}

// Base is the generation whose units these are.
func (r *Record) Base() uint64 {
	if r.Of != 0 {
		return r.Of
	}
	return r.Generation
}

// Bounds of what a record keeps of a generation that changes much.
const (
	maxSteps = 500
	maxFiles = 100
	maxText  = 1000 // bytes of a command or reason
)

// bound cuts off what is too much.
func (r *Record) bound() {
	r.Changes = r.Changes.Changed().WithoutSecrets()
	if n := len(r.Changes); n > maxSteps {
		r.Changes, r.More = r.Changes[:maxSteps], n-maxSteps
	}
	r.Files = r.Files[:min(len(r.Files), maxFiles)]
	r.Diagnostics = slices.Clone(r.Diagnostics[:min(len(r.Diagnostics), maxFiles)])
	r.Author.Command = cut(r.Author.Command)
}

func cut(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}
