package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatchPaths: each change is told and has another stamp, and what is beside
// the paths is not told.
func TestWatchPaths(t *testing.T) {
	dir := realTemp(t)
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) func() {
		return func() { t.Helper(); must(os.WriteFile(path, []byte(text), 0o644)) }
	}
	write(at("file"), "1")()
	must(os.Mkdir(at("dir"), 0o755))
	must(os.Mkdir(at("one"), 0o755))
	must(os.Mkdir(at("two"), 0o755))
	write(at("two", "key"), "2")()
	must(os.Symlink("one", at("link")))
	paths := []string{at("file"), at("dir"), at("link", "key"), at("deep", "er", "file")}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, err := WatchPaths(ctx, WatchOptions{Dirs: paths, Settle: testSettle, Log: t.Logf})
	must(err)
	stamps := map[string]string{}
	for _, p := range paths {
		stamps[p] = PathStamp(p)
	}
	for _, c := range []struct {
		what string
		path int
		do   func()
	}{
		{"written", 0, write(at("file"), "12")},
		{"removed", 0, func() { must(os.Remove(at("file"))) }},
		{"made", 0, write(at("file"), "1")},
		{"replaced", 0, func() { write(at("new"), "1")(); must(os.Rename(at("new"), at("file"))) }},
		{"chmod", 0, func() { must(os.Chmod(at("file"), 0o600)) }},
		{"entry made", 1, write(at("dir", ".hidden~"), "1")},
		{"entry written", 1, write(at("dir", ".hidden~"), "12")},
		{"entry removed", 1, func() { must(os.Remove(at("dir", ".hidden~"))) }},
		{"directory replaced", 1, func() {
			must(os.Mkdir(at("other"), 0o755))
			write(at("other", "x"), "1")()
			must(os.Rename(at("dir"), at("old")))
			must(os.Rename(at("other"), at("dir")))
		}},
		{"link", 2, func() { must(os.Symlink("two", at("next"))); must(os.Rename(at("next"), at("link"))) }},
		{"behind the link", 2, write(at("two", "key"), "22")},
		{"made with its directories", 3, func() { must(os.MkdirAll(at("deep", "er"), 0o755)); write(at("deep", "er", "file"), "1")() }},
	} {
		c.do()
		deadline := time.After(30 * time.Second)
		if PathStamp(paths[c.path]) == stamps[paths[c.path]] {
			t.Fatalf("%s: the stamp is the same", c.what)
		}
		select {
		case <-ticks:
		case <-deadline:
			t.Fatalf("%s: not told", c.what)
		}
		for i, p := range paths {
			if now := PathStamp(p); now != stamps[p] {
				if i != c.path {
					t.Errorf("%s: %s has changed", c.what, p)
				}
				stamps[p] = now
			}
		}
	}
	cancel()
	for range ticks {
	}
	if _, err := WatchPaths(t.Context(), WatchOptions{}); err == nil {
		t.Error("no paths are watched")
	}
}
