package modules

import (
	"strings"
)

// ParseNames reads a file of modules-load.d(5) or /etc/modules(5): a module on
// each line. Words after it are parameters, as /etc/modules has always had them.
func ParseNames(file, text string) []Request {
	var requests []Request
	n := 0
	for line := range strings.Lines(text) {
		n++
		w := strings.Fields(line)
		if len(w) == 0 || w[0][0] == '#' || w[0][0] == ';' {
			continue
		}
		r := Request{Name: w[0], File: file, Line: n}
		for _, param := range w[1:] {
			if param[0] == '#' {
				break
			}
			r.Params = append(r.Params, param)
		}
		requests = append(requests, r)
	}
	return requests
}
