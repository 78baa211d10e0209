package sysctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"berth/supervisor/machine/conf"

	"golang.org/x/sys/unix"
)

// Read reads all files of a machine whose root directory is root.
func Read(root *conf.Root) ([]Setting, conf.Problems) {
	files, problems := root.DropIns(conf.Directories("sysctl.d"))
	// sysctl(8) --system reads it last. Where a distribution links to it from
	// sysctl.d too it is read twice, which changes nothing.
	last, more := root.Single("/etc/sysctl.conf")
	problems = append(problems, more...)
	var settings []Setting
	for _, f := range append(files, last...) {
		s, more := Parse(f.Path, f.Text)
		settings, problems = append(settings, s...), append(problems, more...)
	}
	return settings, problems
}

// Apply reads the files of a machine whose root directory is root ("/"), and
// writes to /proc/sys what they say. One line that fails stops no other. It ends
// early with ctx. Writing the same twice is harmless.
func Apply(ctx context.Context, root string) conf.Problems {
	dir, err := conf.OpenRoot(root)
	if err != nil {
		return conf.Problems{{What: err.Error()}}
	}
	defer dir.Close()
	settings, problems := Read(dir)
	proc := os.DirFS("/proc/sys")
	list := func(pattern string) []string {
		paths, _ := fs.Glob(proc, pattern) // the pattern was tried by Parse
		return paths
	}
	for _, s := range Plan(settings, list) {
		if ctx.Err() != nil {
			return append(problems, conf.Problem{File: s.File, Line: s.Line, What: "cannot set the rest: " + ctx.Err().Error()})
		}
		if p, ok := failure(s, set(s)); ok {
			problems = append(problems, p)
		}
	}
	return problems
}

// set writes one value. Whatever the path, it stays below /proc/sys: no link is
// followed, and proc has none there.
func set(s Setting) error {
	how := unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	dir, err := os.Open("/proc/sys")
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), s.Path, &how)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), s.Path)
	defer f.Close()
	// One write: the kernel takes each as a whole value.
	n, err := unix.Write(fd, []byte(s.Value+"\n"))
	if err == nil && n <= len(s.Value) {
		err = errors.New("the kernel took only a part of it")
	}
	return err
}

// failure tells of a value that could not be set.
func failure(s Setting, err error) (conf.Problem, bool) {
	if err == nil || s.IgnoreFailure {
		return conf.Problem{}, false
	}
	p := conf.Problem{File: s.File, Line: s.Line,
		What: fmt.Sprintf("cannot set %s to %q: %v", s.Path, s.Value, err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.What = fmt.Sprintf("cannot set %s: this kernel has no such parameter", s.Path)
		p.Try = "load the module that brings it (modules-load.d), or begin the line with - if it may be missing"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		p.Try = "look up what values the parameter takes"
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		p.Try = "the parameter is read-only here; in a container it belongs to the host"
	}
	return p, true
}
