package seccomp

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
)

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "filters")
	files := Files{Dir: dir}
	const text = `{"defaultAction": "SCMP_ACT_ALLOW"}`
	want := Kept{[]byte("12345678"), 7, []string{"fly", "swim"}}
	kept := func(n int) []os.DirEntry {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != n {
			t.Fatalf("%d files are kept, want %d (%v)", len(entries), n, err)
		}
		return entries
	}
	if _, ok := files.Read(text); ok {
		t.Error("it is kept before it was written")
	}
	files.Write(text, want)
	if got, ok := files.Read(text); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("kept is %v, %v", got, ok)
	}
	file := filepath.Join(dir, kept(1)[0].Name())
	same := func() {
		t.Helper()
		if got, ok := files.Read(text); ok {
			t.Errorf("kept is %v", got)
		}
		files.Write(text, want)
		if got, ok := files.Read(text); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("kept is %v, %v", got, ok)
		}
	}
	// Not one of another profile, whose name is the same.
	name, content := files.file(text)
	if name != file {
		t.Errorf("the file is %s, want %s", name, file)
	}
	content[len(content)-20] ^= 1
	writeFilter(file, content, want)
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
		files.Write(strconv.Itoa(i), want)
	}
	kept(1) // all but the last have gone
}

// TestFilesOfOthers holds that nothing is read from where others can write.
func TestFilesOfOthers(t *testing.T) {
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
		files := Files{Dir: dir}
		files.Write("text", Kept{Filter: []byte("12345678")})
		if _, ok := files.Read("text"); ok {
			t.Errorf("%s: it is used", name)
		}
	}
	if f, _ := (Files{}).file("text"); f != "" {
		t.Errorf("without a directory it is %s", f)
	}
}
