package image

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"berth/config"
	"berth/isolate/fsimage"
	"berth/units"
)

// runtimeDirs have at run time what they do not have in the image.
var runtimeDirs = []string{"/dev", "/proc", "/run", "/sys", "/tmp"}

// checkUnits looks whether all that the units name is in the image.
func (p *Plan) checkUnits() error {
	var all units.Diagnostics
	for _, name := range slices.Sorted(maps.Keys(p.set.Units)) {
		u := p.set.Units[name]
		var sources []units.Source
		for _, file := range p.set.Files[name] {
			text, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("cannot read a unit file: %w", err)
			}
			sources = append(sources, units.Source{Path: file, Text: text})
		}
		for _, l := range p.lacks(u) {
			all = append(all, units.Fault(name, sources, l.key, config.CodeNotInImage, l.what, l.try))
		}
	}
	return all.Err()
}

// lack is a key that names something that is not there.
type lack struct{ key, what, try string }

func (p *Plan) lacks(u *units.Unit) []lack {
	if u.Service.Type == "group" {
		return nil
	}
	out := p.lacksFiles(u)
	roots, missing := p.rootsOf(u)
	if len(missing) > 0 { // what is in them cannot be told
		return append(missing, out...)
	}
	if !u.RootFS.Host && u.RootFS.Writable == "none" {
		for _, target := range p.noTargets(u, roots) {
			out = append(out, lack{"mount", fmt.Sprintf("there is no %s in its root file system, which is read-only, to mount something on", target),
				"put an empty directory or file there, or give rootfs.writable"})
		}
	}
	if !p.hasUser(u.Service.User, roots) {
		out = append(out, lack{"service.user", fmt.Sprintf("there is no user %s in the /etc/passwd of its root file system", u.Service.User), "add the user there, or write a number"})
	}
	if len(u.Service.Command) > 0 && !p.hasProgram(u, roots) {
		where := "the image"
		if !u.RootFS.Host {
			where = "its root file system, " + strings.Join(roots, " and ")
		}
		out = append(out, lack{"service.command", fmt.Sprintf("there is no program %s in %s", u.Service.Command[0], where), "look at the path, and at what was given with --root: --dry-run lists all files"})
	}
	return out
}

// rootsOf gives the root directory of a unit in the image, or its layers from the
// lowest on, and which of them are not there.
func (p *Plan) rootsOf(u *units.Unit) (roots []string, missing []lack) {
	if u.RootFS.Host {
		return []string{"/"}, nil
	}
	key := "rootfs.layers"
	if u.RootFS.Path != "" {
		key = "rootfs.path"
	}
	for _, path := range rootPaths(u) {
		at := p.inImage(path)
		if n := p.system.Stat(at); n != nil && n.Kind() == fsimage.KindDir {
			roots = append(roots, at)
			continue
		}
		missing = append(missing, lack{key, fmt.Sprintf("there is no root file system at %s in the image", at),
			fmt.Sprintf("give the directory that is to be there: --root %s=DIRECTORY", at)})
	}
	return roots, missing
}

// lacksFiles tells what a unit names of the machine beside its root file system.
func (p *Plan) lacksFiles(u *units.Unit) []lack {
	var out []lack
	for _, m := range u.Mounts {
		if m.Type == "bind" && !p.there(m.Source) {
			out = append(out, lack{"mount", fmt.Sprintf("there is no %s in the image to mount on %s", p.inImage(m.Source), m.Target), "put it beside the unit files, or give it with --root or --file"})
		}
	}
	for _, file := range u.Service.EnvironmentFiles {
		if !strings.HasPrefix(file, "-") && !p.there(file) {
			out = append(out, lack{"service.environment-files", fmt.Sprintf("there is no %s in the image", p.inImage(file)), "give it with --file FILE:" + p.inImage(file)})
		}
	}
	return out
}

// hasProgram tells whether a unit's program is there, or may be at run time.
func (p *Plan) hasProgram(u *units.Unit, roots []string) bool {
	program := u.Service.Command[0]
	mounted := slices.ContainsFunc(u.Mounts, func(m units.Mount) bool { return below(program, m.Target) })
	if !path.IsAbs(program) || mounted || u.RootFS.Host && p.mounted(program) {
		return true
	}
	return slices.ContainsFunc(roots, func(root string) bool {
		n := p.system.StatIn(root, program)
		return n != nil && n.Kind() == fsimage.KindRegular && n.Mode&0o111 != 0
	})
}

// hasUser tells whether a user is known in a root file system, or is a number. What
// cannot be read is left for the boot to tell.
func (p *Plan) hasUser(name string, roots []string) bool {
	if name == "" || name == "root" || strings.Trim(name, "0123456789") == "" {
		return true
	}
	for _, root := range slices.Backward(roots) { // the highest layer counts
		n := p.system.StatIn(root, "/etc/passwd")
		if n == nil {
			continue
		}
		text, err := read(n)
		return err != nil || strings.Contains("\n"+text, "\n"+name+":")
	}
	return false
}

// noTargets gives the targets of mounts that are not there and that berthd cannot
// make, as the root file system is read-only.
func (p *Plan) noTargets(u *units.Unit, roots []string) []string {
	var out []string
	for _, m := range u.Mounts {
		inside := slices.ContainsFunc(u.Mounts, func(o units.Mount) bool { return o.Target != m.Target && below(m.Target, o.Target) })
		found := slices.ContainsFunc(roots, func(root string) bool { return p.system.StatIn(root, m.Target) != nil })
		fixed := slices.ContainsFunc(runtimeDirs, func(dir string) bool { return below(m.Target, dir) && m.Target != dir })
		if !inside && !found && !fixed {
			out = append(out, m.Target)
		}
	}
	return out
}

// there tells whether a path of the machine is in the image, or may be at run time.
func (p *Plan) there(path string) bool {
	at := p.inImage(path)
	return p.mounted(at) || p.system.Stat(at) != nil
}

// mounted tells whether something is mounted over a path at run time.
func (p *Plan) mounted(at string) bool {
	return slices.ContainsFunc(slices.Concat(runtimeDirs, p.mounts), func(dir string) bool { return below(at, dir) })
}

// below tells whether a path is a directory or in it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// checkState warns of what the units keep, where it cannot be kept.
func (p *Plan) checkState() error {
	dir := p.settings.StateDir
	if !p.mounted(dir) {
		switch p.options.Format {
		case Squashfs:
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s is on the read-only root file system: volumes and log files cannot be written. Mount something there with --fstab", dir))
		case Initramfs:
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s is in memory: volumes and log files are gone at power-off. Mount a disk there with --fstab", dir))
		}
	}
	if paths := p.system.Xattrs(); len(paths) > 0 && p.options.Format == Initramfs {
		if !p.options.DropXattrs {
			return fmt.Errorf("/%s and %d more files have extended attributes (such as capabilities), which an initramfs cannot hold: choose another --format, or leave them out with --drop-xattrs", paths[0], len(paths)-1)
		}
		for _, e := range p.system.Entries() {
			e.Xattrs = nil
		}
	}
	return nil
}

// read gives the text of a regular file, which is not read beyond 1 MiB; nil is none.
func read(n *fsimage.Inode) (string, error) {
	if n == nil || n.Open == nil || n.Kind() != fsimage.KindRegular {
		return "", nil
	}
	f, err := n.Open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(text), err
}
