package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is what a flag takes.
type kind int

const (
	boolean kind = iota
	text
	list // text that may be given several times
	number
	duration
)

// flagDef is one flag, as it is parsed and as help shows it.
type flagDef struct {
	name  string
	short string // one letter, or ""
	kind  kind
	value string // the default, shown by help
	help  string
}

// values are what was given, by the flag's long name; a list may have several.
type values map[string][]string

func (v values) given(name string) bool    { return len(v[name]) > 0 }
func (v values) list(name string) []string { return v[name] }

// text is the last one given: it wins over those before.
func (v values) text(name string) string {
	if all := v[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// The values were checked by parse.

func (v values) bool(name string) bool {
	on, _ := strconv.ParseBool(v.text(name))
	return on
}

func (v values) int(name string) int64 {
	n, _ := strconv.ParseInt(v.text(name), 0, 64)
	return n
}

func (v values) duration(name string) time.Duration {
	d, _ := time.ParseDuration(v.text(name))
	return d
}

// maxArgs bounds the command line: more than any caller gives, and less than
// what would be a burden.
const maxArgs = 1 << 16

// errHelp is what parse gives for --help.
var errHelp = errors.New("help is wanted")

// parse takes a command line apart in the way of runc: one or two dashes before
// a name, the value after = or as the next argument, a switch alone or with
// =true or =false, and -- as the end of the flags. With mixed, flags may also
// stand after arguments.
func parse(defs []flagDef, args []string, mixed bool) (v values, rest []string, err error) {
	v = values{}
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			return v, append(rest, args[1:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			if !mixed {
				return v, append(rest, args...), nil
			}
			rest, args = append(rest, arg), args[1:]
			continue
		}
		args = args[1:]
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "help" || name == "h" {
			return nil, nil, errHelp
		}
		i := slices.IndexFunc(defs, func(d flagDef) bool { return name != "" && (d.name == name || d.short == name) })
		if i < 0 {
			return nil, nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		d := &defs[i]
		switch {
		case hasValue:
		case d.kind == boolean:
			value = "true"
		case len(args) == 0:
			return nil, nil, fmt.Errorf("flag needs an argument: -%s", name)
		default:
			value, args = args[0], args[1:]
		}
		if err := d.check(value); err != nil {
			return nil, nil, fmt.Errorf("invalid value %q for flag -%s: %w", value, name, err)
		}
		v[d.name] = append(v[d.name], value)
	}
	return v, rest, nil
}

// check tells whether a value is of the flag's kind.
func (d *flagDef) check(value string) (err error) {
	switch d.kind {
	case boolean:
		_, err = strconv.ParseBool(value)
	case number:
		_, err = strconv.ParseInt(value, 0, 64)
	case duration:
		_, err = time.ParseDuration(value)
	}
	if numeric, ok := errors.AsType[*strconv.NumError](err); ok {
		err = numeric.Err
	}
	return err
}

// String is how help names the flag.
func (d *flagDef) String() string {
	s := "--" + d.name
	if d.kind != boolean {
		s += " value"
	}
	if d.short != "" {
		s += ", -" + d.short
		if d.kind != boolean {
			s += " value"
		}
	}
	return s
}
