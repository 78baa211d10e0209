package config

import (
	"regexp"
	"strings"
)

const (
	unitSuffix   = ".toml"
	dropInSuffix = ".toml.d"
)

// unitName is what a unit may be called; an empty instance after the @ is a template.
var unitName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}(@[a-zA-Z0-9_.-]{0,63})?$`)

// instanceName is what may stand after the @.
var instanceName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,63}$`)

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

// template gives the template's name for an instance ("worker@" for
// "worker@eu"), and "" for everything else.
func template(unit string) string {
	if at := strings.IndexByte(unit, '@'); at >= 0 && at < len(unit)-1 {
		return unit[:at+1]
	}
	return ""
}

func isTemplate(unit string) bool { return strings.HasSuffix(unit, "@") }

// plausible makes a valid unit name of one that is not, as its writer may have
// meant it; "" where there is none.
func plausible(name string) string {
	base, instance, at := strings.Cut(name, "@")
	base = strings.TrimLeft(clean(strings.ToLower(base)), "_.-")
	if at {
		base += "@" + clean(instance)
	}
	if !unitName.MatchString(base) {
		return ""
	}
	return base
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
