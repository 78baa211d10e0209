package core

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImports holds the core, and the units it builds on, to packages that
// cannot touch the machine. What the standard library's packages import
// themselves is their business: fmt needs os.
func TestImports(t *testing.T) {
	coreMay := strings.Fields("berth/units berth/units/calendar fmt maps math slices strings time")
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
		if pkg != "berth/supervisor/core" && pkg != "berth/units" && pkg != "berth/units/calendar" {
			t.Errorf("the core depends on %s", pkg)
		}
		for _, i := range strings.Fields(imports) {
			if touchesMachine(i) || pkg == "berth/supervisor/core" && !slices.Contains(coreMay, i) {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
	}
	if own != 3 {
		t.Errorf("looked at %d packages of this module, expected core, units and units/calendar", own)
	}
}

func touchesMachine(pkg string) bool {
	for _, p := range []string{"os", "syscall", "net", "unsafe", "go.uber.org", "golang.org/x/sys"} {
		if pkg != "net/netip" && (pkg == p || strings.HasPrefix(pkg, p+"/")) {
			return true
		}
	}
	return false
}

// TestNoClock holds the core to reading no clock and starting no goroutine.
func TestNoClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SendStmt, *ast.SelectStmt:
				t.Errorf("%s: concurrency in the core", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" {
					if !slices.Contains([]string{"Time", "Location", "RFC3339", "Duration", "Hour", "Second", "Millisecond"}, n.Sel.Name) {
						t.Errorf("%s: time.%s in the core", fset.Position(n.Pos()), n.Sel.Name)
					}
				}
			}
			return true
		})
	}
}
