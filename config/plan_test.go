package config

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	top := realTemp(t)
	base := "[unit]\ndescription = \"%D\"\n[service]\ncommand = [\"%C\"]\nenvironment = { KEY = \"%E\" }\n[rootfs]\nhost = true\n[cgroup]\nmemory-max = \"%M\"\n"
	unit := func(d, c, e, m string) string {
		return strings.NewReplacer("%D", d, "%C", c, "%E", e, "%M", m).Replace(base)
	}
	plain := unit("d", "/c", "e", "64M")
	tree(t, top, "== old/same.toml\n"+plain+"== old/described.toml\n"+plain+"== old/limited.toml\n"+plain+
		"== old/changed.toml\n"+plain+"== old/gone.toml\n"+plain+"== old/secret.toml\n"+plain)
	tree(t, top, "== new/same.toml\n"+plain+"== new/described.toml\n"+unit("other", "/c", "e", "64M")+
		"== new/limited.toml\n"+unit("d", "/c", "e", "128M")+"== new/changed.toml\n"+unit("d", "/other", "e", "32M")+
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
	var b strings.Builder
	must(t, plan.Format(&b))
	if strings.Contains(b.String(), "hunter2") {
		t.Error("the text of a plan shows an environment variable's value")
	}
	golden(t, "plan.txt", b.String())

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
	text, err := json.Marshal(plan[0])
	must(t, err)
	if got, want := string(text), `{"unit":"added","action":"start","new":true}`; got != want {
		t.Errorf("JSON %s, want %s", got, want)
	}
}
