package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestZone(t *testing.T) {
	for name, want := range map[string]*time.Location{"": time.Local, "UTC": time.UTC} {
		if loc, err := Zone(name); loc != want || err != nil {
			t.Errorf("%q: %v, %v", name, loc, err)
		}
	}
	if loc, err := Zone("Europe/Berlin"); err != nil || loc.String() != "Europe/Berlin" {
		t.Errorf("%v, %v", loc, err)
	}
	for _, name := range []string{"Europe/Bärlin", "Europa/Berlin", "../../etc/localtime", "/etc/localtime"} {
		if loc, err := Zone(name); err == nil || !strings.Contains(err.Error(), "time zone") {
			t.Errorf("%q: %v, %v", name, loc, err)
		}
	}
}

// TestZoneOfUnit: a zone that is not there makes a generation invalid, again and
// again, and stands at its place.
func TestZoneOfUnit(t *testing.T) {
	dir := t.TempDir()
	const text = "[service]\ncommand = '/bin/true'\n[rootfs]\nhost = true\n[timer]\ncalendar = 'daily %s'\n"
	write := func(zone string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "job.toml"), []byte(strings.Replace(text, "%s", zone, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var known *Set
	for range 2 {
		write("Europe/Atlantis")
		set, err := Load(Options{Dirs: []string{dir}, Known: known})
		if err != nil || len(set.Diagnostics) != 1 || set.Valid() {
			t.Fatalf("%+v, %v", set, err)
		}
		if d := set.Diagnostics[0]; d.Code != "C008" || d.Line != 6 || d.Column != 12 || !strings.Contains(d.Message, "Europe/Atlantis") {
			t.Errorf("%+v", d)
		}
		known = set
	}
	if _, ds, err := LoadFile(filepath.Join(dir, "job.toml")); err != nil || !ds.HasErrors() {
		t.Errorf("%v, %v", ds, err)
	}
	write("Europe/Berlin")
	if set, err := Load(Options{Dirs: []string{dir}, Known: known}); err != nil || len(set.Diagnostics) != 0 {
		t.Errorf("%v, %v", set.Diagnostics, err)
	}
}
