package units

import (
	"slices"
	"strings"
	"unicode"
)

// suggest gives "did you mean …?" for the word nearest to s, or else what
// otherwise says.
func suggest(s string, words []string, otherwise string) string {
	if best := Nearest(s, words); best != "" {
		return "did you mean " + quote(best) + "?"
	}
	return otherwise
}

// Nearest gives the word with the smallest edit distance to s, for "did you
// mean …?"; "" if none is near: at most a third of the letters may differ.
func Nearest(s string, words []string) string {
	if len(s) > 64 {
		return ""
	}
	best, least := "", max(1, len(s)/3)+1
	for _, w := range words {
		if len(w) > 64 {
			continue
		}
		if d := distance(strings.ToLower(s), strings.ToLower(w)); d < len(s) && (d < least || d == least && best != "" && w < best) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to add, drop, change, or swap with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

// suggestKey gives a hint for an unknown key of the table prefix: the key of
// another system's word, a key spelt alike, or the table that has the key.
func suggestKey(key, prefix string) string {
	word := plainWord(key)
	var names []string
	var elsewhere []Field
	for _, f := range table() {
		here := strings.TrimSuffix(f.Key, f.Name()) == prefix
		name := strings.TrimSuffix(f.Name(), "[]")
		if here && name != "*" {
			names = append(names, name)
		}
		known := plainWord(name) == word || slices.ContainsFunc(f.Aliases, func(a string) bool { return plainWord(a) == word })
		switch {
		case known && here:
			return "did you mean " + quote(name) + "?"
		case known && !strings.Contains(f.Key, "*"):
			elsewhere = append(elsewhere, f)
		}
	}
	if len(elsewhere) > 0 {
		f := elsewhere[0]
		if !strings.Contains(f.Key, ".") {
			return "did you mean the table " + header(f) + "?"
		}
		return "did you mean " + f.Name() + " in " + header(f) + "?"
	}
	if best := Nearest(key, names); best != "" {
		return "did you mean " + quote(best) + "?"
	}
	if prefix == "" {
		return "names that berth is to ignore begin with x-"
	}
	return ""
}

// header is the line that opens the table which f is or belongs to.
func header(f Field) string {
	name := f.Key
	if f.Type != TypeTable && f.Type != TypeTables && f.Type != TypeNamed {
		name = strings.TrimSuffix(f.Key, "."+f.Name())
	}
	if f.Type == TypeTables || strings.HasSuffix(name, "[]") {
		return "[[" + strings.TrimSuffix(name, "[]") + "]]"
	}
	return "[" + name + "]"
}

// plainWord drops what tells ExecStart, exec_start and exec-start apart.
func plainWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}
