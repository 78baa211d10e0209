package oci

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocs holds docs/oci.md: its table of fields is written by this test, and
// all that is refused stands in the other one.
func TestDocs(t *testing.T) {
	const file, mark = "../../docs/oci.md", "<!-- Written by go test ./isolate/oci -update. -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, table, ok := strings.Cut(string(page), mark)
	if !ok {
		t.Fatalf("%s has no %s", file, mark)
	}
	var b strings.Builder
	b.WriteString("\n| Field | What becomes of it |\n|---|---|\n")
	for _, path := range slices.Sorted(maps.Keys(decisions)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", path, decisions[path])
		if decisions[path] == refused && !strings.Contains(text, "`"+path+"`") {
			t.Errorf("%s does not tell why %s is refused", file, path)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(text+mark+b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, b.String()); diff != "" {
		t.Errorf("%s (-page +fields), go test -update writes it:\n%s", file, diff)
	}
	for _, number := range []string{fmt.Sprintf("%d MiB", maxText>>20), fmt.Sprintf("%d levels", maxDepth), fmt.Sprintf("%d,000 values", maxValues/1000)} {
		if !strings.Contains(text, number) {
			t.Errorf("%s does not say %q", file, number)
		}
	}
}
