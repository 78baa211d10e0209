package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the packages of each root file system; those that they depend on are
// added.
var wanted = map[string][]string{
	"nginx":  {"nginx"},
	"redis":  {"redis-server"},
	"base":   {"busybox-static"},
	"kernel": {"linux-image-cloud-amd64"},
}

// unneeded are packages that others depend on for being installed, configured or
// started by a system, none of which happens here.
var unneeded = []string{
	"adduser", "debconf", "debconf-2.0", "init-system-helpers", "initramfs-tools", "iproute2", "kmod", "linux-base", "lsb-base", "usr-is-merged",
}

// library are packages in files, by name.
type library map[string]*deb

// packages gives all packages that are needed from a directory. Those that lack
// are fetched into it; when none does, nothing outside of it is asked.
func packages(ctx context.Context, dir string, log io.Writer) (library, error) {
	lib, err := openLibrary(dir)
	if err != nil {
		return nil, err
	}
	if lib.complete() == nil {
		return lib, nil
	}
	if err := fetch(ctx, dir, log); err != nil {
		return nil, fmt.Errorf("%w; or put Debian's packages (%v) with what they depend on into %s", err, slices.Concat(slices.Collect(maps.Values(wanted))...), dir)
	}
	if lib, err = openLibrary(dir); err != nil {
		return nil, err
	}
	return lib, lib.complete()
}

// openLibrary reads all packages of a directory. Of several versions the last by
// the name of the file is taken.
func openLibrary(dir string) (library, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return nil, err
	}
	lib := library{}
	for _, path := range paths {
		d, err := openDeb(path)
		if err != nil {
			return nil, err
		}
		lib[d.name] = d
		for _, name := range d.provides {
			if lib[name] == nil {
				lib[name] = d
			}
		}
	}
	return lib, nil
}

// complete tells what lacks.
func (lib library) complete() error {
	for _, names := range wanted {
		if _, err := lib.closure(names); err != nil {
			return err
		}
	}
	return nil
}

// closure gives packages with what they need, in the order of their names.
func (lib library) closure(names []string) ([]*deb, error) {
	taken := map[*deb]bool{}
	var take func([]string, string) error
	take = func(alternatives []string, by string) error {
		if slices.ContainsFunc(alternatives, func(n string) bool { return slices.Contains(unneeded, n) }) {
			return nil
		}
		i := slices.IndexFunc(alternatives, func(n string) bool { return lib[n] != nil })
		if i < 0 {
			return fmt.Errorf("there is no package %s, which %s needs", strings.Join(alternatives, " or "), by)
		}
		d := lib[alternatives[i]]
		if taken[d] {
			return nil
		}
		taken[d] = true
		for _, need := range d.depends {
			if err := take(need, d.name); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := take([]string{name}, "the appliance"); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Keys(taken), func(a, b *deb) int { return strings.Compare(a.name, b.name) }), nil
}

// fetch gets packages with apt-get, which needs a Debian whose lists are up to date.
func fetch(ctx context.Context, dir string, log io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	names, err := resolve(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "fetching %d packages into %s\n", len(names), dir)
	get := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "APT::Sandbox::User=root", "download"}, names...)...)
	get.Dir, get.Stdout, get.Stderr = dir, log, log
	if err := get.Run(); err != nil {
		return fmt.Errorf("cannot fetch packages with apt-get download: %w (try apt-get update)", err)
	}
	return nil
}

// resolve asks apt what the packages need.
func resolve(ctx context.Context) ([]string, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}
	roots := slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Values(wanted))...)))
	ask := exec.CommandContext(ctx, "apt-cache", append(args, roots...)...)
	ask.Stderr = os.Stderr
	text, err := ask.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot ask apt-cache for the packages' dependencies: %w (try apt-get update)", err)
	}
	depends := parseDepends(string(text))
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if seen[name] || slices.Contains(unneeded, name) {
			return
		}
		seen[name] = true
		for _, need := range depends[name] {
			visit(need)
		}
	}
	for _, name := range roots {
		visit(name)
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// parseDepends reads what apt-cache depends prints: a package, then a line for
// each that it depends on, with "|" before the first of two alternatives. For what
// is only provided, those that provide it follow, further indented.
func parseDepends(text string) map[string][]string {
	out := map[string][]string{}
	name, skip, virtual := "", false, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		kind, what, found := strings.Cut(line, "Depends: ")
		what, _, _ = strings.Cut(what, ":")
		switch {
		case line != "" && line[0] != ' ':
			name = line
		case found && skip:
			skip = strings.Contains(kind, "|")
		case found:
			if virtual = strings.HasPrefix(what, "<"); !virtual {
				out[name] = append(out[name], what)
			}
			skip = strings.Contains(kind, "|")
		case virtual:
			out[name] = append(out[name], strings.TrimSpace(line))
			virtual = false
		}
	}
	return out
}
