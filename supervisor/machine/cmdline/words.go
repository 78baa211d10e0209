package cmdline

import "strings"

// word is one parameter. A word without "=" has no value.
type word struct {
	key, value string
	valued     bool
}

// words splits a command line as the kernel does (its
// Documentation/admin-guide/kernel-parameters.rst, and lib/cmdline.c): white space
// separates, double quotes keep it together and cannot be escaped, and a pair of
// them around a value, or around a whole word, is not part of it. The first "="
// ends the key. The "--" after which everything is meant for init is left out:
// what is for berthd counts on both sides of it.
func words(line string) []word {
	var list []word
	for {
		line = strings.TrimLeft(line, spaces)
		if line == "" {
			return list
		}
		text := line[:wordEnd(line)]
		line = line[len(text):]
		if text == "--" {
			continue
		}
		if whole, ok := strings.CutPrefix(text, `"`); ok {
			text = strings.TrimSuffix(whole, `"`)
		}
		w := word{}
		w.key, w.value, w.valued = strings.Cut(text, "=")
		if inner, ok := strings.CutPrefix(w.value, `"`); ok {
			w.value = strings.TrimSuffix(inner, `"`)
		}
		list = append(list, w)
	}
}

// Words gives the words of a command line as "key" or "key=value", without the
// quotes around values.
func Words(line string) []string {
	var list []string
	for _, w := range words(line) {
		text := w.key
		if w.valued {
			text += "=" + w.value
		}
		list = append(list, text)
	}
	return list
}

// spaces are the kernel's isspace in ASCII.
const spaces = " \t\n\v\f\r"

// wordEnd gives the length of the first word.
func wordEnd(line string) int {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(spaces, line[i]) >= 0:
			return i
		}
	}
	return len(line)
}
