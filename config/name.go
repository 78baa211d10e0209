package config

import (
	"strings"

	"berth/units"
)

const (
	unitSuffix   = ".toml"
	dropInSuffix = ".toml.d"
)

// relevant tells whether an entry of a unit directory is meant for us: it ends
// as a unit file or a drop-in directory does (in whatever case, so that
// WEB.TOML is a fault and not a silence), and is neither hidden nor what an
// editor leaves beside a file (.#web.toml, #web.toml#, web.toml~, 4913).
func relevant(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	lower := strings.ToLower(name)
	return strings.HasSuffix(lower, unitSuffix) || strings.HasSuffix(lower, dropInSuffix)
}

// split takes the suffix off a relevant entry's name.
func split(entry string) (name string, dropIns bool) {
	if len(entry) >= len(dropInSuffix) && strings.EqualFold(entry[len(entry)-len(dropInSuffix):], dropInSuffix) {
		return entry[:len(entry)-len(dropInSuffix)], true
	}
	return entry[:len(entry)-len(unitSuffix)], false
}

func validName(name string) bool {
	return units.ValidName(name) || units.ValidTemplate(name)
}

// template gives the template's name for an instance ("worker@" for
// "worker@eu"), and "" for everything else.
func template(name string) string {
	prefix, instance := units.SplitName(name)
	if instance == "" {
		return ""
	}
	return prefix + "@"
}

// plausible makes a valid unit name of one that is not, as its writer may have
// meant it; "" where there is none.
func plausible(name string) string {
	prefix, instance, at := strings.Cut(name, "@")
	guess := strings.Trim(clean(strings.ToLower(prefix)), "_.-")
	if at {
		guess += "@" + clean(instance)
	}
	if !validName(guess) {
		return ""
	}
	return guess
}

// clean replaces what no name may hold by a dash.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '-'
	}, s)
}
