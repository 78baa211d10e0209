package pid1test

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"berth/isolate/vmtest"
)

// libraryDirs are where Debian has libraries, in the order in which they are
// looked for.
var libraryDirs = []string{"usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd", "lib64", "usr/lib64"}

// fetchPackage unpacks a Debian package, downloaded at the first time, and gives
// the directory. Nothing is installed.
func fetchPackage(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "berth-test", "packages")
	tree := filepath.Join(cache, name)
	if _, err := os.Stat(tree); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return tree, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	fetch := exec.Command("sh", "-ec", `apt-get download "$1"; mkdir tree; dpkg-deb -x ./*.deb tree`, "sh", name)
	fetch.Dir = dir
	if out, err := fetch.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot fetch the package %s with apt-get: %w: %s", name, err, out)
	}
	return tree, os.Rename(filepath.Join(dir, "tree"), tree)
}

// collection gathers programs and the libraries that they load. Everything lies
// under usr/, to which bin, sbin, lib and lib64 are links.
type collection struct {
	trees []string // where to look, the machine's own root last
	taken map[string]bool
	files []vmtest.File
}

func newCollection(packages []string) (*collection, error) {
	c := &collection{taken: map[string]bool{}}
	for _, name := range packages {
		tree, err := fetchPackage(name)
		if err != nil {
			return nil, err
		}
		c.trees = append(c.trees, tree)
	}
	c.trees = append(c.trees, "/")
	return c, nil
}

// find gives the host's path of a file of the packages.
func (c *collection) find(path string) (string, error) {
	for _, tree := range c.trees {
		for _, p := range []string{path, strings.TrimPrefix(path, "usr/")} {
			if full, err := filepath.EvalSymlinks(filepath.Join(tree, p)); err == nil {
				return full, nil
			}
		}
	}
	return "", fmt.Errorf("no package has %s", path)
}

// add takes a program, a library or another file, and what it needs.
func (c *collection) add(path string) error {
	if !strings.HasPrefix(path, "usr/") {
		path = "usr/" + path
	}
	if c.taken[path] {
		return nil
	}
	c.taken[path] = true
	from, err := c.find(path)
	if err != nil {
		return err
	}
	c.files = append(c.files, vmtest.Copy(path, from))
	program, err := elf.Open(from)
	if err != nil {
		return nil // a script or a text
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz-1)
		if _, err := p.ReadAt(name, 0); err != nil {
			return err
		}
		if err := c.add(strings.TrimPrefix(string(name), "/")); err != nil {
			return err
		}
	}
	libraries, err := program.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range libraries {
		if err := c.library(name); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (c *collection) library(name string) error {
	if strings.HasPrefix(name, "ld-linux") {
		return nil // the interpreter
	}
	for _, dir := range libraryDirs {
		if _, err := c.find(dir + "/" + name); err == nil {
			return c.add(dir + "/" + name)
		}
	}
	return fmt.Errorf("no package has the library %s", name)
}
