package modules

import (
	"path"
	"slices"
	"strings"
)

// Index is what depmod(8) wrote of the modules that there are, in the text files
// beside them.
type Index struct {
	files   map[string]string   // module → file, relative to the directory of the index
	needs   map[string][]string // file → files that it needs, the one needed most first
	builtin map[string]bool
	soft    []Soft
	aliases map[string][]Alias // by what comes before the first colon, "" if that is no plain text
}

// ParseIndex reads modules.dep, modules.alias, modules.softdep and modules.builtin.
// Lines that make no sense are no entries: a program wrote these files.
func ParseIndex(dep, alias, soft, builtin string) *Index {
	ix := &Index{files: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}, aliases: map[string][]Alias{}}
	for line := range strings.Lines(dep) {
		file, needs, ok := strings.Cut(line, ":")
		file = strings.TrimSpace(file)
		if name := moduleName(file); ok && name != "" {
			ix.files[name] = file
			if list := strings.Fields(needs); len(list) > 0 {
				slices.Reverse(list)
				ix.needs[file] = list
			}
		}
	}
	for line := range strings.Lines(alias) {
		if w := strings.Fields(line); len(w) == 3 && w[0] == "alias" {
			ix.addAlias(Alias{normalizePattern(w[1]), Normalize(w[2])})
		}
	}
	for line := range strings.Lines(soft) {
		if w := strings.Fields(line); len(w) > 1 && w[0] == "softdep" {
			ix.soft = append(ix.soft, parseSoft(w[1:]))
		}
	}
	for line := range strings.Lines(builtin) {
		if name := moduleName(strings.TrimSpace(line)); name != "" {
			ix.builtin[name] = true
		}
	}
	return ix
}

// moduleName gives the module in a file such as kernel/fs/fat/vfat.ko.xz, "" if
// the file's name is not that of a module.
func moduleName(file string) string {
	name, rest, ok := strings.Cut(path.Base(file), ".ko")
	if !ok || rest != "" && rest != ".gz" && rest != ".xz" && rest != ".zst" {
		return ""
	}
	return Normalize(name)
}

// bucket is the part of an alias or a pattern by which it is found: nearly all
// begin with the name of a bus and a colon.
func bucket(alias string) string {
	i := strings.IndexAny(alias, ":*?[\\")
	if i < 0 || alias[i] != ':' {
		return ""
	}
	return alias[:i]
}

func (ix *Index) addAlias(a Alias) {
	b := bucket(a.Pattern)
	ix.aliases[b] = append(ix.aliases[b], a)
}

// alias gives the modules of all aliases that match, each once.
func (ix *Index) alias(name string) []string {
	name = normalizePattern(name)
	var modules []string
	look := func(list []Alias) {
		for _, a := range list {
			if match(a.Pattern, name) && !slices.Contains(modules, a.Module) {
				modules = append(modules, a.Module)
			}
		}
	}
	if b := bucket(name); b != "" {
		look(ix.aliases[b])
	}
	look(ix.aliases[""])
	return modules
}
