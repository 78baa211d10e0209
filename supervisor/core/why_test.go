package core

import (
	"fmt"
	"strings"
	"testing"
)

// TestWhyChains asks for the causes of states that scripts lead to.
func TestWhyChains(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"never asked for", "unit x demand;load boot", "x inactive"},
		{"at boot", "unit x;load boot;spawned x", "x running by boot"},
		{"a new file", "load boot;unit x;load;spawned x", "x running by new"},
		{"pulled in", "unit x demand;unit y demand requires=x;unit z demand wants=y;load boot;cmd 1 start z;spawned x;spawned y;spawned z",
			"x running by required y / required by y running by wanted z / wanted by z running by command start"},
		{"waits", "unit x requires=y;unit y notify;load boot;spawned y", "x waiting by boot / waits for y running by required x"},
		{"failed", "unit x requires=y;unit y requires=z;unit z policy=never;load boot;spawn-failed z no such file;released z",
			"x failed by boot / failed y failed by required x / failed z failed by required y"},
		{"stopped with", "unit x requires=y;unit y;load boot;spawned y;spawned x;cmd 1 stop y;exited x 0;released x",
			"x inactive by dependency y stop / stopped with y stopping by command stop"},
		{"restarted with", "unit x requires=y;unit y;load boot;spawned y;spawned x;cmd 1 restart y;exited x 0;released x",
			"x waiting by dependency y restart / waits for y stopping by command restart"},
		{"changed", "unit x;load boot;spawned x;unit x command=v2;load x=restart:service.command", "x stopping by change"},
		{"removed", "unit x;load boot;spawned x;rm x;load", "x stopping by removed"},
		{"conflict", "unit x;unit y demand conflicts=x;load boot;spawned x;cmd 1 start y", "x stopping by conflict y / conflicts with y waiting by command start / waits for x seen"},
		{"on-failure", "unit x demand;unit y on-failure=x policy=never;load boot;spawn-failed y gone;released y;spawned x",
			"x running by on-failure y / started by the failure of y failed by boot"},
		{"shutdown", "unit x;load boot;spawned x;shutdown", "x stopping by shutdown"},
		{"crash", "unit x requires=y;unit y policy=never;load boot;spawn-failed y gone;released y;crash", "x failed by boot / failed y failed by required x"},
	} {
		p := play(t, c.script)
		var links []string
		for _, l := range p.s.Why("x") {
			s := fmt.Sprintf("%s %s %s", l.Relation, l.Unit, l.Phase)
			if a := l.Asked; a.Kind != "" && !l.Seen {
				s += fmt.Sprintf(" by %s %s %s", a.Kind, a.Unit, a.Verb)
			}
			if l.Seen {
				s = fmt.Sprintf("%s %s seen", l.Relation, l.Unit)
			}
			links = append(links, strings.Join(strings.Fields(s), " "))
		}
		if got := strings.Join(links, " / "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
