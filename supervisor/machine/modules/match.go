package modules

import "strings"

// Normalize gives a module's name as the kernel has it: with underscores.
func Normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }

// normalizePattern does so outside of brackets, where a dash is a range.
func normalizePattern(pattern string) string {
	if !strings.Contains(pattern, "-") {
		return pattern
	}
	b := []byte(pattern)
	inside := false
	for i, c := range b {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			b[i] = '_'
		}
	}
	return string(b)
}

// match is fnmatch(3) without flags, as module aliases are matched: "*" goes over
// slashes too. A bracket that is not closed stands for itself.
func match(pattern, s string) bool {
	star, mark := -1, 0 // where to go on after the last "*", and what it has taken
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; c {
			case '*':
				star, mark = p, i
				p++
				continue
			case '?':
				p, i = p+1, i+1
				continue
			case '[':
				if size, in := bracket(pattern[p:], s[i]); size > 0 {
					if in {
						p, i = p+size, i+1
						continue
					}
					break
				}
				if s[i] == '[' {
					p, i = p+1, i+1
					continue
				}
			case '\\':
				if p+1 < len(pattern) && pattern[p+1] == s[i] {
					p, i = p+2, i+1
					continue
				}
			default:
				if c == s[i] {
					p, i = p+1, i+1
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// bracket gives the length of the bracket that a pattern begins with, 0 if it is
// not closed, and whether c is in it.
func bracket(pattern string, c byte) (size int, in bool) {
	i := 1
	not := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if not {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, in != not
		}
		low := pattern[i]
		high := low
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		in = in || low <= c && c <= high
		i++
	}
	return 0, false
}
