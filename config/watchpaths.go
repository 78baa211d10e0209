package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// WatchPaths is Watch for any files and directories, which need not exist: it
// tells when one of them, an entry of one that is a directory, or a directory or
// link on the way to one may have changed. PathStamp tells which. Dirs are the
// paths, absolute.
func WatchPaths(ctx context.Context, o WatchOptions) (<-chan struct{}, error) {
	if len(o.Dirs) == 0 {
		return nil, errors.New("cannot watch paths: there are none")
	}
	return follow(ctx, &watcher{WatchOptions: o, what: "the watched paths", look: surveyPaths, print: stampPaths, every: true})
}

// surveyPaths lists everything that decides what is at the paths.
func surveyPaths(paths []string) interest {
	i := interest{}
	for _, path := range paths {
		real := i.follow(path)
		if real == "" {
			continue
		}
		if info, err := os.Stat(real); err == nil && info.IsDir() {
			i.add(real, anyEntry)
		}
	}
	return i
}

func stampPaths(paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		b.WriteString(PathStamp(path))
	}
	return b.String()
}

// PathStamp is a digest of the file that a path leads to, or of a directory and
// its entries, as far as the file system tells without opening files: it is
// another one when something has changed.
func PathStamp(path string) string {
	var b strings.Builder
	stamp(&b, path)
	// What a directory's own times say, its entries say too.
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return b.String()
	}
	b.Reset()
	entries, err := os.ReadDir(path)
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		stamp(&b, filepath.Join(path, e.Name()))
	}
	return b.String()
}
