package tmpfiles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"berth/isolate/user"
	"berth/supervisor/machine/conf"

	"golang.org/x/sys/unix"
)

// worker does items in one root directory. It is for one goroutine.
type worker struct {
	ctx    context.Context
	dir    *conf.Root
	owners map[string]int // "u name" and "g name", looked up before
	strict bool           // the kernel lets anybody link to others' files
}

// Read reads all files of a machine.
func Read(root *conf.Root) ([]Item, conf.Problems) {
	files, problems := root.DropIns(conf.Directories("tmpfiles.d"))
	specifier := specifiers(root)
	var items []Item
	for _, f := range files {
		more, p := Parse(f.Path, f.Text, specifier)
		items, problems = append(items, more...), append(problems, p...)
	}
	return items, problems
}

// Apply does what the files of a machine with the root directory root ("/") ask
// for. One line that fails stops no other. It ends early with ctx. A second time
// it does what has not been done; what r, R and D remove it removes again, so it
// is called once a boot, before services run. It needs /proc.
func Apply(ctx context.Context, root string) conf.Problems {
	dir, err := conf.OpenRoot(root)
	if err != nil {
		return conf.Problems{{What: err.Error()}}
	}
	defer dir.Close()
	items, problems := Read(dir)
	remove, create, change, more := Plan(items)
	problems = append(problems, more...)
	w := &worker{ctx: ctx, dir: dir, owners: map[string]int{}}
	protected, err := dir.ReadFile("/proc/sys/fs/protected_hardlinks", 16)
	w.strict = err != nil || strings.TrimSpace(protected) == "0"
	do := func(items []Item, what string, act func(*Item) error) {
		for i := range items {
			item := &items[i]
			err := ctx.Err()
			if err == nil {
				err = act(item)
			}
			if err != nil {
				problems = append(problems, failure(item, what, err))
			}
		}
	}
	do(remove, "remove", w.removeItem)
	do(create, "make", w.createItem)
	do(change, "change", w.changeItem)
	return problems
}

// failure tells what an item has come to.
func failure(i *Item, what string, err error) conf.Problem {
	p := conf.Problem{File: i.File, Line: i.Line, Minor: i.Try, What: fmt.Sprintf("cannot %s %s: %v", what, i.Path, err)}
	var unsafe *unsafeError
	switch {
	case errors.As(err, &unsafe):
		p.Try = "let root own the directories and links on the way"
	case errors.Is(err, unix.EROFS):
		p.Try = "mount a file system that can be written there, or make it when the image is made"
	}
	return p
}

// each runs act on what a path or pattern names, each opened safely anew.
func (w *worker) each(pattern string, act func(*place, string) error) error {
	var errs []error
	for _, p := range w.glob(pattern) {
		at, err := w.find(p)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err == nil {
			err = act(at, p)
			at.close()
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// glob gives the paths that match a pattern as glob(7) has it, with braces. They
// are names only: nothing of the way to them is trusted.
func (w *worker) glob(pattern string) []string {
	var all []string
	for _, p := range braces(pattern) {
		paths := []string{""}
		for part := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
			var next []string
			for _, dir := range paths {
				next = append(next, w.names(dir, part)...)
			}
			paths = next
		}
		all = append(all, paths...)
	}
	return all
}

// names gives the paths in a directory that match one part of a pattern.
func (w *worker) names(dir, part string) []string {
	if !strings.ContainsAny(part, "*?[") {
		return []string{dir + "/" + part}
	}
	names, err := w.dir.ReadDir(dir + "/")
	if err != nil {
		return nil
	}
	sort.Strings(names)
	var paths []string
	for _, n := range names {
		if ok, err := path.Match(part, n); err == nil && ok && (n[0] != '.' || part[0] == '.') {
			paths = append(paths, dir+"/"+n)
		}
	}
	return paths
}

// maxBraces bounds what the braces of one pattern can stand for.
const maxBraces = 256

// braces gives what {a,b} in a pattern stands for.
func braces(pattern string) []string {
	list := []string{pattern}
	for i := 0; i < len(list) && len(list) < maxBraces; {
		open := strings.IndexByte(list[i], '{')
		end := strings.IndexByte(list[i][max(open, 0):], '}')
		if open < 0 || end < 0 {
			i++
			continue
		}
		before, inside, after := list[i][:open], list[i][open+1:open+end], list[i][open+end+1:]
		var all []string
		for alternative := range strings.SplitSeq(inside, ",") {
			all = append(all, before+alternative+after)
		}
		list = append(list[:i:i], append(all, list[i+1:]...)...)
	}
	return list
}

// uid gives the id that an owner has, -1 for one that is not named.
func (w *worker) uid(o Owner) (int, error) {
	return w.id("u", o, func() (uint32, error) {
		u, err := user.Lookup(w.dir.FD(), o.Name, "", nil)
		if err != nil {
			return 0, err
		}
		return u.UID, nil
	})
}

func (w *worker) gid(o Owner) (int, error) {
	return w.id("g", o, func() (uint32, error) {
		u, err := user.Lookup(w.dir.FD(), "0", o.Name, nil)
		if err != nil {
			return 0, err
		}
		return u.GID, nil
	})
}

func (w *worker) id(kind string, o Owner, look func() (uint32, error)) (int, error) {
	if o.Name == "" {
		return -1, nil
	}
	if id, ok := w.owners[kind+" "+o.Name]; ok {
		return id, nil
	}
	id, err := look()
	if err != nil {
		return 0, err
	}
	w.owners[kind+" "+o.Name] = int(id)
	return int(id), nil
}

// missing tells whether an error is that something is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }
