package fsimage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var when = time.Unix(1700000000, 0)

// sample is a tree with one of everything.
func sample(t *testing.T) *Tree {
	t.Helper()
	tree := New()
	add := func(path string, n *Inode) *Inode {
		t.Helper()
		n.ModTime = when
		if err := tree.Add(path, n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	owned := func(n *Inode, uid, gid uint32) *Inode {
		n.UID, n.GID = uid, gid
		return n
	}
	add("usr", Directory(0o755))
	add("usr/bin", Directory(0o755))
	add("bin", Link("usr/bin"))
	shell := add("bin/sh", Text("a shell\n", 0o755)) // through the link
	add("usr/bin/bash", shell)
	add("usr/bin/rbash", shell)
	ping := Text("a ping\n", 0o755)
	ping.Xattrs = map[string][]byte{"security.capability": {1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
	add("usr/bin/ping", ping)
	much := Text("much is said of it\n", 0o640)
	much.Xattrs = map[string][]byte{"user.long": bytes.Repeat([]byte("x"), 120), "user.empty": {}, "trusted.note": []byte("yes")}
	add("srv/much", owned(much, 100000, 70000))
	add("dev/null", Device(KindChar, 0o666, 1, 3))
	add("dev/vda", owned(Device(KindBlock, 0o660, 254, 300), 0, 6))
	add("run/pipe", &Inode{Mode: KindFIFO | 0o600})
	add("tmp", Directory(0o1777))
	add("etc/long", Link("/"+strings.Repeat("long/", 40)+"end"))
	add("etc/empty", Text("", 0o600))
	add("late", Text("after 2038\n", 0o644)).ModTime = time.Unix(4000000000, 0)
	random := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	holes := append(append(bytes.Clone(random[:10000]), make([]byte, 600<<10)...), random[10000:300<<10]...)
	add("srv/holes", owned(Bytes(holes, 0o644), 33, 33))
	add("srv/random", Bytes(random, 0o644))
	add("srv/text", Text(strings.Repeat("the same line again\n", 30000), 0o644))
	add("srv/hole", &Inode{Mode: KindRegular | 0o644, Size: 300000})
	linked := add("srv/links/000", Text("", 0o644))
	for i := range 600 { // of one inode, so that nothing else ends a run of entries
		add(fmt.Sprintf("srv/links/%03d", i), linked)
	}
	pieces := make([]byte, 1000*8192)
	for i := range 1000 {
		pieces[i*8192] = byte(i | 1)
	}
	add("srv/pieces", Bytes(pieces, 0o644))
	add("srv/few-pieces", Bytes(pieces[:20*8192], 0o644))
	for i := range 1500 {
		add(fmt.Sprintf("srv/many/a file with quite a long name, number %04d", i), Text(fmt.Sprint(i), 0o644))
	}
	return tree
}

// manifest tells all that a tree holds, as the tests compare it.
func manifest(t *testing.T, tree *Tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, n := range tree.nodes() {
		if n.Kind() != KindRegular {
			continue
		}
		var b bytes.Buffer
		if err := n.contents(n.path, &b); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b.Bytes())
		out[n.path] = hex.EncodeToString(sum[:])
	}
	return out
}

// tool runs a program of the machine that reads images.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatalf("%v (make test installs it where apt is)", err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// golden holds a listing to the one that was looked at.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// sameFiles compares the files that a tool has unpacked with those of the tree.
func sameFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	for name, sum := range want {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != sum {
			t.Errorf("%s has other contents", name)
		}
	}
}

func create(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestExt4(t *testing.T) {
	tree := sample(t)
	f := create(t, "root.ext4")
	if err := tree.WriteExt4(f, Ext4{Label: "sample"}); err != nil {
		t.Fatal(err)
	}
	tool(t, "e2fsck", "-fn", f.Name())
	out := t.TempDir()
	tool(t, "debugfs", "-R", "rdump / "+out, f.Name())
	sameFiles(t, out, manifest(t, tree))
	var text strings.Builder
	for _, path := range []string{"/", "/usr/bin/rbash", "/usr/bin/ping", "/srv/much", "/dev/vda", "/dev/null", "/run/pipe", "/tmp", "/etc/long", "/late", "/srv/holes", "/srv/hole"} {
		fmt.Fprintf(&text, "== %s\n%s", path, tool(t, "debugfs", "-R", "stat "+path, f.Name()))
	}
	for _, key := range []string{"user.long", "user.empty", "trusted.note"} {
		fmt.Fprintf(&text, "== %s\n%s", key, tool(t, "debugfs", "-R", "ea_get /srv/much "+key, f.Name()))
	}
	listing := strings.NewReplacer("debugfs 1.47.0 (5-Feb-2023)\n", "").Replace(text.String())
	golden(t, "ext4.txt", listing)
}

// A file system of several groups, filled to the brim and beyond.
func TestExt4Large(t *testing.T) {
	tree := New()
	chunk := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(chunk)
	for i := range 40 {
		n := Bytes(bytes.Repeat(chunk, 7), 0o644)
		if err := tree.Add(fmt.Sprintf("file%d", i), n); err != nil {
			t.Fatal(err)
		}
	}
	f := create(t, "root.ext4")
	if err := tree.WriteExt4(f, Ext4{Size: 400<<20 + 1234567}); err != nil {
		t.Fatal(err)
	}
	tool(t, "e2fsck", "-fn", f.Name())
	err := tree.WriteExt4(create(t, "small"), Ext4{Size: 200 << 20})
	if err == nil || !strings.Contains(err.Error(), "do not fit") {
		t.Errorf("280 MiB in 200: %v", err)
	}
}

// The least that is written is sound, and what is less is refused.
func TestExt4Sizes(t *testing.T) {
	for _, size := range []int64{MinExt4, 129 << 20, 128<<20 + 4096*60, 3 << 30} {
		f := create(t, "root.ext4")
		if err := New().WriteExt4(f, Ext4{Size: size}); err != nil {
			t.Fatal(err)
		}
		tool(t, "e2fsck", "-fn", f.Name())
	}
	if err := New().WriteExt4(create(t, "less"), Ext4{Size: MinExt4 - 1}); err == nil {
		t.Error("a file system that is too small was written")
	}
}

func TestSquashfs(t *testing.T) {
	tree := sample(t)
	f := create(t, "root.squashfs")
	if err := tree.WriteSquashfs(f); err != nil {
		t.Fatal(err)
	}
	golden(t, "squashfs.txt", shortened(tool(t, "unsquashfs", "-lln", f.Name())))
	if os.Getuid() != 0 {
		t.Skip("unpacking devices needs root")
	}
	out := filepath.Join(t.TempDir(), "out")
	tool(t, "unsquashfs", "-no-progress", "-d", out, f.Name())
	sameFiles(t, out, manifest(t, tree))
	root, err := os.OpenRoot(out)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	back := New()
	if err := back.AddDir("/", root); err != nil {
		t.Fatal(err)
	}
	sameTrees(t, tree, back)
}

func TestCpio(t *testing.T) {
	tree := sample(t)
	f := create(t, "initramfs")
	if err := tree.WriteCpio(f); err == nil || !strings.Contains(err.Error(), "attributes") {
		t.Errorf("attributes in an initramfs: %v", err)
	}
	for _, path := range tree.Xattrs() {
		tree.Lookup(path).Xattrs = nil
	}
	f = create(t, "initramfs")
	if err := tree.WriteCpio(f); err != nil {
		t.Fatal(err)
	}
	golden(t, "cpio.txt", shortened(tool(t, "cpio", "-tvn", "--quiet", "-F", f.Name())))
	if os.Getuid() != 0 {
		t.Skip("unpacking devices needs root")
	}
	out := t.TempDir()
	tool(t, "cpio", "-idm", "--no-absolute-filenames", "--quiet", "-D", out, "-F", f.Name())
	sameFiles(t, out, manifest(t, tree))
	root, err := os.OpenRoot(out)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	back := New()
	if err := back.AddDir("/", root); err != nil {
		t.Fatal(err)
	}
	sameTrees(t, tree, back)
}

// An archive that tar(1) made of what unsquashfs has unpacked is the same tree.
func TestTar(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("unpacking devices needs root")
	}
	tree := sample(t)
	f := create(t, "root.squashfs")
	if err := tree.WriteSquashfs(f); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tool(t, "unsquashfs", "-no-progress", "-d", dir+"/out", f.Name())
	tool(t, "tar", "--create", "--file", dir+"/root.tar", "--xattrs", "--xattrs-include=*", "-C", dir+"/out", ".")
	archive, err := os.Open(dir + "/root.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	back := New()
	if err := back.AddTar("/", archive); err != nil {
		t.Fatal(err)
	}
	sameTrees(t, tree, back)
	if diff := cmp.Diff(manifest(t, tree), manifest(t, back)); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
	below := New()
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := below.AddTar("/srv/root", archive); err != nil || below.StatIn("/srv/root", "/bin/sh") == nil || below.Lookup("bin/sh") != nil {
		t.Errorf("below a directory: %v", err)
	}
}

// shortened leaves out most of the directories with many files.
func shortened(listing string) string {
	var out strings.Builder
	for line := range strings.Lines(listing) {
		many := strings.Contains(line, "quite a long name") && !strings.Contains(line, "number 0007") || strings.Contains(line, "srv/links/") && !strings.Contains(line, "links/599")
		if !many {
			out.WriteString(line)
		}
	}
	return out.String()
}

// sameTrees compares all but the contents.
func sameTrees(t *testing.T, want, got *Tree) {
	t.Helper()
	list := func(tree *Tree) map[string]string {
		out := map[string]string{}
		first := map[*Inode]string{}
		for _, e := range tree.Entries() {
			if e.Path == "" || e.Path == "lost+found" {
				continue
			}
			if first[e.Inode] == "" {
				first[e.Inode] = e.Path
			}
			xattrs := fmt.Sprintf("%x", e.Xattrs)
			if len(e.Xattrs) == 0 {
				xattrs = ""
			}
			seconds := uint32(0)
			if !e.ModTime.IsZero() && e.Kind() != KindDir && e.Kind() != KindLink {
				seconds = e.seconds()
			}
			out[e.Path] = fmt.Sprintf("%o %d:%d %d:%d %q %d %s %d %s", e.Mode, e.UID, e.GID, e.Major, e.Minor, e.Target, e.Size, first[e.Inode], seconds, xattrs)
		}
		return out
	}
	if diff := cmp.Diff(list(want), list(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The same tree gives the same bytes, and another one others.
func TestReproducible(t *testing.T) {
	write := map[string]func(*Tree, *os.File) error{
		"cpio":     func(tree *Tree, f *os.File) error { return tree.WriteCpio(f) },
		"ext4":     func(tree *Tree, f *os.File) error { return tree.WriteExt4(f, Ext4{}) },
		"squashfs": func(tree *Tree, f *os.File) error { return tree.WriteSquashfs(f) },
	}
	for kind, write := range write {
		sum := func(change bool) string {
			tree := sample(t)
			if kind == "cpio" {
				for _, path := range tree.Xattrs() {
					tree.Lookup(path).Xattrs = nil
				}
			}
			if change {
				tree.Lookup("etc/empty").UID = 1
			}
			f := create(t, kind)
			if err := write(tree, f); err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(h, f); err != nil {
				t.Fatal(err)
			}
			return hex.EncodeToString(h.Sum(nil))
		}
		first := sum(false)
		if sum(false) != first {
			t.Errorf("%s: other bytes of the same tree", kind)
		}
		if sum(true) == first {
			t.Errorf("%s: the same bytes of another tree", kind)
		}
	}
}

func TestAdd(t *testing.T) {
	tree := New()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(tree.Add("/lib", Link("usr/lib")))
	must(tree.Add("/lib/modules/x", Text("x", 0o644)))
	if tree.Lookup("usr/lib/modules/x") == nil || tree.Lookup("lib/modules/x") == nil {
		t.Error("a link on the way is not followed")
	}
	must(tree.Add("/up", Link("../../..//lib")))
	if n := tree.Stat("up/modules/x"); n == nil || n.Size != 1 {
		t.Error("a link that leads above the root does not end at it")
	}
	must(tree.Add("/a", Link("b")))
	must(tree.Add("/b", Link("a")))
	if err := tree.Add("/a/c", Text("", 0o644)); err == nil {
		t.Error("links in a circle are followed for ever")
	}
	if err := tree.Add("/lib/modules/x/y", Text("", 0o644)); err == nil {
		t.Error("a file is taken for a directory")
	}
	if err := tree.Add("/usr", Text("", 0o644)); err == nil {
		t.Error("a directory was replaced by a file")
	}
	must(tree.Add("/usr", Directory(0o700)))
	if n := tree.Lookup("usr"); n.Mode != KindDir|0o700 || tree.Lookup("usr/lib/modules/x") == nil {
		t.Error("a directory that is added again lost what is in it")
	}
}

// A file that changes while the image is written is told, and not padded.
func TestSizeChanges(t *testing.T) {
	for _, size := range []int64{2, 8} {
		tree := New()
		n := Text("12345", 0o644)
		n.Size = size
		if err := tree.Add("f", n); err != nil {
			t.Fatal(err)
		}
		if err := tree.WriteCpio(io.Discard); err == nil || !strings.Contains(err.Error(), "size changed") {
			t.Errorf("5 bytes for %d: %v", size, err)
		}
	}
}
