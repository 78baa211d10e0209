package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestHooks(t *testing.T) {
	dir := t.TempDir()
	state := specs.State{Version: "1.3.0", ID: "c", Status: "creating", Pid: 7, Bundle: dir, Annotations: map[string]string{"a": "b"}}
	seconds, none := 1, 0
	shell := func(script string) specs.Hook {
		return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
	}
	t.Setenv("OF_THE_RUNTIME", "x")
	err := runHooks("prestart", []specs.Hook{shell("cat > state; pwd > dir"), shell(`echo "$OF_THE_RUNTIME" > env; env > all`)}, state)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"state": `{"ociVersion":"1.3.0","id":"c","status":"creating","pid":7,"bundle":"` + dir + `","annotations":{"a":"b"}}`,
		"dir":   dir + "\n", "env": "\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}

	slow := shell("exec sleep 1000")
	slow.Timeout = &seconds
	never := shell("true")
	never.Timeout = &none
	for name, c := range map[string]struct {
		hook specs.Hook
		want string
	}{
		"fails":    {shell("echo why >&2; exit 3"), "error running createRuntime hook #0: /bin/sh: exit status 3; its output: why"},
		"slow":     {slow, "it did not end within 1 s"},
		"never":    {never, "its timeout of 0 s"},
		"relative": {specs.Hook{Path: "sh"}, "not absolute"},
		"missing":  {specs.Hook{Path: "/nonexistent"}, "no such file"},
		"leaves":   {shell("sleep 1000 & echo $! > pid; exit 4"), "exit status 4"},
	} {
		err := runHooks("createRuntime", []specs.Hook{c.hook, shell("touch next")}, state)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "next")); err == nil {
		t.Error("a hook ran after one that failed")
	}
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := runHook(new(shell("kill "+string(pid))), nil, dir); err != nil {
		t.Error(err)
	}
}
