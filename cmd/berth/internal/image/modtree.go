package image

import (
	"path/filepath"
	"slices"
	"strings"

	"berth/isolate/fsimage"
)

// addModules adds the kernel modules that were asked for, and those that the
// units and the root file system take. What was asked for is loaded at boot, since
// the kernel has no program here to ask for it later.
func (p *Plan) addModules() error {
	if p.options.Modules == "" {
		return nil
	}
	for _, u := range p.set.Units {
		if u.RootFS.Writable != "none" || len(u.RootFS.Layers) > 0 {
			p.wanted("overlay")
		}
	}
	if p.options.Format != Initramfs {
		p.wanted(p.options.Format)
	}
	for _, name := range p.options.ModuleNames {
		if err := p.modules.add(name); err != nil {
			return err
		}
	}
	for _, mod := range p.modules.all() {
		p.Modules = append(p.Modules, mod.name)
	}
	return p.modulesInto(p.system)
}

// modulesInto adds the modules chosen, with their index, to a tree.
func (p *Plan) modulesInto(t *fsimage.Tree) error {
	if len(p.Modules) == 0 {
		return nil
	}
	dir := "/lib/modules/" + p.Release + "/"
	for _, mod := range p.modules.all() {
		if err := t.Add(dir+mod.path, fsimage.Bytes(mod.contents, 0o644)); err != nil {
			return err
		}
	}
	for name, text := range p.modules.index() {
		if err := t.Add(dir+name, fsimage.Text(text, 0o644)); err != nil {
			return err
		}
	}
	if builtin := filepath.Join(p.options.Modules, "modules.builtin"); len(p.modules.builtin) > 0 {
		if err := t.AddFile(dir+"modules.builtin", builtin); err != nil {
			return err
		}
	}
	names := slices.Sorted(slices.Values(p.options.ModuleNames))
	text := "# Loaded at boot, written by berth build-image.\n" + strings.Join(slices.Compact(names), "\n") + "\n"
	return t.Add(loadFile, fsimage.Text(text, 0o644))
}

// addHandover makes the initramfs that mounts the root file system and hands over
// to it: berthd, and the modules for that.
func (p *Plan) addHandover() error {
	if p.options.Format == Initramfs {
		return p.add("/init", fsimage.Link(strings.TrimPrefix(berthdPath, "/")))
	}
	t := fsimage.New()
	p.handover = t
	for _, name := range []string{"dev", "etc", "proc", "run", "sys", "sysroot", "tmp", "usr/bin", "usr/sbin", "usr/lib"} {
		if err := t.Add(name, fsimage.Directory(0o755)); err != nil {
			return err
		}
	}
	for name, n := range map[string]*fsimage.Inode{
		"bin": fsimage.Link("usr/bin"), "sbin": fsimage.Link("usr/sbin"), "lib": fsimage.Link("usr/lib"),
		"init":               fsimage.Link(strings.TrimPrefix(berthdPath, "/")),
		"dev/console":        fsimage.Device(fsimage.KindChar, 0o600, 5, 1),
		"etc/initrd-release": fsimage.Text("ID=berth\nNAME=\"berth initramfs\"\n", 0o644),
	} {
		if err := t.Add(name, n); err != nil {
			return err
		}
	}
	if err := t.Add(berthdPath, p.system.Lookup(berthdPath)); err != nil {
		return err
	}
	return p.modulesInto(t)
}
