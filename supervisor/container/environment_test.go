package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := file("one", "# a comment\n\n ; another\nA=1\nB = two words \nexport C=\"quoted  \"\r\nD='single'\nE=\nF=a=b\nG=\"open\nH=a # b\nI=\"\nOVER=one\nLAST=one")
	two := file("two", "OVER=two\nMINE=two\n")
	get := func(files ...string) ([]string, error) {
		u := unit(t, "web", base+"[service.environment]\nMINE = 'unit'\n")
		u.Service.EnvironmentFiles = files
		return environment(u)
	}
	got, err := get(one, "-"+filepath.Join(dir, "none"), "-"+two)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the environment", got, []string{"A=1", "B=two words", "C=quoted  ", "D=single", "E=", "F=a=b", `G="open`, "H=a # b", `I="`,
		"LAST=one", "MINE=unit", "OVER=two"})
	got, err = get(two, one)
	if err != nil || !strings.Contains(strings.Join(got, " "), "OVER=one") {
		t.Errorf("in the other order: %v, %v", got, err)
	}
	for _, c := range []struct{ file, want string }{
		{filepath.Join(dir, "none"), "no such file"},
		{"-" + dir, "is a directory"},
		{file("word", "A=1\n\nword\n"), "word:3: want KEY=VALUE"},
		{file("empty", "=1\n"), "empty:1: want KEY=VALUE"},
		{"-" + file("space", "A=1\nB C=1\n"), "space:2: want KEY=VALUE"},
		{file("nul", "A=1\nB=\x00\n"), "nul:2: want KEY=VALUE"},
		{file("long", "A="+strings.Repeat("x", 1<<20)+"\n"), "long:1: the line is longer"},
	} {
		if got, err := get(c.file); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot read the environment file") {
			t.Errorf("%s: %v, %v", c.file, got, err)
		}
	}
}
