package isolate

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// swap exchanges two names again and again until stop is called.
func swap(names ...[2]string) (stop func()) {
	done := make(chan struct{})
	var swapping sync.WaitGroup
	for _, n := range names {
		swapping.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					unix.Renameat2(unix.AT_FDCWD, n[0], unix.AT_FDCWD, n[1], unix.RENAME_EXCHANGE)
				}
			}
		})
	}
	return func() {
		close(done)
		swapping.Wait()
	}
}

// listing tells all there is below a directory, with owners and modes.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		b.WriteString(strings.TrimPrefix(p, dir))
		b.WriteString(" " + os.FileMode(st.Mode).String() + " " + strings.Repeat("x", int(st.Uid)) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Somebody who can write to the root file system and to a volume in it has names
// there change places with links out of it, while containers are made: under
// the mounts that are built in, under further ones, and where directories are made.
func TestNamesChangePlacesDuringTheStart(t *testing.T) {
	needRoot(t)
	const starts = 300
	outside := t.TempDir()
	for _, d := range []string{"self", "sys", "fd", "deep/target", "pts", "secret"} {
		os.MkdirAll(filepath.Join(outside, d), 0o755)
	}
	write(t, filepath.Join(outside, "secret/file"), "secret\n")

	// Whoever changes names goes on when the container is up, so that its own paths
	// lead nowhere; but where there is a procfs its masks are on it.
	spec := pathSpec(t, `
		head -c 1 /proc/kcore 2>/dev/null | grep -q . && echo "no mask"
		(echo x >/proc/sys/kernel/domainname) 2>/dev/null && echo "sysctl written"
		exit 0`)
	root, shared := spec.RootFS.Path, t.TempDir()
	spec.RootFS.Writable = Direct
	link := func(p string) [2]string {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, p+".link"); err != nil {
			t.Fatal(err)
		}
		return [2]string{p, p + ".link"}
	}
	names := [][2]string{
		link(filepath.Join(root, "a")), link(filepath.Join(root, "work")), link(filepath.Join(shared, "deep")),
		link(filepath.Join(root, "proc")), link(filepath.Join(root, "dev")), link(filepath.Join(root, "sys")),
	}
	volume := t.TempDir()
	spec.Mounts = append(spec.Mounts,
		Mount{Type: Bind, Source: shared, Target: "/shared"},
		Mount{Type: Tmpfs, Target: "/shared/deep/target", User: "daemon"},
		Mount{Type: Volume, Source: filepath.Join(volume, "v"), Target: "/a/deep/target", User: "daemon"},
		Mount{Type: Bind, Source: "/etc", Target: "/a/new/directory"},
		Mount{Type: Bind, Source: "/etc/hostname", Target: "/a/new/file"})
	write(t, filepath.Join(root, "etc/passwd"), "daemon:x:1:1::/:/bin/sh\n")
	write(t, filepath.Join(root, "etc/group"), "daemon:x:1:\n")
	spec.MaskedPaths, spec.ReadonlyPaths = []string{"/a/secret", "/a/secret/file"}, []string{"/shared/deep"}
	spec.Process.Dir = "/work"

	os.MkdirAll(filepath.Join(shared, "deep/target"), 0o755)
	os.MkdirAll(filepath.Join(outside, "target"), 0o755)
	before := listing(t, outside)
	equal(t, "in peace", run(t, spec), "")

	up := 0
	try := func(swapped ...[2]string) {
		// What was made is made again; "a" may be the link by now.
		for _, made := range []string{"a/deep", "a/new", "a.link/deep", "a.link/new"} {
			if dir := filepath.Join(root, made); filepath.Dir(dir) != mustEval(t, filepath.Dir(dir)) {
				continue
			} else if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		stop := swap(swapped...)
		defer stop()
		for range starts / (len(names) + 1) {
			out, ws, err := start(t, spec, Files{})
			if err != nil {
				continue // refused
			}
			if up++; ws != 0 || strings.Contains(out, "no mask") || strings.Contains(out, "written") {
				t.Errorf("it ended with %#x: %s", uint32(ws), out)
			}
		}
	}
	// One after the other, so that each is come to, and all at once.
	for _, n := range names {
		try(n)
	}
	try(names...)
	t.Logf("%d of %d starts came through", up, starts)
	if after := listing(t, outside); after != before {
		t.Errorf("outside there was\n%s\nand is\n%s", before, after)
	}
	if data, err := os.ReadFile(filepath.Join(outside, "secret/file")); err != nil || string(data) != "secret\n" {
		t.Errorf("outside: %q, %v", data, err)
	}
}

func mustEval(t *testing.T, p string) string {
	t.Helper()
	p, err := filepath.EvalSymlinks(p)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
