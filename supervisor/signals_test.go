package supervisor

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/machine"
)

// TestReactions: no signal is twice in a list, and the documentation has all of
// them.
func TestReactions(t *testing.T) {
	page, err := os.ReadFile("../docs/pid1.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []machine.Place{machine.Machine, machine.Container, machine.Service} {
		var rows strings.Builder
		seen := map[syscall.Signal]bool{}
		for _, r := range Reactions(place) {
			if seen[r.Signal] || r.do == nil {
				t.Errorf("%v: %s", place, r.Name)
			}
			seen[r.Signal] = true
			fmt.Fprintf(&rows, "| %s | %s |\n", r.Name, r.Help)
		}
		if !strings.Contains(string(page), rows.String()) {
			t.Errorf("the table for a %v in docs/pid1.md is to be\n%s", place, rows.String())
		}
	}
}
