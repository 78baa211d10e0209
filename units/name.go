package units

import (
	"strings"
)

// The most bytes before the @ and behind it.
const (
	maxPrefix   = 64
	maxInstance = 63
)

// validPrefix tells whether s can stand before the @: lower-case letters, digits
// and _ . -, the first of them a letter or digit. (By hand, as are all forms that
// every unit's file is held to: compiling a regular expression takes longer than
// reading the file.)
func validPrefix(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && !isDigit(c) && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxPrefix
}

// validInstance tells whether s can stand behind the @: letters, digits and _ . -.
func validInstance(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxInstance
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// ReservedName is the one name of the right form that no unit can have: the
// group of that name holds the daemon itself where berth has a sub-tree of its own.
const ReservedName = "berthd"

// ValidName tells whether name can be the name of a unit: "web", "worker@eu".
// A template's own name, "worker@", is not one: it has no unit of its own.
// Neither is ReservedName.
func ValidName(name string) bool {
	prefix, instance, templated := strings.Cut(name, "@")
	return validPrefix(prefix) && (!templated || validInstance(instance)) && name != ReservedName
}

// ValidTemplate tells whether name is the name of a template: "worker@".
func ValidTemplate(name string) bool {
	prefix, ok := strings.CutSuffix(name, "@")
	return ok && validPrefix(prefix)
}

// SplitName gives the part before the @ and the instance after it; the
// instance is "" where there is none.
func SplitName(name string) (prefix, instance string) {
	prefix, instance, _ = strings.Cut(name, "@")
	return prefix, instance
}

// placeholder stands for the instance while a template itself is checked.
const placeholder = "instance"

// expansion holds what the specifiers %i, %n and %p stand for.
type expansion struct {
	name, prefix, instance string
}

func newExpansion(name string) expansion {
	prefix, instance := SplitName(name)
	if ValidTemplate(name) {
		instance = placeholder
		name = prefix + "@" + placeholder
	}
	return expansion{name: name, prefix: prefix, instance: instance}
}

// expand replaces the specifiers in s. A percent sign that ends the string
// stands for itself, so that "150%" needs no doubling. bad is the first
// specifier that cannot be expanded, "" if all could.
func (e expansion) expand(s string) (out, bad string) {
	if !strings.Contains(s, "%") {
		return s, ""
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case '%':
			b.WriteByte('%')
		case 'n':
			b.WriteString(e.name)
		case 'p':
			b.WriteString(e.prefix)
		case 'i':
			if e.instance == "" {
				return s, "%i"
			}
			b.WriteString(e.instance)
		default:
			for _, r := range s[i:] {
				return s, "%" + string(r)
			}
		}
	}
	return b.String(), ""
}

// escapePercent is the inverse of expand for a string without specifiers. It
// doubles every percent sign, also a last one: that is read back the same way.
func escapePercent(s string) string { return strings.ReplaceAll(s, "%", "%%") }
