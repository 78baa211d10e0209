package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/units"
)

// source is a file that is to be read, and whom to trust about it.
type source struct {
	path   string
	trust  trust
	masked bool
}

// found is what the search directories hold, higher directories already
// preferred. Nothing in it has been read yet.
type found struct {
	files       map[string]source            // by unit or template name
	dropIns     map[string]map[string]source // by unit or template name, by file name
	diagnostics units.Diagnostics
	missing     []string // search directories that do not exist
}

// scan lists the search directories, highest first. An error is one that has
// nothing to do with what users wrote: then nothing may be concluded from what
// is not there.
func scan(dirs []string) (*found, error) {
	f := &found{files: map[string]source{}, dropIns: map[string]map[string]source{}}
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot tell where unit directory %s is: %w", dir, err)
		}
		if err := f.directory(abs); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *found) report(path string, problem fault) {
	f.diagnostics = append(f.diagnostics, problem.at(path))
}

func (f *found) directory(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); errors.Is(err, fs.ErrNotExist) {
		f.missing = append(f.missing, dir)
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot look at unit directory %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		f.report(dir, fault{codeKind, "this is " + kindName(st.Mode&unix.S_IFMT) + " and not a unit directory", "give the directory that holds the unit files"})
		return nil
	}
	t, err := trusting(&st)
	if err != nil {
		f.report(dir, fault{codeTrust, "this unit directory cannot be trusted: " + err.Error(), "chmod o-w the directory: what its files say is done as root"})
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot read unit directory %s: %w", dir, err)
	}
	for _, e := range entries {
		if !relevant(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		name, isDropIns := split(e.Name())
		if !f.named(path, name) {
			continue
		}
		if isDropIns {
			if err := f.dropInDirectory(path, name, t); err != nil {
				return err
			}
		} else if _, higher := f.files[name]; !higher {
			f.files[name] = source{path: path, trust: t, masked: masked(path)}
		}
	}
	return nil
}

// named reports an entry whose name cannot be a unit's.
func (f *found) named(path, name string) bool {
	entry := filepath.Base(path)
	suffix := entry[len(name):]
	if validName(name) && suffix == strings.ToLower(suffix) {
		return true
	}
	problem := fault{code: codeName, message: fmt.Sprintf("%q is not the name of a unit", name),
		hint: "use lower-case letters, digits, '_', '.' and '-', at most 64, beginning with a letter or digit"}
	if validName(name) {
		problem.message = fmt.Sprintf("%q does not end in %s", entry, strings.ToLower(suffix))
	}
	if name == units.ReservedName {
		problem.message, problem.hint = fmt.Sprintf("%q is the daemon's own name", name), "give the unit another name"
	} else if guess := plausible(name); guess != "" {
		problem.hint = fmt.Sprintf("did you mean %q?", guess+strings.ToLower(suffix))
	}
	f.report(path, problem)
	return false
}

func (f *found) dropInDirectory(dir, name string, t trust) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", errChanged, dir)
	} else if err != nil {
		return fmt.Errorf("cannot look at drop-in directory %s: %w", dir, err)
	}
	if masked(dir) {
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		f.report(dir, fault{codeKind, "this is " + kindName(st.Mode&unix.S_IFMT) + " and not a directory of drop-ins", "the unit's own file ends in " + unitSuffix})
		return nil
	}
	if err := t.check(&st); err != nil {
		f.report(dir, fault{codeTrust, "this drop-in directory cannot be trusted: " + err.Error(), "chown root and chmod go-w the directory: what its files say is done as root"})
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot read drop-in directory %s: %w", dir, err)
	}
	if f.dropIns[name] == nil {
		f.dropIns[name] = map[string]source{}
	}
	for _, e := range entries {
		// Sub-directories' names mean nothing here.
		if file := e.Name(); relevant(file) && strings.HasSuffix(file, unitSuffix) {
			if _, higher := f.dropIns[name][file]; !higher {
				path := filepath.Join(dir, file)
				f.dropIns[name][file] = source{path: path, trust: t, masked: masked(path)}
			}
		}
	}
	return nil
}

// of gives what is to be merged for one name: its own file, if it is there and
// not masked, then its drop-ins in name order.
func (f *found) of(name string) (file []source, dropIns []source) {
	if s, ok := f.files[name]; ok && !s.masked {
		file = append(file, s)
	}
	for _, n := range slices.Sorted(maps.Keys(f.dropIns[name])) {
		if s := f.dropIns[name][n]; !s.masked {
			dropIns = append(dropIns, s)
		}
	}
	return file, dropIns
}
