package config

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/units"
)

func TestPlan(t *testing.T) {
	top := realTemp(t)
	base := "[unit]\ndescription = \"%D\"\n[service]\ncommand = [\"%C\"]\nenvironment = { KEY = \"%E\" }\n[rootfs]\nhost = true\n[cgroup]\nmemory-max = \"%M\"\n"
	unit := func(d, c, e, m string) string {
		return strings.NewReplacer("%D", d, "%C", c, "%E", e, "%M", m).Replace(base)
	}
	plain := unit("d", "/c", "e", "64M")
	tree(t, top, "== old/same.toml\n"+plain+"== old/described.toml\n"+plain+"== old/limited.toml\n"+plain+
		"== old/changed.toml\n"+plain+"== old/gone.toml\n"+plain+"== old/secret.toml\n"+plain+
		"== old/replaced.toml\n"+plain)
	tree(t, top, "== new/same.toml\n"+plain+"== new/described.toml\n"+unit("other", "/c", "e", "64M")+
		"== new/limited.toml\n"+unit("d", "/c", "e", "128M")+"== new/changed.toml\n"+unit("d", "/other", "e", "32M")+
		"== new/replaced.toml\n"+unit("d", "/other", "e", "64M")+"[restart]\nmode = \"replace\"\n"+
		"== new/secret.toml\n"+unit("d", "/c", "hunter2", "64M")+
		"== new/added.toml\n"+plain+"== new/asked.toml\n[unit]\nstart = \"demand\"\n"+strings.Replace(plain, "[unit]\n", "", 1))
	read := func(dir string) *Set {
		set, err := Load(Options{Dirs: []string{filepath.Join(top, dir)}})
		must(t, err)
		clean3(t, set)
		return set
	}
	old, new := read("old"), read("new")
	plan := DiffUnits(old.Units, new.Units)
	text := func(p Plan) string {
		b, err := json.MarshalIndent(p, "", "  ")
		must(t, err)
		return string(b) + "\n"
	}
	if !strings.Contains(text(plan), "hunter2") || strings.Contains(text(plan.WithoutSecrets()), "hunter2") {
		t.Error("the values of environment variables belong into the plan, and not into one without secrets")
	}
	if changed := plan.Changed(); len(changed) != len(plan)-1 {
		t.Errorf("%d of %d units change", len(changed), len(plan))
	}
	golden(t, "plan.json", text(plan.WithoutSecrets()))

	if !DiffUnits(new.Units, new.Units).Empty() || plan.Empty() {
		t.Error("Empty is wrong")
	}
	for _, s := range DiffUnits(nil, new.Units) {
		want := ActionStart
		if s.Unit == "asked" {
			want = ActionNone
		}
		if s.Action != want || !s.New {
			t.Errorf("from nothing: %+v, want %s", s, want)
		}
	}
}

// What says the same is not decoded again, and what was wrong is told again.
func TestLoadKnown(t *testing.T) {
	top := realTemp(t)
	plain := "[service]\ncommand = [\"/x\"]\n[rootfs]\nhost = true\n"
	tree(t, top, "== same.toml\n"+plain+"== changed.toml\n"+plain+"== w@.toml\n[unit]\ninstances = [\"a\"]\n"+plain+"== bad.toml\n[nothing]\n"+plain)
	o := Options{Dirs: []string{top}}
	first, err := Load(o)
	must(t, err)
	tree(t, top, "== changed.toml\n"+strings.Replace(plain, "/x", "/y", 1)+"== w@.toml.d/x.toml\n[service]\nuser = \"u\"\n")
	o.Known = first
	second, err := Load(o)
	must(t, err)
	o.Known = nil
	fresh, err := Load(o)
	must(t, err)
	if diff := cmp.Diff(fresh.Units, second.Units, cmp.AllowUnexported(units.Unit{})); diff != "" {
		t.Errorf("(-read anew +read with what was known):\n%s", diff)
	}
	if diff := cmp.Diff(fresh.Diagnostics, second.Diagnostics); diff != "" || !first.Diagnostics.HasErrors() {
		t.Errorf("diagnostics (-read anew +read with what was known):\n%s", diff)
	}
	if first.Units["same"] != second.Units["same"] || first.Units["changed"] == second.Units["changed"] || first.Units["w@a"] == second.Units["w@a"] {
		t.Error("not exactly the units that say the same were taken over")
	}
	sums := 0
	for path, sum := range second.Sums {
		if first.Sums[path] != sum {
			sums++
		}
	}
	if len(second.Sums) != 5 || sums != 2 {
		t.Errorf("%d sums, %d of them new: %v", len(second.Sums), sums, second.Sums)
	}
}
