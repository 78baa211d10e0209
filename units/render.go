package units

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// The colours of Format, as ANSI sequences.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	cyan   = "\x1b[1;36m"
	reset  = "\x1b[0m"
)

// Format writes the diagnostics for people: where and what, the line with the
// faulty text underlined, what to try, and the places that belong to it.
// Characters that would steer a terminal are replaced. The error is w's.
func (ds Diagnostics) Format(w io.Writer, color bool) error {
	paint := func(code, s string) string {
		if !color {
			return s
		}
		return code + s + reset
	}
	out := bufio.NewWriter(w)
	for i, d := range ds {
		if i > 0 {
			fmt.Fprintln(out)
		}
		tone := red
		if d.Severity == Warning {
			tone = yellow
		}
		fmt.Fprintf(out, "%s %s %s\n",
			paint(bold, fmt.Sprintf("%s:%d:%d:", printable(d.Path), d.Line, d.Column)),
			paint(tone, fmt.Sprintf("%s[%s]:", d.Severity, d.Code)),
			paint(bold, printable(d.Message)))
		if d.SourceLine != "" {
			before, marked := caret(d)
			fmt.Fprintf(out, "  | %s\n  | %s%s\n", printable(d.SourceLine), before, paint(tone, marked))
		}
		for _, p := range d.Related {
			fmt.Fprintf(out, "  %s:%d:%d: %s\n", printable(p.Path), p.Line, p.Column, printable(p.Note))
		}
		if d.Hint != "" {
			fmt.Fprintf(out, "  %s %s\n", paint(cyan, "help:"), printable(d.Hint))
		}
	}
	return out.Flush()
}

// caret gives what stands before the underline, tabs kept so that it lines up
// whatever their width, and the underline.
func caret(d Diagnostic) (before, marked string) {
	var pad, under strings.Builder
	column := 1
	for _, r := range d.SourceLine {
		cells := cellsOf(r)
		switch {
		case column < d.Column && r == '\t':
			pad.WriteByte('\t')
		case column < d.Column:
			pad.WriteString(strings.Repeat(" ", cells))
		case column < d.EndColumn:
			under.WriteString(strings.Repeat("^", max(cells, 0)))
		}
		column++
	}
	if under.Len() == 0 {
		under.WriteByte('^')
	}
	return pad.String(), under.String()
}

// cellsOf gives the columns of a terminal that a character takes.
func cellsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) || unicode.Is(unicode.Cf, r) && r != '\u00ad' {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// printable replaces what would steer a terminal by U+FFFD.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
