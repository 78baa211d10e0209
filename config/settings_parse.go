package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"berth/units"
)

// settingsParser reads one berthd.toml: a single table of texts and lists of
// texts. It reports every fault and takes in the rest.
type settingsParser struct {
	path        string
	text        []byte
	settings    Settings
	known       []Setting
	diagnostics units.Diagnostics
	seen        map[string]bool
	table       string // the table that the following keys belong to
	headers     int    // [daemon] tables so far
}

func (p *settingsParser) parse() {
	p.seen = map[string]bool{}
	var lib unstable.Parser
	lib.Reset(slices.Clip(p.text))
	for lib.NextExpression() {
		p.statement(&lib, lib.Expression())
	}
	if err := lib.Error(); err != nil {
		at, length := len(p.text), 1
		var syntax *unstable.ParserError
		message := err.Error()
		if errors.As(err, &syntax) {
			message = syntax.Message
			if len(syntax.Highlight) > 0 {
				r := lib.Range(syntax.Highlight)
				at, length = int(r.Offset), int(r.Length)
			}
		}
		p.fail(codeSyntax, at, length, "this is not TOML: "+strings.TrimPrefix(message, "toml: "), "")
	}
}

func (p *settingsParser) statement(lib *unstable.Parser, expr *unstable.Node) {
	var parts []string
	start, end := -1, 0
	for it := expr.Key(); it.Next(); {
		n := it.Node()
		parts = append(parts, string(n.Data))
		if start < 0 {
			start = int(n.Raw.Offset)
		}
		end = int(n.Raw.Offset + n.Raw.Length)
	}
	switch expr.Kind {
	case unstable.Table, unstable.ArrayTable:
		p.table = strings.Join(parts, ".")
		if ignored(parts[0]) {
			return
		}
		if p.table != "daemon" {
			p.fail(codeUnknown, start, end-start, fmt.Sprintf("there is no table %q here", p.table), "the settings are in [daemon]; unit files go to the unit directories")
		} else if expr.Kind == unstable.ArrayTable {
			p.fail(codeSetting, start, end-start, "daemon is one table and no list of tables", "write [daemon]")
		} else if p.headers++; p.headers > 1 {
			p.fail(codeSyntax, start, end-start, "the table [daemon] is there twice", "merge the two")
		}
	case unstable.KeyValue:
		if p.table != "" {
			parts = append([]string{p.table}, parts...)
		}
		if !ignored(parts[0]) {
			p.key(lib, parts, start, end, expr.Value())
		}
	}
}

// ignored are the tables left to users, as in unit files.
func ignored(table string) bool { return strings.HasPrefix(table, "x-") }

func (p *settingsParser) key(lib *unstable.Parser, parts []string, start, end int, value *unstable.Node) {
	if parts[0] != "daemon" {
		if p.table == "" {
			p.fail(codeUnknown, start, end-start, fmt.Sprintf("%q stands in no table", strings.Join(parts, ".")), "write [daemon] above it")
		}
		return // an unknown table has been reported by its header
	}
	name := strings.Join(parts[1:], ".")
	i := slices.IndexFunc(p.known, func(s Setting) bool { return s.Key == name })
	if i < 0 {
		hint := "the keys are " + strings.Join(p.keys(), ", ")
		if guess := closest(name, p.keys()); guess != "" {
			hint = fmt.Sprintf("did you mean %q?", guess)
		}
		p.fail(codeUnknown, start, end-start, fmt.Sprintf("there is no key %q in [daemon]", name), hint)
		return
	}
	if p.seen[name] {
		p.fail(codeSyntax, start, end-start, fmt.Sprintf("the key %q is there twice", name), "remove one of the two")
		return
	}
	p.seen[name] = true
	p.value(p.known[i], start, end, value)
}

func (p *settingsParser) value(s Setting, start, end int, value *unstable.Node) {
	if s.text != nil {
		if value.Kind != unstable.String {
			p.fail(codeSetting, start, end-start, fmt.Sprintf("%s wants a text in quotes", s.Key), "")
		} else if p.accept(s, value) {
			*s.text(&p.settings) = string(value.Data)
		}
		return
	}
	if s.number != nil {
		n, err := strconv.Atoi(string(value.Data))
		if value.Kind != unstable.Integer || err != nil || n < 1 || n > MaxHistory {
			p.fail(codeSetting, start, end-start, fmt.Sprintf("%s wants a number from 1 to %d", s.Key, MaxHistory), "such as "+s.Default)
		} else {
			*s.number(&p.settings) = n
		}
		return
	}
	if s.span != nil {
		p.duration(s, start, end, value)
		return
	}
	if value.Kind != unstable.Array {
		p.fail(codeSetting, start, end-start, fmt.Sprintf("%s wants a list of texts", s.Key), "such as "+s.Default)
		return
	}
	list, good := []string{}, true
	for it := value.Children(); it.Next(); {
		n := it.Node()
		if n.Kind != unstable.String {
			p.fail(codeSetting, start, end-start, fmt.Sprintf("%s wants a list of texts only", s.Key), "such as "+s.Default)
			return
		}
		good = p.accept(s, n) && good
		list = append(list, string(n.Data))
	}
	if len(list) == 0 {
		p.fail(codeSetting, start, end-start, fmt.Sprintf("%s is empty: there would be no units", s.Key), "leave the key out for the default")
	} else if good {
		*s.list(&p.settings) = list
	}
}

// least, without and example tell what a span of time can be.
func (s Setting) least() time.Duration { return max(s.off, time.Second) }

func (s Setting) without() string {
	if s.off > 0 {
		return `"" for none`
	}
	return `"infinity"`
}

func (s Setting) example() string {
	if s.Default == `""` {
		return `"30s"`
	}
	return s.Default
}

// duration takes in a span of time.
func (p *settingsParser) duration(s Setting, start, end int, value *unstable.Node) {
	if text := string(value.Data); value.Kind == unstable.String && (s.off == 0 && text == "infinity" || s.off > 0 && (text == "" || text == "0")) {
		*s.span(&p.settings) = units.Infinity
		if s.off > 0 {
			*s.span(&p.settings) = 0
		}
		return
	}
	d, err := time.ParseDuration(string(value.Data))
	if value.Kind != unstable.String || err != nil || d < s.least() || d > 24*time.Hour {
		p.fail(codeSetting, start, end-start, s.Key+" wants a span from "+strconv.Quote(s.least().String())+` to "24h", or `+s.without(), "such as "+s.example())
		return
	}
	*s.span(&p.settings) = units.Duration(d)
}

// accept checks one text against its setting.
func (p *settingsParser) accept(s Setting, n *unstable.Node) bool {
	text := string(n.Data)
	at, length := int(n.Raw.Offset), int(n.Raw.Length)
	if len(s.Values) > 0 && !slices.Contains(s.Values, text) {
		hint := "the values are " + strings.Join(s.Values, ", ")
		if guess := closest(text, s.Values); guess != "" {
			hint = fmt.Sprintf("did you mean %q?", guess)
		}
		p.fail(codeSetting, at, length, fmt.Sprintf("%s cannot be %q", s.Key, text), hint)
		return false
	}
	if s.Key == "log-target" && text == "kmsg" {
		p.fail(codeUnsupported, at, length, `log-target = "kmsg" is not supported yet`, `"console" writes to standard error`)
		return false
	}
	if s.check == nil {
		return true
	}
	if problem := s.check(text); problem != "" {
		p.fail(codeSetting, at, length, fmt.Sprintf("%s: %q %s", s.Key, text, problem), "")
		return false
	}
	return true
}

func (p *settingsParser) keys() []string {
	var keys []string
	for _, s := range p.known {
		keys = append(keys, s.Key)
	}
	return keys
}

// fail adds an error about length bytes at an offset of the text.
func (p *settingsParser) fail(code string, offset, length int, message, hint string) {
	offset = min(max(offset, 0), len(p.text))
	before := p.text[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	line, _, _ := bytes.Cut(p.text[start:], []byte("\n"))
	column := utf8.RuneCount(p.text[start:offset]) + 1
	stop := min(offset+max(length, 1), start+len(line))
	p.diagnostics = append(p.diagnostics, units.Diagnostic{
		Code: code, Severity: units.Error, Path: p.path, Line: bytes.Count(before, []byte("\n")) + 1, Column: column,
		EndColumn: column + max(1, utf8.RuneCount(p.text[offset:max(stop, offset)])), Message: message, Hint: hint,
		SourceLine: strings.TrimSuffix(string(line), "\r"),
	})
}
