package tmpfiles

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// split takes up to n fields off a line, separated by white space; quotes keep it
// together, and a backslash takes a field's next character as it is, or as C
// writes it. rest is what follows, without white space around it.
func split(line string, n int) (fields []string, rest string, err error) {
	rest = strings.TrimSpace(line)
	for len(fields) < n && rest != "" {
		var field string
		if field, rest, err = word(rest); err != nil {
			return nil, "", err
		}
		fields = append(fields, field)
		rest = strings.TrimSpace(rest)
	}
	return fields, rest, nil
}

func word(s string) (field, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), s[i:], nil
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote && quote != 0:
			quote = 0
		case c == '\\':
			text, size, err := escape(s[i:])
			if err != nil {
				return "", "", err
			}
			b.WriteString(text)
			i += size - 1
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", errors.New("a quote is not closed")
	}
	return b.String(), "", nil
}

// simple are the escapes of one letter.
var simple = map[byte]string{'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", 's': " ", '\\': "\\", '"': "\"", '\'': "'", ' ': " "}

// escape reads what begins with a backslash, and gives how long it is.
func escape(s string) (text string, size int, err error) {
	if len(s) < 2 {
		return "", 0, errors.New("a backslash stands at the end")
	}
	if t, ok := simple[s[1]]; ok {
		return t, 2, nil
	}
	digits, base, from := 3, 8, 1
	if s[1] == 'x' {
		digits, base, from = 2, 16, 2
	}
	if len(s) >= from+digits {
		if v, err := strconv.ParseUint(s[from:from+digits], base, 8); err == nil {
			return string([]byte{byte(v)}), from + digits, nil
		}
	}
	return "", 0, fmt.Errorf("%q is no escape; write a backslash as \\\\", s[:2])
}

// unescape undoes the escapes in an argument.
func unescape(s string) (string, error) {
	var b strings.Builder
	for {
		before, _, found := strings.Cut(s, "\\")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		text, size, err := escape(s[len(before):])
		if err != nil {
			return "", err
		}
		b.WriteString(text)
		s = s[len(before)+size:]
	}
}

// expand puts in what stands for "%" and a letter.
func expand(s string, specifier func(byte) (string, error)) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i == len(s):
			return "", errors.New("a % stands at the end; write it as %%")
		case s[i] == '%':
			b.WriteByte('%')
		default:
			text, err := specifier(s[i])
			if err != nil {
				return "", err
			}
			b.WriteString(text)
		}
	}
	return b.String(), nil
}
