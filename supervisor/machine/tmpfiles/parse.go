package tmpfiles

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"berth/supervisor/machine/conf"
)

// Item is one line of a file.
type Item struct {
	Type byte // a letter of tmpfiles.d(5)
	// Plus: the type had a "+"; Boot: it is done at boot only; Try: that it fails
	// is no fault; Replace: what is there of another kind is removed first.
	Plus, Boot, Try, Replace bool
	// IfThere: L? makes no link that leads nowhere.
	IfThere bool

	Path        string
	Mode        Mode
	User, Group Owner
	Arg         string // with what stands behind its % put in
	File        string
	Line        int
}

// Mode is the third field.
type Mode struct {
	Set    bool
	Bits   uint32
	Masked bool // "~": no more than the file's own mode has
	New    bool // ":": only when it is made
}

// Owner is a user or a group. "" leaves it as it is; a new file has root's.
type Owner struct {
	Name string
	New  bool // ":": only when it is made
}

// kinds are the types by what is done with them.
const (
	creating = "fFdDvqQpLcbC" // at one path, the first line for it counts
	globbing = "weEzZmrR"     // on what is there
	cleaning = "xX"           // only of cleaning by age, which is not done at boot
	unknown  = "aAhHtT"       // known to tmpfiles.d(5), and not done here
)

// Pattern tells whether the path names whatever matches it.
func (i *Item) Pattern() bool {
	return strings.IndexByte(globbing, i.Type) >= 0
}

// Parse reads a file. specifier gives what stands for a letter after "%". A line
// that makes no sense is a problem and is passed over, as is one of what is not
// covered.
func Parse(file, text string, specifier func(letter byte) (string, error)) ([]Item, conf.Problems) {
	var items []Item
	var problems conf.Problems
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		item, p := parseLine(line, specifier)
		if p != nil {
			p.File, p.Line = file, n
			problems = append(problems, *p)
			continue
		}
		item.File, item.Line = file, n
		items = append(items, item)
	}
	return items, problems
}

// example is what a line looks like.
const example = "write it as d /run/web 0755 web web - -"

func parseLine(line string, specifier func(byte) (string, error)) (Item, *conf.Problem) {
	wrong := func(format string, args ...any) (Item, *conf.Problem) {
		return Item{}, &conf.Problem{What: fmt.Sprintf(format, args...), Try: example}
	}
	fields, rest, err := split(line, 6)
	if err != nil {
		return wrong("%v", err)
	}
	if len(fields) < 2 {
		return wrong("the line has no path")
	}
	i := Item{}
	if what := i.setType(fields[0]); what != "" {
		return wrong("%s", what)
	}
	if strings.IndexByte(unknown, i.Type) >= 0 {
		return Item{}, &conf.Problem{Minor: true, What: fmt.Sprintf("the type %c (access control lists, attributes) is not covered and left out", i.Type),
			Try: "do it in a unit, by setfacl, chattr or setfattr"}
	}
	field := func(n int) string {
		if n >= len(fields) || fields[n] == "-" {
			return ""
		}
		return fields[n]
	}
	if i.Path, err = expand(fields[1], specifier); err != nil {
		return wrong("%v", err)
	}
	if i.Path[:min(1, len(i.Path))] != "/" || strings.ContainsAny(i.Path, "\x00") || hasDots(i.Path) {
		return wrong("the path %q is not absolute and plain", i.Path)
	}
	if i.Path = path.Clean(i.Path); i.Path == "/" && i.Type != 'z' && i.Type != 'm' && i.Type != 'e' {
		return wrong("the root directory cannot be made or removed")
	}
	if what := i.Mode.set(field(2)); what != "" {
		return wrong("%s", what)
	}
	i.User, i.Group = owner(field(3)), owner(field(4))
	if len(fields) > 5 && rest != "-" { // the age, of no use here, stands between
		i.Arg = rest
	}
	if what := i.argument(specifier); what != "" {
		return wrong("%s", what)
	}
	return i, nil
}

// hasDots tells whether a path goes up.
func hasDots(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

func (i *Item) setType(s string) string {
	if s == "" {
		return "the line has no type"
	}
	i.Type = s[0]
	if strings.IndexByte(creating+globbing+cleaning+unknown, i.Type) < 0 {
		return fmt.Sprintf("there is no type %q", s)
	}
	for _, c := range []byte(s[1:]) {
		switch {
		case c == '+' && strings.IndexByte("fwpLcbCaA", i.Type) >= 0:
			i.Plus = true
		case c == '!':
			i.Boot = true
		case c == '-':
			i.Try = true
		case c == '=':
			i.Replace = true
		case c == '?' && i.Type == 'L':
			i.IfThere = true
		case c == '$': // of removing what a package made, which is not done at boot
		default:
			return fmt.Sprintf("the type %q has %q in it, which it cannot have", s, c)
		}
	}
	switch i.Type {
	case 'F': // what f+ was called before
		i.Type, i.Plus = 'f', true
	case 'm':
		i.Type = 'z'
	case 'v', 'q', 'Q': // a subvolume where there are none
		i.Type = 'd'
	case 'E':
		return fmt.Sprintf("there is no type %q", s)
	}
	return ""
}

func (m *Mode) set(s string) string {
	if s == "" {
		return ""
	}
	digits := strings.TrimLeft(s, "~:")
	for _, c := range s[:len(s)-len(digits)] {
		m.Masked, m.New = m.Masked || c == '~', m.New || c == ':'
	}
	bits, err := strconv.ParseUint(digits, 8, 32)
	if err != nil || bits > 0o7777 {
		return fmt.Sprintf("%q is no mode such as 0755", s)
	}
	m.Set, m.Bits = true, uint32(bits)
	return ""
}

func owner(s string) Owner {
	name, isNew := strings.CutPrefix(s, ":")
	return Owner{Name: name, New: isNew}
}

// argument checks the last field and puts in what stands for its "%".
func (i *Item) argument(specifier func(byte) (string, error)) (what string) {
	var err error
	switch i.Type {
	case 'f', 'w', 'L', 'C':
		if i.Arg, err = expand(i.Arg, specifier); err != nil {
			return err.Error()
		}
	}
	switch i.Type {
	case 'f', 'w':
		if i.Arg, err = unescape(i.Arg); err != nil {
			return err.Error()
		}
		if i.Type == 'w' && i.Arg == "" {
			return "the type w needs a text to write"
		}
	case 'L', 'C':
		if i.Arg == "" {
			i.Arg = "/usr/share/factory" + i.Path
		}
		if i.Type == 'C' && (i.Arg[0] != '/' || hasDots(i.Arg)) {
			return "the type C needs an absolute path to copy from"
		}
	case 'c', 'b':
		if _, _, ok := device(i.Arg); !ok {
			return fmt.Sprintf("%q is no device such as 1:3", i.Arg)
		}
	}
	return ""
}

// device reads MAJOR:MINOR (12 and 20 bits, include/linux/kdev_t.h).
func device(s string) (major, minor uint32, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	x, err := strconv.ParseUint(a, 10, 12)
	y, err2 := strconv.ParseUint(b, 10, 20)
	return uint32(x), uint32(y), ok && err == nil && err2 == nil
}
