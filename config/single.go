package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/units"
)

// LoadFile reads one unit by itself, for berth run: the file, the drop-ins of
// the directory beside it (web.toml.d), and then more, which are merged over it
// in order. Units that it names are not looked for. The diagnostics are those
// of this unit; with errors among them the unit must not be used. An error
// means that path is no unit file at all.
//
// Paths that begin with "./" mean the file's directory, in more too.
func LoadFile(path string, more ...units.Source) (*units.Unit, units.Diagnostics, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	dir := filepath.Dir(abs)
	name, ok := strings.CutSuffix(filepath.Base(abs), ".toml")
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("cannot read %s: the name of a unit file ends in .toml", path)
	case units.ValidTemplate(name):
		return nil, nil, fmt.Errorf("cannot read %s: it is a template, and only its instances can be run; link it to %sNAME.toml", path, name)
	case !units.ValidName(name):
		return nil, nil, fmt.Errorf("cannot read %s: %q is no name of a unit", path, name)
	}
	t, err := trustingFor(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, nil, fmt.Errorf("cannot read the unit file: %w", err)
	}
	f := &found{files: map[string]source{}, dropIns: map[string]map[string]source{}}
	if err := f.dropInDirectory(abs+".d", name, t); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errChanged) {
		return nil, nil, err
	}
	_, dropIns := f.of(name)
	diagnostics := f.diagnostics
	var texts []units.Source
	for _, s := range slices.Concat([]source{{path: abs, trust: t}}, dropIns) {
		text, problem := read(s.path, s.trust)
		if problem != nil {
			diagnostics = append(diagnostics, problem.at(s.path))
			continue
		}
		texts = append(texts, units.Source{Path: s.path, Text: text})
	}
	if diagnostics.HasErrors() {
		return nil, diagnostics.Sorted(), nil
	}
	unit, faults := units.Decode(name, append(texts, more...))
	relocate(unit, dir)
	faults = append(faults, zoneFaults(unit, append(texts, more...))...)
	return unit, append(diagnostics, faults...).Sorted(), nil
}

// trustingFor is trusting for the directory of a file that was named by itself.
// Where everybody may make files but only remove their own (/tmp), nobody but
// root and the caller is believed.
func trustingFor(dir string) (trust, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return trust{}, err
	}
	if st.Mode&unix.S_ISVTX != 0 && st.Mode&unix.S_IWOTH != 0 {
		return trust{owner: uint32(os.Geteuid())}, nil
	}
	t, err := trusting(&st)
	if err != nil {
		return t, fmt.Errorf("its directory cannot be trusted: %w", err)
	}
	return t, nil
}
