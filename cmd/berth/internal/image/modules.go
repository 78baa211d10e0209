package image

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// modules are those of one kernel, in a directory as /lib/modules/RELEASE.
type modules struct {
	dir     string
	paths   map[string]string // of each module, below dir
	builtin map[string]bool
	aliases []alias // read when one is first asked for
	chosen  map[string]*module
}

// module is one that goes into the image, as it says of itself (modinfo(8)).
type module struct {
	name     string
	path     string // below the directory, without a suffix of compression
	contents []byte
	needs    []string // names
	soft     []string // lines of modules.softdep
	before   []string // soft dependencies: names or aliases
	aliases  []string
}

type alias struct{ pattern, module string }

// openModules lists a directory of modules; "" gives none.
func openModules(dir string) (*modules, error) {
	m := &modules{dir: dir, paths: map[string]string{}, builtin: map[string]bool{}, chosen: map[string]*module{}}
	if dir == "" {
		return m, nil
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, kind, found := strings.Cut(e.Name(), ".ko"); found && e.Type().IsRegular() && slices.Contains([]string{"", ".gz", ".xz", ".zst"}, kind) {
			below, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			m.paths[moduleName(name)] = below
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the kernel's modules: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list what is built into the kernel: %w", err)
	}
	for path := range strings.FieldsSeq(string(text)) {
		m.builtin[moduleName(strings.TrimSuffix(filepath.Base(path), ".ko"))] = true
	}
	return m, nil
}

// moduleName is a module's name as the kernel has it.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// add chooses a module with what it needs. One that is built in is there already.
func (m *modules) add(name string) error {
	name = moduleName(name)
	if m.chosen[name] != nil || m.builtin[name] {
		return nil
	}
	path := m.paths[name]
	if path == "" {
		return fmt.Errorf("the kernel has no module %s in %s", name, m.dir)
	}
	mod, err := m.read(name, path)
	if err != nil {
		return err
	}
	m.chosen[name] = mod
	for _, need := range mod.needs {
		if err := m.add(need); err != nil {
			return fmt.Errorf("cannot take the module %s: %w", name, err)
		}
	}
	for _, want := range mod.before { // wanted, and not needed
		for _, module := range m.named(want) {
			if err := m.add(module); err != nil {
				return fmt.Errorf("cannot take the module %s: %w", name, err)
			}
		}
	}
	return nil
}

// has tells whether a module is there, as one or built in.
func (m *modules) has(name string) bool {
	return m.builtin[moduleName(name)] || m.paths[moduleName(name)] != ""
}

// named gives the modules of a name or an alias, none if there are none.
func (m *modules) named(name string) []string {
	if m.has(name) {
		return []string{name}
	}
	if m.aliases == nil {
		m.aliases = m.allAliases()
	}
	var out []string
	for _, a := range m.aliases {
		if moduleName(a.pattern) == moduleName(name) && !slices.Contains(out, a.module) {
			out = append(out, a.module)
		}
	}
	return out
}

// allAliases reads modules.alias, or what depmod(8) would read for it. What
// cannot be read has no aliases: they only lead to soft dependencies.
func (m *modules) allAliases() []alias {
	list := []alias{}
	if text, err := os.ReadFile(filepath.Join(m.dir, "modules.alias")); err == nil {
		for line := range strings.Lines(string(text)) {
			if w := strings.Fields(line); len(w) == 3 && w[0] == "alias" {
				list = append(list, alias{w[1], w[2]})
			}
		}
		return list
	}
	for name, path := range m.paths {
		if mod, err := m.read(name, path); err == nil {
			for _, a := range mod.aliases {
				list = append(list, alias{a, name})
			}
		}
	}
	slices.SortFunc(list, func(a, b alias) int { return strings.Compare(a.module, b.module) })
	return list
}

// read reads a module, decompressed: the image's own compression does it better,
// and not every kernel can.
func (m *modules) read(name, path string) (*module, error) {
	data, err := os.ReadFile(filepath.Join(m.dir, path))
	if err != nil {
		return nil, fmt.Errorf("cannot read the module %s: %w", name, err)
	}
	plain, kind, _ := strings.Cut(path, ".ko")
	switch kind {
	case ".gz":
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
			data, err = io.ReadAll(r)
		}
	case ".xz":
		var r *xz.Reader
		if r, err = xz.NewReader(bytes.NewReader(data)); err == nil {
			data, err = io.ReadAll(r)
		}
	case ".zst":
		var r *zstd.Decoder
		if r, err = zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1)); err == nil {
			data, err = io.ReadAll(r)
			r.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot decompress the module %s: %w", name, err)
	}
	mod := &module{name: name, path: plain + ".ko", contents: data}
	return mod, mod.modinfo()
}

// modinfo reads what a module says of itself: "key=value" strings with a zero
// byte after each, in the section .modinfo.
func (mod *module) modinfo() error {
	f, err := elf.NewFile(bytes.NewReader(mod.contents))
	if err != nil {
		return fmt.Errorf("cannot read the module %s: %w", mod.name, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return fmt.Errorf("cannot read the module %s: it has no section .modinfo", mod.name)
	}
	info, err := section.Data()
	if err != nil {
		return fmt.Errorf("cannot read the module %s: %w", mod.name, err)
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "depends":
			for need := range strings.SplitSeq(value, ",") {
				if need != "" {
					mod.needs = append(mod.needs, moduleName(need))
				}
			}
		case "alias":
			mod.aliases = append(mod.aliases, value)
		case "softdep":
			mod.soft = append(mod.soft, fmt.Sprintf("softdep %s %s", mod.name, value))
			for _, w := range strings.Fields(value) {
				if !strings.HasSuffix(w, ":") {
					mod.before = append(mod.before, w)
				}
			}
		}
	}
	return nil
}

// all are the modules chosen, in the order of their names.
func (m *modules) all() []*module {
	var out []*module
	for _, mod := range m.chosen {
		out = append(out, mod)
	}
	slices.SortFunc(out, func(a, b *module) int { return strings.Compare(a.name, b.name) })
	return out
}

// index gives the files that depmod(8) would write for the modules chosen.
func (m *modules) index() map[string]string {
	var dep, aliases, soft strings.Builder
	for _, mod := range m.all() {
		fmt.Fprintf(&dep, "%s:", mod.path)
		for _, need := range m.closure(mod, map[string]bool{mod.name: true}) {
			fmt.Fprintf(&dep, " %s", need.path)
		}
		dep.WriteByte('\n')
		for _, a := range mod.aliases {
			fmt.Fprintf(&aliases, "alias %s %s\n", a, mod.name)
		}
		for _, s := range mod.soft {
			fmt.Fprintln(&soft, s)
		}
	}
	return map[string]string{"modules.dep": dep.String(), "modules.alias": aliases.String(), "modules.softdep": soft.String()}
}

// closure gives all that a module needs, each behind what needs it.
func (m *modules) closure(mod *module, seen map[string]bool) []*module {
	var order []*module
	var visit func(*module)
	visit = func(mod *module) {
		for _, name := range mod.needs {
			if need := m.chosen[name]; need != nil && !seen[name] {
				seen[name] = true
				visit(need)
				order = append(order, need)
			}
		}
	}
	visit(mod)
	slices.Reverse(order)
	return order
}
