package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds symbolic links on the way to one path, as the kernel does
// (path_resolution(7)).
const maxLinks = 40

// interest is what to listen to in the directories: by real directory, the
// entries that matter. An entry anyEntry stands for every one that relevant
// accepts.
type interest map[string]map[string]bool

const anyEntry = ""

func (i interest) add(dir, name string) {
	if i[dir] == nil {
		i[dir] = map[string]bool{}
	}
	i[dir][name] = true
}

// wants tells whether a change of the entry name in dir may change what Load reads.
func (i interest) wants(dir, name string) bool {
	names := i[dir]
	return names[name] || names[anyEntry] && relevant(name)
}

func (i interest) equal(other interest) bool {
	if len(i) != len(other) {
		return false
	}
	for dir, names := range i {
		if len(names) != len(other[dir]) {
			return false
		}
		for name := range names {
			if !other[dir][name] {
				return false
			}
		}
	}
	return true
}

// follow adds every directory entry that decides where path leads: each
// component, and each component of each link on the way. It ends at the first
// that is missing, whose appearance is then what to wait for. It gives the real
// path, or "" if there is none.
func (i interest) follow(path string) string {
	rest := strings.Split(strings.TrimPrefix(filepath.Clean(path), "/"), "/")
	real := "/"
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			real = filepath.Dir(real)
			continue
		}
		i.add(real, name)
		next := filepath.Join(real, name)
		info, err := os.Lstat(next)
		if err != nil {
			return ""
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			real = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return ""
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(strings.TrimPrefix(target, "/"), "/"), rest...)
	}
	return real
}

// survey lists everything that decides what Load reads from dirs.
func survey(dirs []string) interest {
	i := interest{}
	for _, dir := range dirs {
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		real := i.follow(dir)
		if real == "" {
			continue
		}
		i.contents(real, true)
	}
	return i
}

// contents adds a search directory (top) or a drop-in directory.
func (i interest) contents(dir string, top bool) {
	i.add(dir, anyEntry)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !relevant(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if e.Type()&fs.ModeSymlink != 0 {
			path = i.follow(path)
		}
		if path == "" || !top || !strings.HasSuffix(e.Name(), dropInSuffix) {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			i.contents(path, false)
		}
	}
}

// fingerprint is a digest of what Load reads from dirs as far as the file
// system tells without opening files: for polling.
func fingerprint(dirs []string) string {
	var b strings.Builder
	for dir, names := range survey(dirs) {
		if !names[anyEntry] {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.WriteString(err.Error())
		}
		for _, e := range entries {
			if relevant(e.Name()) {
				stamp(&b, filepath.Join(dir, e.Name()))
			}
		}
	}
	return sortLines(b.String())
}
