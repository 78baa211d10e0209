package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files below a new root; a text that begins with "->" is a link.
func tree(t *testing.T, files map[string]string) *Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestDropIns(t *testing.T) {
	r := tree(t, map[string]string{
		"etc/x.d/20-b.conf":        "etc b",
		"usr/lib/x.d/20-b.conf":    "usr b",
		"usr/lib/x.d/10-a.conf":    "usr a",
		"run/x.d/10-a.conf":        "run a",
		"usr/local/lib/x.d/5.conf": "local",
		"usr/lib/x.d/30-off.conf":  "never",
		"etc/x.d/30-off.conf":      "->/dev/null",
		"usr/lib/x.d/40.conf~":     "never",
		"usr/lib/x.d/.41.conf":     "never",
		// A link is followed inside the root, also one that begins with a slash.
		"etc/x.d/50.conf": "->/usr/share/fifty",
		"usr/share/fifty": "fifty",
		"etc/x.d/60.conf": "->../../../../../../../../../../etc/only-inside",
		"etc/only-inside": "inside",
		"etc/x.d/70.conf": "->/nowhere",
	})
	files, problems := r.DropIns(Directories("x.d"))
	if len(problems) > 0 {
		t.Error(problems)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Path+"="+f.Text)
	}
	want := "/run/x.d/10-a.conf=run a /etc/x.d/20-b.conf=etc b /usr/local/lib/x.d/5.conf=local /etc/x.d/50.conf=fifty /etc/x.d/60.conf=inside"
	if want = strings.ReplaceAll(want, " /", "\n/"); strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

func TestReadFile(t *testing.T) {
	r := tree(t, map[string]string{"big": strings.Repeat("x", 100)})
	if _, err := r.ReadFile("/big", 99); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a file over the bound: %v", err)
	}
	if s, err := r.ReadFile("big", 100); err != nil || len(s) != 100 {
		t.Errorf("%d bytes, %v", len(s), err)
	}
}

func TestProblem(t *testing.T) {
	p := Problems{{File: "/etc/x", Line: 3, What: "cannot do it", Try: "try that"}, {What: "told", Minor: true}}
	if got := p.Err().Error(); got != "/etc/x:3: cannot do it; try that" {
		t.Error(got)
	}
	if err := p[1:].Err(); err != nil {
		t.Error(err)
	}
}
