package units

import (
	"bytes"
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

var (
	// statementStart is a line that most likely begins a statement of its own.
	statementStart = lazy(`^[ \t]*(?:\[\[?[ \t]*[A-Za-z0-9_."' -]+\]?\]?[ \t]*(?:#.*)?$|(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')[ \t]*(?:\.[ \t]*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')[ \t]*)*=)`)
	brokenHeader   = lazy(`^\[\[?[ \t]*([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)`)
)

// recover reports a syntax error and gives the offset of the next line that
// looks like a statement, or -1.
func (p *parser) recover(base, done int, lib *unstable.Parser, err error) int {
	text := p.file.text
	fault := span{p.file, len(text), len(text)}
	message := err.Error()
	var perr *unstable.ParserError
	if errors.As(err, &perr) {
		message = perr.Message
		if at := len(lib.Data()) - cap(perr.Highlight) + base; cap(perr.Highlight) > 0 && at >= base && at <= len(text) {
			fault = span{p.file, at, min(at+len(perr.Highlight), len(text))}
		}
	}
	start := p.statementAfter(base, done)
	var related []Position
	if bytes.IndexByte(text[min(start, fault.start):fault.start], '\n') >= 0 {
		related = append(related, span{p.file, start, start}.position("the statement begins here"))
	}
	p.rep.add("U001", Error, fault, syntaxHint(text[start:], text[fault.start:]), message, related...)
	p.faults++
	if p.faults >= maxSyntax || strings.Contains(message, "multiline") && fault.end >= len(text) {
		return -1
	}
	if start < len(text) && text[start] == '[' {
		p.current = p.guessHeader(start)
	}
	for i := nextLine(text, start); i < len(text); i = nextLine(text, i) {
		if i > base && statementStart.get().Match(lineAt(text, i)) {
			return i
		}
	}
	return -1
}

// statementAfter gives the offset of the first statement behind offset done.
func (p *parser) statementAfter(base, done int) int {
	text, i := p.file.text, done
	if done > base {
		i = nextLine(text, done)
	}
	for i < len(text) {
		switch text[i] {
		case ' ', '\t', '\r', '\n':
			i++
		case '#':
			i = nextLine(text, i)
		default:
			return i
		}
	}
	return min(i, len(text))
}

// guessHeader opens the table that a broken header most likely meant, so that
// the lines below it are not taken for another table's.
func (p *parser) guessHeader(start int) *node {
	line := lineAt(p.file.text, start)
	m := brokenHeader.get().FindSubmatchIndex(line)
	if m == nil {
		return nil
	}
	var keys []keyPart
	at := start + m[2]
	for name := range strings.SplitSeq(string(line[m[2]:m[3]]), ".") {
		keys = append(keys, keyPart{name, span{p.file, at, at + len(name)}})
		at += len(name) + 1
	}
	if bytes.HasPrefix(line, []byte("[[")) {
		return p.openElement(keys)
	}
	return p.openTable(keys)
}

func nextLine(text []byte, i int) int {
	if n := bytes.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(text)
}

func lineAt(text []byte, i int) []byte {
	return bytes.TrimRight(text[i:nextLine(text, i)], "\r\n")
}

// syntaxHint knows the slips that people make. statement is the text from the
// faulty statement on, fault from the fault on.
func syntaxHint(statement, fault []byte) string {
	line := lineAt(statement, 0)
	_, value, _ := bytes.Cut(line, []byte("="))
	value = bytes.TrimSpace(value)
	switch {
	case bytes.HasPrefix(value, []byte("True")), bytes.HasPrefix(value, []byte("False")), bytes.HasPrefix(value, []byte("yes")), bytes.HasPrefix(value, []byte("no")), bytes.HasPrefix(value, []byte("on")), bytes.HasPrefix(value, []byte("off")):
		return "write true or false"
	case bytes.HasPrefix(fault, []byte(";")):
		return "each key has a line of its own, comments begin with #"
	case len(line) > 0 && line[0] != '[' && !bytes.ContainsAny(line, "="):
		return "a line is a key, an equals sign and a value: key = \"value\""
	case len(value) > 0 && (value[0] >= 'a' && value[0] <= 'z' || value[0] >= 'A' && value[0] <= 'Z' || value[0] == '/'):
		return "put text in double quotes: \"" + strings.ReplaceAll(string(bytes.ToValidUTF8(cutComment(value), nil)), "\"", "\\\"") + "\""
	case len(value) > 1 && value[0] >= '0' && value[0] <= '9':
		return "put values with a unit in double quotes: \"" + string(bytes.ToValidUTF8(cutComment(value), nil)) + "\""
	}
	return ""
}

// cutComment gives a value as it was most likely meant, short enough to show.
func cutComment(value []byte) []byte {
	value, _, _ = bytes.Cut(value, []byte("#"))
	return bytes.TrimSpace(value[:min(len(value), 60)])
}
