package config

import (
	"errors"
	"maps"
	"slices"

	"berth/units"
)

// DefaultDirs are the search directories when none are given, highest first.
func DefaultDirs() []string {
	return []string{"/etc/berth/units", "/run/berth/units", "/usr/lib/berth/units"}
}

// Options say where units come from.
type Options struct {
	Dirs []string // search directories, highest first; nil: those of this user
	// Known is what was read before: units whose files say the same are taken
	// from there and not decoded again. Nil: nothing.
	Known *Set
}

// Set is one generation: all units that there are, decoded and checked. It is
// not changed after Load and so is safe to share.
type Set struct {
	// Units by name. Templates are not units; their instances are.
	Units map[string]*units.Unit
	// Files are what each unit was put together from: the unit file (or the
	// template's and then the instance's own), each followed by its drop-ins.
	Files map[string][]string
	// Diagnostics are everything that is wrong, sorted. When they have errors
	// the set shows what could be read, and must not be applied.
	Diagnostics units.Diagnostics
	// Missing are the search directories that do not exist.
	Missing []string
	// Sums tell the texts of all files that were read apart, by path; also of
	// those that could not be used.
	Sums map[string]uint64

	decoded map[string]decoded // by unit and template name
}

// decoded is what units.Decode made of texts, to be used again for the same.
type decoded struct {
	texts       uint64 // of the paths and texts, in order
	unit        *units.Unit
	diagnostics units.Diagnostics
}

// Valid tells whether the set may be applied.
func (s *Set) Valid() bool { return !s.Diagnostics.HasErrors() }

// errChanged: a file vanished between being listed and being looked at.
var errChanged = errors.New("the unit directories change while they are read")

// maxTries is how often Load begins anew when files vanish under it.
const maxTries = 5

// Load reads all units anew. What users can get wrong is in the set's
// Diagnostics, all of it in one go. An error means that the files could not be
// read for a reason that is not in them (no permission, no memory, an I/O
// error, a directory that keeps changing): then there is no set, and what was
// known before stays true. A search directory that does not exist is no error.
//
// A "./" at the beginning of a path on the host (mount source, rootfs path and
// layers, environment files, a seccomp profile) means the directory of the unit
// file, or of the template's for an instance.
func Load(o Options) (*Set, error) {
	dirs := o.Dirs
	if dirs == nil {
		dirs = OwnPlaces().Units
	}
	for try := 1; ; try++ {
		set, err := load(dirs, MaxUnits, o.Known)
		if err == nil || !errors.Is(err, errChanged) || try == maxTries {
			return set, err
		}
	}
}

func load(dirs []string, maxUnits int, known *Set) (*Set, error) {
	f, err := scan(dirs)
	if err != nil {
		return nil, err
	}
	l := &loader{
		found: f, maxUnits: maxUnits, texts: map[string]*units.Source{}, origins: units.Origins{},
		set: &Set{Units: map[string]*units.Unit{}, Files: map[string][]string{}, Missing: f.missing,
			Sums: map[string]uint64{}, decoded: map[string]decoded{}},
	}
	if known != nil {
		l.known = known.decoded
	}

	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		if f.files[name].masked {
			continue
		}
		if units.ValidTemplate(name) {
			err = l.template(name)
		} else {
			err = l.unit(name)
		}
		if err != nil {
			return nil, err
		}
	}
	l.lonely()
	return l.finish(), nil
}
