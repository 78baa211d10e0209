package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/units"
)

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	web := put("web.toml", "[unit]\nrequires = ['not-here']\n[service]\ncommand = ['/bin/a']\nenvironment-files = ['./env']\n[rootfs]\nhost = true\n[cgroup]\npids-max = 1\n")
	put("web.toml.d/10.toml", "[cgroup]\npids-max = 2\nmemory-max = '1M'\n")
	put("broken.toml", "[service]\ncomand = 1\n") // a neighbour's faults are not ours
	u, diags, err := LoadFile(web, units.Source{Path: "(more)", Text: []byte("[cgroup]\nmemory-max = '2M'\n")})
	if err != nil || diags.HasErrors() {
		t.Fatal(err, diags)
	}
	if u.Name != "web" || *u.Cgroup.PidsMax != 2 || *u.Cgroup.MemoryMax != 2<<20 || u.Service.EnvironmentFiles[0] != filepath.Join(dir, "env") {
		t.Errorf("%+v %v", u.Cgroup, u.Service.EnvironmentFiles)
	}
	if _, diags, err := LoadFile(filepath.Join(dir, "broken.toml")); err != nil || !diags.HasErrors() {
		t.Errorf("a faulty file: %v %v", diags, err)
	}
	writable := put("writable.toml", "[service]\ncommand = ['/bin/a']\n[rootfs]\nhost = true\n")
	if err := os.Chmod(writable, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, diags, err := LoadFile(writable); err != nil || !diags.HasErrors() {
		t.Errorf("a file that everybody may write: %v %v", diags, err)
	}
	for name, want := range map[string]string{
		"none.toml": "no such file", "web.conf": "ends in .toml", "Web!.toml": "no name of a unit", "w@.toml": "template",
	} {
		if _, _, err := LoadFile(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
