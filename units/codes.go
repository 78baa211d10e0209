package units

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Explanation is what there is to say about a diagnostic's code.
type Explanation struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Text  string `json:"text"`
	// Wrong and Right are examples: the text of web.toml, or of several files,
	// each behind a line "-- NAME.toml --".
	Wrong string `json:"wrong"`
	Right string `json:"right"`
}

// Explain gives the explanation of a code such as "U014", and false for a code
// that does not exist.
func Explain(code string) (Explanation, bool) {
	i := slices.IndexFunc(explanations(), func(e Explanation) bool { return e.Code == code })
	if i < 0 {
		return Explanation{}, false
	}
	return explanations()[i], true
}

// Codes gives all codes in order. A code keeps its meaning for ever; one that
// is no longer needed is not used again.
func Codes() []string {
	var codes []string
	for _, e := range explanations() {
		codes = append(codes, e.Code)
	}
	return codes
}

func explanations() []Explanation {
	all := slices.Concat(syntaxCodes(), valueCodes(), unitCodes(), setCodes())
	slices.SortFunc(all, func(a, b Explanation) int { return strings.Compare(a.Code, b.Code) })
	return all
}

// String writes the explanation as `berth explain` prints it.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n%s\n\nWrong:\n\n%s\nRight:\n\n%s", e.Code, e.Title, wrap(e.Text, 78), indent(e.Wrong), indent(e.Right))
	return b.String()
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(s) + "\n") {
		if line != "\n" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// wrap breaks a paragraph into lines of at most n characters.
func wrap(s string, n int) string {
	var b strings.Builder
	used := 0
	for i, word := range strings.Fields(s) {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+size > n:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += size
	}
	return b.String()
}

// on makes an example of a unit from further lines for its tables.
func on(lines string) string {
	return "[service]\ncommand = [\"/usr/bin/app\"]\n\n[rootfs]\nhost = true\n\n" + lines
}
