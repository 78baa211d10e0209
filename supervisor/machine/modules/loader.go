package modules

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"berth/supervisor/machine/conf"

	"golang.org/x/sys/unix"
)

// maxIndex bounds what is read of one file of depmod, in bytes.
const maxIndex = 32 << 20

// Loader loads modules of the running kernel from a root directory. It holds the
// whole index in memory: it is opened for a while, and closed. It is for one
// goroutine at a time.
type Loader struct {
	root *conf.Root
	dir  string // where the index is, inside root
	ix   *Index
	cfg  *Config
	done map[string]bool // files that were given to the kernel
}

// Open reads the index of the running kernel's modules below root ("/"), and
// modprobe.d(5). words is the kernel command line. A kernel without modules is
// fine; each is then only asked whether it is built in.
func Open(root string, words []string) (*Loader, conf.Problems, error) {
	dir, err := conf.OpenRoot(root)
	if err != nil {
		return nil, nil, err
	}
	release, err := release()
	if err != nil {
		dir.Close()
		return nil, nil, err
	}
	l := &Loader{root: dir, dir: "/lib/modules/" + release, cfg: NewConfig(), done: map[string]bool{}}
	problems, err := l.read(words)
	if err != nil {
		dir.Close()
		return nil, nil, err
	}
	return l, problems, nil
}

// Close gives the root's descriptor back.
func (l *Loader) Close() { _ = l.root.Close() }

// Any tells whether there are modules at all.
func (l *Loader) Any() bool { return len(l.ix.files) > 0 }

func release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("cannot tell which kernel runs: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

func (l *Loader) read(words []string) (conf.Problems, error) {
	var texts []string
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin"} {
		text, err := l.root.ReadFile(l.dir+"/"+name, maxIndex)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read %s/%s: %w", l.dir, name, err)
		}
		texts = append(texts, text)
	}
	l.ix = ParseIndex(texts[0], texts[1], texts[2], texts[3])
	dirs := append(conf.Directories("modprobe.d"), "/lib/modprobe.d")
	files, problems := l.root.DropIns(dirs)
	for _, f := range files {
		problems = append(problems, l.cfg.Add(f.Path, f.Text)...)
	}
	l.cfg.CommandLine(words)
	if _, err := l.root.ReadDir(l.dir + "/kernel"); err == nil && !l.Any() {
		problems = append(problems, conf.Problem{File: l.dir, What: "cannot find modules: there is no modules.dep", Try: "run depmod when the image is made"})
	}
	return problems, nil
}

// Load loads what a request names, with all that it needs, and tells what went
// wrong. What is there already is fine, whoever loaded it.
func (l *Loader) Load(ctx context.Context, r Request) conf.Problems {
	problem := func(minor bool, what, try string) conf.Problem {
		return conf.Problem{File: r.File, Line: r.Line, What: what, Try: try, Minor: minor}
	}
	var problems conf.Problems
	steps, notes, err := Plan(l.ix, l.cfg, r)
	for _, n := range notes {
		problems = append(problems, problem(true, n, ""))
	}
	for _, s := range steps {
		if ctx.Err() != nil {
			return append(problems, problem(false, "cannot load "+s.Module+": "+ctx.Err().Error(), ""))
		}
		if l.done[s.File] || loaded(s.Module) {
			continue
		}
		l.done[s.File] = true
		err := load(ctx, l.root, l.dir+"/"+strings.TrimPrefix(s.File, "/"), s.Params)
		if err == nil {
			continue
		}
		minor := s.Soft || r.Device && errors.Is(err, unix.ENODEV) // its driver looked, and it is another device
		problems = append(problems, problem(minor, fmt.Sprintf("cannot load the module %s: %v", s.Module, err), hint(err)))
	}
	var unknown *UnknownError
	if errors.As(err, &unknown) && loaded(Normalize(unknown.Name)) {
		err = nil // built into a kernel without an index
	}
	if err != nil {
		problems = append(problems, problem(r.Device, "cannot load "+r.Name+": "+err.Error(), "look for it in "+l.dir))
	}
	return problems
}
