package fstab

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"berth/isolate/octal"
	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/mount"
)

// Entry is a line of fstab(5).
type Entry struct {
	Source  string
	Target  string // "none" for swap
	Type    string // "auto" for whatever it is
	Options []string
	Pass    int // when it is checked: 0 never, 1 first
	File    string
	Line    int
}

// Swap tells whether it is space to swap to.
func (e *Entry) Swap() bool { return e.Type == "swap" }

// Parse reads the file. A line that makes no sense is a problem and is passed over.
func Parse(file, text string) ([]Entry, conf.Problems) {
	var entries []Entry
	var problems conf.Problems
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		e, what := parseFields(fields)
		if what != "" {
			problems = append(problems, conf.Problem{File: file, Line: n, What: what, Try: "write it as LABEL=data /data ext4 defaults 0 2"})
			continue
		}
		e.File, e.Line = file, n
		entries = append(entries, e)
	}
	return entries, problems
}

func parseFields(fields []string) (e Entry, what string) {
	for i, f := range fields { // a comment may stand behind the fields
		if i >= 4 && f[0] == '#' {
			fields = fields[:i]
			break
		}
	}
	if len(fields) < 2 {
		return e, "the line has fewer than two fields"
	}
	if len(fields) > 6 {
		return e, fmt.Sprintf("%q is one field too much; a blank in a name is written as \\040", fields[6])
	}
	e.Source, e.Target, e.Type = octal.Unescape(fields[0]), octal.Unescape(fields[1]), "auto"
	if len(fields) > 2 {
		e.Type = fields[2]
	}
	if len(fields) > 3 {
		e.Options = mount.Split(octal.Unescape(fields[3]))
	}
	for i, name := range []string{"fifth", "sixth"} {
		if len(fields) <= 4+i {
			break
		}
		v, err := strconv.Atoi(fields[4+i])
		if err != nil || v < 0 || v > 255 {
			return e, fmt.Sprintf("the %s field, %q, is not a number", name, fields[4+i])
		}
		e.Pass = v
		if i == 0 { // of dump(8)
			e.Pass = 0
		}
	}
	if strings.ContainsRune(e.Source+e.Target+strings.Join(e.Options, ""), 0) {
		return e, "there is a zero byte in it"
	}
	switch {
	case e.Swap():
		e.Target = "none"
	case e.Target == "" || e.Target[0] != '/':
		return e, fmt.Sprintf("the mount point %q is not an absolute path", e.Target)
	default:
		e.Target = path.Clean(e.Target)
	}
	return e, ""
}
