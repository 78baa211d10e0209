package seccomp

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "filters")
	files := Files{Dir: dir}
	profile := &Profile{Default: Verdict{Action: Allow}, Flags: []string{"SECCOMP_FILTER_FLAG_LOG"}, Rules: []Rule{{Names: []string{"mkdir", "swim", "fly"}, Verdict: Verdict{Errno, 13}}}}
	want, wantFlags, err := Compile(profile, Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept := func(n int) []os.DirEntry {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != n {
			t.Fatalf("%d files are kept, want %d (%v)", len(entries), n, err)
		}
		return entries
	}
	same := func() {
		t.Helper()
		got, err := files.Compile(profile, Options{})
		if err != nil || !bytes.Equal(got.Filter, want) || got.Flags != wantFlags || !slices.Equal(got.Unknown, []string{"fly", "swim"}) {
			t.Errorf("the filter has %d bytes, flags %#x and unknown names %q, %v", len(got.Filter), got.Flags, got.Unknown, err)
		}
	}
	same()
	file := filepath.Join(dir, kept(1)[0].Name())
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	same()
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
	// That it is the file that is read: one with another filter and the right checksum.
	o, err := Options{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	name, content := files.file(profile, o)
	if name != file {
		t.Errorf("the file is %s, want %s", name, file)
	}
	writeFilter(file, content, Kept{[]byte("12345678"), 7, nil})
	if got, err := files.Compile(profile, Options{}); err != nil || string(got.Filter) != "12345678" || got.Flags != 7 || got.Unknown != nil {
		t.Errorf("the file was not read: %v, %v", got, err)
	}
	// But not one of another profile, whose name is the same.
	content[0] ^= 1
	writeFilter(file, content, Kept{[]byte("12345678"), 7, nil})
	same()
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:10] },
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		func(b []byte) []byte { b[headerSize-1] ^= 1; return b },
		func(b []byte) []byte { return make([]byte, 1<<20) },
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, damage(text), 0o600); err != nil {
			t.Fatal(err)
		}
		same()
		kept(1)
	}
	for i := range maxFiles {
		if _, err := files.Compile(&Profile{Default: Verdict{Action: Errno, Data: uint16(i)}}, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	kept(1) // all but the last have gone
	if _, err := files.Compile(profile, Options{Arch: "vax"}); err == nil {
		t.Error("an architecture that there is not")
	}
}

// TestFilesOfOthers holds that nothing is read from where others can write.
func TestFilesOfOthers(t *testing.T) {
	profile := &Profile{Default: Verdict{Action: Allow}}
	for name, make := range map[string]func(string) error{
		"open":    func(d string) error { return os.Chmod(d, 0o777) },
		"a link":  func(d string) error { os.Remove(d); return os.Symlink(t.TempDir(), d) },
		"a file":  func(d string) error { os.Remove(d); return os.WriteFile(d, nil, 0o600) },
		"foreign": func(d string) error { return os.Chown(d, 4711, 4711) },
	} {
		if name == "foreign" && os.Geteuid() != 0 {
			continue
		}
		dir := filepath.Join(t.TempDir(), strconv.Quote(name))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		if f, _ := (Files{Dir: dir}).file(profile, Options{}); f != "" {
			t.Errorf("%s: it is used", name)
		}
		if kept, err := (Files{Dir: dir}).Compile(profile, Options{}); err != nil || len(kept.Filter) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f, _ := (Files{}).file(profile, Options{}); f != "" {
		t.Errorf("without a directory it is %s", f)
	}
}

func BenchmarkFiles(b *testing.B) {
	files := Files{Dir: filepath.Join(b.TempDir(), "filters")}
	for b.Loop() {
		if _, err := files.Compile(Default(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
