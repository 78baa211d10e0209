package core

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPure holds the core, and the units it builds on, to packages that cannot
// touch the machine. What the standard library's packages import themselves is
// their business: fmt needs os.
func TestPure(t *testing.T) {
	allowed := map[string]bool{}
	for _, p := range strings.Fields(`bytes cmp encoding encoding/json errors fmt iter maps math
		math/bits reflect regexp slices sort strconv strings time unicode unicode/utf8
		github.com/BurntSushi/toml`) {
		allowed[p] = true
	}
	out, err := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}}:{{join .Imports " "}}`, "berth/supervisor/core").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	own := 0
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		if !strings.HasPrefix(pkg, "berth/") {
			continue
		}
		own++
		if pkg != "berth/supervisor/core" && pkg != "berth/units" {
			t.Errorf("the core depends on %s", pkg)
		}
		for _, i := range strings.Fields(imports) {
			if !allowed[i] && !strings.HasPrefix(i, "berth/") && !pureToml(pkg, i) {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
	}
	if own != 2 {
		t.Errorf("looked at %d packages of this module, expected core and units", own)
	}
}

// pureToml: units reads its files' syntax with whatever TOML or word-splitting
// library it has; those read strings only.
func pureToml(pkg, imported string) bool {
	return pkg == "berth/units" && (strings.Contains(imported, "toml") || strings.Contains(imported, "shlex") || strings.Contains(imported, "go-units"))
}
