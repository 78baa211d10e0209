package units

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Source is the text of one file. Path is only for messages.
type Source struct {
	Path string
	Text []byte
}

// What a unit file may be at most. They are far above anything written by
// hand, and keep a hostile file from taking memory or time.
const (
	maxFileSize    = 1 << 20 // bytes
	maxNesting     = 16      // tables and arrays inside each other
	maxList        = 4096    // elements of an array, keys of a table
	maxText        = 64 << 10
	maxDiagnostics = 100 // of one unit
	maxSyntax      = 20  // syntax errors of one file after which the rest is left
	maxQuotedLine  = 1000
)

// file is a Source with the places where its lines begin.
type file struct {
	path  string
	text  []byte
	lines []int // offset of each line's first byte
}

func newFile(s Source) *file {
	text := bytes.TrimPrefix(s.Text, []byte("\xef\xbb\xbf"))
	f := &file{path: s.Path, text: text, lines: []int{0}}
	if len(text) > maxFileSize {
		f.text = nil
		return f
	}
	for i, c := range text {
		if c == '\n' {
			f.lines = append(f.lines, i+1)
		}
	}
	return f
}

// line gives the text of a line, counted from 1, without its end.
func (f *file) line(n int) []byte {
	start, end := f.lines[n-1], len(f.text)
	if n < len(f.lines) {
		end = f.lines[n] - 1
	}
	return bytes.TrimSuffix(f.text[start:end], []byte("\r"))
}

// place turns an offset into line and column, both from 1; an offset inside
// the end of a line counts as just behind its last character.
func (f *file) place(offset int) (line, column int) {
	line = sort.Search(len(f.lines), func(i int) bool { return f.lines[i] > offset })
	text := f.line(line)
	return line, utf8.RuneCount(text[:runeStart(text, offset-f.lines[line-1])]) + 1
}

// runeStart gives the beginning of the character that has the byte at offset i,
// the length of text for what is behind it.
func runeStart(text []byte, i int) int {
	if i >= len(text) {
		return len(text)
	}
	for back := 1; back < min(utf8.UTFMax, i+1) && !utf8.RuneStart(text[i]); back++ {
		if _, size := utf8.DecodeRune(text[i-back:]); size > back {
			return i - back
		}
	}
	return i
}

// span is a piece of a file.
type span struct {
	file       *file
	start, end int
}

func (s span) position(note string) Position {
	line, column := s.file.place(s.start)
	return Position{Path: s.file.path, Line: line, Column: column, Note: note}
}

// report gathers diagnostics, up to a bound.
type report struct {
	diagnostics Diagnostics
	full        bool
}

func (r *report) add(code string, severity Severity, at span, hint, message string, related ...Position) {
	if len(r.diagnostics) >= maxDiagnostics {
		r.full = true
		return
	}
	line, column := at.file.place(at.start)
	d := Diagnostic{Code: code, Severity: severity, Path: at.file.path, Line: line, Column: column,
		EndColumn: column + 1, Message: message, Hint: hint, Related: related}
	if endLine, end := at.file.place(at.end); endLine > line {
		d.EndColumn = max(d.EndColumn, utf8.RuneCount(at.file.line(line))+1)
	} else {
		d.EndColumn = max(d.EndColumn, end)
	}
	if text := at.file.line(line); len(text) <= maxQuotedLine {
		// Map writes U+FFFD for each invalid byte, so that columns stay right.
		d.SourceLine = strings.Map(func(r rune) rune { return r }, string(text))
	}
	r.diagnostics = append(r.diagnostics, d)
}

// fail adds an error. hint may be "".
func (r *report) fail(code string, at span, hint, format string, args ...any) {
	r.add(code, Error, at, hint, fmt.Sprintf(format, args...))
}

// warn adds a warning. hint may be "".
func (r *report) warn(code string, at span, hint, format string, args ...any) {
	r.add(code, Warning, at, hint, fmt.Sprintf(format, args...))
}
