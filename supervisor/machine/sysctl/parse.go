// Package sysctl sets the kernel parameters of a machine at boot, from the files
// of sysctl.d(5) and, after them, /etc/sysctl.conf as sysctl(8) reads it.
package sysctl

import (
	"path"
	"strings"

	"berth/isolate"
	"berth/supervisor/machine/conf"
)

// Setting is one line of a file.
type Setting struct {
	Path  string // below /proc/sys, with slashes; may be a pattern
	Value string
	// IgnoreFailure: the line began with "-".
	IgnoreFailure bool
	// Exclude: no value, patterns leave this path alone.
	Exclude bool
	File    string
	Line    int
}

// Pattern tells whether the path names several parameters.
func (s *Setting) Pattern() bool { return strings.ContainsAny(s.Path, "*?[") }

// Parse reads a file. A line that makes no sense is a problem and is passed over.
func Parse(file, text string) ([]Setting, conf.Problems) {
	var settings []Setting
	var problems conf.Problems
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		s, what := parseLine(line)
		if what != "" {
			problems = append(problems, conf.Problem{File: file, Line: n, What: what, Try: "write it as net.ipv4.ip_forward = 1"})
			continue
		}
		s.File, s.Line = file, n
		settings = append(settings, s)
	}
	return settings, problems
}

// parseLine gives what is wrong with a line, "" if nothing is.
func parseLine(line string) (s Setting, what string) {
	key, value, assigned := strings.Cut(line, "=")
	key = strings.TrimSpace(key)
	if rest, ok := strings.CutPrefix(key, "-"); ok {
		s.IgnoreFailure, key = true, strings.TrimSpace(rest)
	}
	s.Value, s.Exclude = strings.TrimSpace(value), !assigned
	if !assigned && !s.IgnoreFailure {
		return s, "the line has no \"=\""
	}
	p := strings.TrimPrefix(key, "/proc/sys/")
	s.Path = isolate.SysctlPath(p)
	if s.Path == "" || path.Clean("/"+s.Path) != "/"+s.Path || strings.ContainsAny(line, "\x00") {
		return s, "\"" + key + "\" is not the name of a kernel parameter"
	}
	if _, err := path.Match(s.Path, ""); err != nil {
		return s, "\"" + key + "\" is not a pattern: a bracket is not closed"
	}
	return s, ""
}

// Plan gives what to write, in order. Of several settings of one path the last
// counts. A pattern is written to what list finds for it (paths below /proc/sys),
// less what is set or excluded by its own name in any file.
func Plan(settings []Setting, list func(pattern string) []string) []Setting {
	explicit := map[string]int{} // the last setting of each path
	var excluded []string
	for i, s := range settings {
		if s.Exclude {
			excluded = append(excluded, s.Path)
		} else {
			explicit[s.Path] = i
		}
	}
	skip := func(p string) bool {
		if _, set := explicit[p]; set {
			return true
		}
		for _, e := range excluded {
			if ok, err := path.Match(e, p); e == p || err == nil && ok {
				return true
			}
		}
		return false
	}
	var plan []Setting
	for i, s := range settings {
		if s.Exclude || explicit[s.Path] != i {
			continue
		}
		if !s.Pattern() {
			plan = append(plan, s)
			continue
		}
		for _, p := range list(s.Path) {
			if skip(p) {
				continue
			}
			one := s
			one.Path = p
			plan = append(plan, one)
		}
	}
	return plan
}
