package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A wrong command line is told as such, wrong unit files as these, and nothing is
// written.
func TestBuildImageRefuses(t *testing.T) {
	dir := t.TempDir()
	kernel := filepath.Join(dir, "vmlinuz")
	if err := os.WriteFile(kernel, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "units")
	if err := os.Mkdir(bad, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "web.toml"), []byte("[service]\ncomand = []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	tests := []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "accepts 1 arg"},
		{out, exitUsage, "--units and --kernel are needed"},
		{"-n", exitUsage, "--units and --kernel are needed"},
		{"--units U --kernel K --root x " + out, exitUsage, "is not PATH=DIRECTORY"},
		{"--units U --kernel K --file x " + out, exitUsage, "is not FILE:/PATH"},
		{"--units U --kernel K --size x " + out, exitUsage, "--size"},
		{"--units U --kernel K --format iso " + out, exitFailed, "the format is one of"},
		{"--units U --kernel K " + out, exitInvalid, "web.toml:2:1"},
	}
	for _, test := range tests {
		stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		a := &app{in: os.Stdin, out: stderr, err: stderr}
		root := a.command()
		root.SetArgs(append([]string{"build-image"}, strings.Fields(strings.NewReplacer("U ", bad+" ", "K ", kernel+" ").Replace(test.args))...))
		code := a.report(root.ExecuteContext(t.Context()))
		text, err := os.ReadFile(stderr.Name())
		stderr.Close()
		if err != nil {
			t.Fatal(err)
		}
		if code != test.code || !strings.Contains(string(text), test.want) {
			t.Errorf("berth build-image %s: code %d, and not %d with %q:\n%s", test.args, code, test.code, test.want, text)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("berth build-image %s wrote something", test.args)
		}
	}
}
