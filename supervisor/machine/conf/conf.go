// Package conf is what the readers of a machine's configuration files share:
// drop-in directories with their precedence, one kind of problem with its place,
// and files inside a root directory.
//
// sysctl.d(5), modules-load.d(5), modprobe.d(5) and tmpfiles.d(5) are all read
// this way; the packages beside this one know what is in the files.
package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// maxFile bounds what is read of one file of configuration, in bytes.
const maxFile = 1 << 20

// Problem is one thing in a file, or about a system call that a line of it led
// to, that somebody should know of.
type Problem struct {
	File string // as an operator would name it; "" if it is about no file
	Line int    // from 1; 0 if it is about the whole file
	What string // "cannot do X: cause"
	Try  string // what to try, or ""
	// Minor: all that was asked for is done, or it was asked that a failure be
	// ignored. It is told, and is no reason to call the duty failed.
	Minor bool
}

// String gives a problem in one line, its place first.
func (p Problem) String() string {
	s := p.What
	switch {
	case p.File != "" && p.Line > 0:
		s = fmt.Sprintf("%s:%d: %s", p.File, p.Line, s)
	case p.File != "":
		s = p.File + ": " + s
	}
	if p.Try != "" {
		s += "; " + p.Try
	}
	return s
}

// Problems are in the order in which they were found.
type Problems []Problem

// Err tells of all problems that are not minor, nil if there are none.
func (p Problems) Err() error {
	var errs []error
	for _, one := range p {
		if !one.Minor {
			errs = append(errs, errors.New(one.String()))
		}
	}
	return errors.Join(errs...)
}

// File is a file that was read.
type File struct {
	Path string // inside the root, absolute
	Text string
}

// Directories gives the places of drop-in files called name ("sysctl.d"), the one
// that wins first: what the administrator writes, what is there until the next
// boot, and what packages bring.
func Directories(name string) []string {
	return []string{"/etc/" + name, "/run/" + name, "/usr/local/lib/" + name, "/usr/lib/" + name}
}

// DropIns reads all files *.conf in the directories. A file in an earlier
// directory takes the place of one of the same name in a later one, and one that
// is empty or a link to /dev/null switches it off so. They come in the order of
// their names, whatever directory they are in. Directories that are not there are
// passed over. Files whose name begins with a dot are not read.
func (r *Root) DropIns(dirs []string) ([]File, Problems) {
	var problems Problems
	from := map[string]string{}
	for _, dir := range dirs {
		entries, err := r.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, Problem{File: dir, What: "cannot list the directory: " + err.Error()})
		}
		for _, name := range entries {
			if strings.HasSuffix(name, ".conf") && !strings.HasPrefix(name, ".") && from[name] == "" {
				from[name] = dir + "/" + name
			}
		}
	}
	var files []File
	for _, name := range sortedKeys(from) {
		text, err := r.ReadFile(from[name], maxFile)
		switch {
		case errors.Is(err, ErrNotRegular), errors.Is(err, fs.ErrNotExist): // masked; a link to nowhere
		case err != nil:
			problems = append(problems, Problem{File: from[name], What: "cannot read the file: " + err.Error()})
		default:
			files = append(files, File{Path: from[name], Text: text})
		}
	}
	return files, problems
}

// Single reads one file that may be missing; there is then none.
func (r *Root) Single(path string) ([]File, Problems) {
	text, err := r.ReadFile(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrNotRegular):
		return nil, nil
	case err != nil:
		return nil, Problems{{File: path, What: "cannot read the file: " + err.Error()}}
	}
	return []File{{Path: path, Text: text}}, nil
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
