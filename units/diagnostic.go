package units

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a Diagnostic keeps a generation from being used.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the generation is refused
	Warning Severity = "warning" // it is used, but hardly does what was meant
)

// Position is a place in a file. Lines and columns count from 1, columns in
// characters (not bytes).
type Position struct {
	Path   string `json:"path"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Note   string `json:"note,omitempty"` // what is there: "first set here"
}

// Diagnostic is one thing that is wrong with one place of a file.
type Diagnostic struct {
	Code     string   `json:"code"` // "U014", stable; see Explain
	Severity Severity `json:"severity"`
	Path     string   `json:"path"`
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	// EndColumn is behind the last character of the faulty text on Line.
	EndColumn int    `json:"end_column"`
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"` // what to try
	// SourceLine is the line as it stands in the file; "" where the line is
	// too long to be of use.
	SourceLine string     `json:"source_line,omitempty"`
	Related    []Position `json:"related,omitempty"`
}

// String is the first line of what Format writes.
func (d Diagnostic) String() string {
	return fmt.Sprintf("%s:%d:%d: %s[%s]: %s", d.Path, d.Line, d.Column, d.Severity, d.Code, d.Message)
}

// Diagnostics are what one or more files are found to be wrong with. The nil
// value is "nothing". As an error it is to be used only when HasErrors.
type Diagnostics []Diagnostic

// HasErrors tells whether any of them is an error rather than a warning.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Error gives one line for each diagnostic, errors and warnings.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// Err is the diagnostics as an error: nil when there are only warnings.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return ds
}

// Sorted gives the diagnostics by file, line and column, each once: a fault of
// a template is found in every instance of it.
func (ds Diagnostics) Sorted() Diagnostics {
	out := slices.Clone(ds)
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(out, func(a, b Diagnostic) bool {
		return a.Path == b.Path && a.Line == b.Line && a.Column == b.Column && a.Code == b.Code && a.Message == b.Message
	})
}
