package vmtest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernel is a kernel image and where its modules are.
type kernel struct {
	image   string
	modules string // a directory as /lib/modules/RELEASE; may be missing
}

// findKernel gives the kernel named by BERTH_TEST_KERNEL, a path as
// /boot/vmlinuz-RELEASE with its modules in ../lib/modules/RELEASE, or else
// Debian's cloud kernel, which is fetched with apt-get at the first time and
// kept in the user's cache directory.
func findKernel() (kernel, error) {
	if path := os.Getenv("BERTH_TEST_KERNEL"); path != "" {
		return kernelAt(path), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, err
	}
	tree := filepath.Join(cache, "berth-test", "linux-image-cloud-amd64")
	if _, err := os.Stat(tree); errors.Is(err, fs.ErrNotExist) {
		if err := fetchKernel(tree); err != nil {
			return kernel{}, err
		}
	}
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("%s has %d kernel images; remove it to have it fetched again", tree, len(images))
	}
	return kernelAt(images[0]), nil
}

func kernelAt(image string) kernel {
	release := strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
	return kernel{image: image, modules: filepath.Join(filepath.Dir(image), "..", "lib", "modules", release)}
}

// fetchKernel unpacks Debian's kernel package into a directory, which appears
// as a whole: several processes may do this at a time.
func fetchKernel(tree string) error {
	if err := os.MkdirAll(filepath.Dir(tree), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(tree), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fetch := exec.Command("sh", "-ec", `
		name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
		apt-get download "$name"
		mkdir tree
		dpkg-deb -x ./*.deb tree`)
	fetch.Dir = dir
	if out, err := fetch.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot fetch a kernel with apt-get: %w: %s", err, out)
	}
	if err := os.Rename(filepath.Join(dir, "tree"), tree); err != nil {
		if _, there := os.Stat(tree); there != nil {
			return err
		}
	}
	return nil
}

// pack writes an initramfs of files, with modules, which load makes files of, and
// what every machine has.
func (k kernel) pack(path string, load func([]string) ([]File, error), modules []string, files []File) error {
	loaded, err := load(modules)
	if err != nil {
		return err
	}
	var all []File
	for _, name := range []string{"dev", "proc", "sys", "tmp", "run", "etc", "modules"} {
		all = append(all, Directory(name, 0o755))
	}
	all = append(append(all, loaded...), File{Name: "dev/console", Mode: device | 0o600, Major: 5, Minor: 1})
	return writeInitramfs(path, append(all, files...))
}

// files gives modules as files of the machine, named so that their order is one
// in which they can be loaded.
func (k kernel) files(names []string) ([]File, error) {
	if len(names) == 0 {
		return nil, nil
	}
	paths := map[string]string{}
	err := filepath.WalkDir(k.modules, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, kind, found := strings.Cut(e.Name(), ".ko"); found && (kind == "" || kind == ".xz") {
			paths[strings.ReplaceAll(name, "-", "_")] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the kernel's modules: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	var files []File
	taken := map[string]bool{}
	var take func(name string) error
	take = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if taken[name] || strings.Contains(strings.ReplaceAll(string(builtin), "-", "_"), "/"+name+".ko\n") {
			return nil
		}
		taken[name] = true
		path := paths[name]
		if path == "" {
			return fmt.Errorf("the kernel has no module %s in %s", name, k.modules)
		}
		image, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".xz") {
			image, err = exec.Command("xz", "-dc", path).Output()
		}
		if err != nil {
			return fmt.Errorf("cannot read the module %s: %w", path, err)
		}
		needs, _, err := moduleInfo(image)
		if err != nil {
			return fmt.Errorf("cannot read the module %s: %w", path, err)
		}
		for _, n := range needs {
			if err := take(n); err != nil {
				return err
			}
		}
		files = append(files, File{Name: fmt.Sprintf("modules/%03d-%s.ko", len(files), name), Mode: regular | 0o644, Data: image})
		return nil
	}
	for _, name := range names {
		if err := take(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// tree gives modules as a machine has them, with modules.dep and modules.alias.
func (k kernel) tree(names []string) ([]File, error) {
	loaded, err := k.files(names)
	if err != nil {
		return nil, err
	}
	dir := "usr/lib/modules/" + filepath.Base(k.modules)
	files := []File{Directory("usr", 0o755), Directory("usr/lib", 0o755), Directory("usr/lib/modules", 0o755), Directory(dir, 0o755), Directory(dir+"/kernel", 0o755)}
	var index, aliases strings.Builder
	needs := map[string]map[string]bool{} // module → files, of those that these need too
	var order []string
	for _, f := range loaded {
		name := strings.TrimSuffix(f.Name[len("modules/000-"):], ".ko")
		direct, more, err := moduleInfo(f.Data)
		if err != nil {
			return nil, err
		}
		for _, alias := range more {
			fmt.Fprintf(&aliases, "alias %s %s\n", alias, name)
		}
		needs[name] = map[string]bool{}
		for _, n := range direct {
			n = strings.ReplaceAll(n, "-", "_")
			if needs[n] != nil { // else it is built in
				needs[name][n] = true
				maps.Copy(needs[name], needs[n])
			}
		}
		fmt.Fprintf(&index, "kernel/%s.ko:", name)
		for _, n := range order { // what is needed first comes last (modules.dep(5))
			if needs[name][n] {
				fmt.Fprintf(&index, " kernel/%s.ko", n)
			}
		}
		index.WriteString("\n")
		order = append([]string{name}, order...)
		f.Name = dir + "/kernel/" + name + ".ko"
		files = append(files, f)
	}
	return append(files, Text(dir+"/modules.dep", index.String(), 0o644), Text(dir+"/modules.alias", aliases.String(), 0o644)), nil
}

// moduleInfo reads "depends" and "alias" in a module's .modinfo section, which
// holds "key=value" strings with a zero byte after each.
func moduleInfo(module []byte) (depends, aliases []string, err error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil, errors.New("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			depends = strings.Split(list, ",")
		}
		if alias, ok := strings.CutPrefix(entry, "alias="); ok {
			aliases = append(aliases, alias)
		}
	}
	return depends, aliases, nil
}
