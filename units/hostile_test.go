package units

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostileFilesTakeLittle decodes files that are made to take time or
// memory, each near the largest size allowed.
func TestHostileFilesTakeLittle(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, (maxFileSize-1000)/len(s)) }
	numbered := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < maxFileSize-1000; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"unknown keys":       numbered("k%d = 1\n"),
		"unknown tables":     numbered("[t%d]\n"),
		"one line":           "x = [" + fill("1,") + "]",
		"open arrays":        "x = " + fill("["),
		"open tables":        "x = " + fill("{a="),
		"nested tables":      "[a" + fill(".a") + "]",
		"dotted key":         "a" + fill(".a") + " = 1",
		"duplicate keys":     fill("a = 1\n"),
		"broken lines":       fill("a = \n"),
		"broken headers":     fill("[a\n"),
		"array tables":       fill("[[mount]]\n"),
		"array tables below": "[[mount]]\n" + fill("[[mount.x]]\n"),
		"mounts":             numbered("[[mount]]\nsource = \"/a%d\"\ntarget = \"/b%[1]d\"\n"),
		"same mounts":        fill("[[mount]]\nsource = \"/a\"\ntarget = \"/b\"\n"),
		"many units":         "[unit]\nrequires = [" + numbered("\"u%d\",") + "]",
		"specifiers":         "[unit]\ndescription = \"" + fill("%n") + "\"",
		"long string":        "[unit]\ndescription = \"" + fill("x") + "\"",
		"quotes":             fill("\""),
		"long command":       "[service]\ncommand = \"" + fill("a ") + "\"",
		"comments":           fill("#\n"),
		"newlines":           fill("\n"),
		"strings left open":  fill("a = \"\n"),
		"environment":        "[service.environment]\n" + numbered("A%d = \"x\"\n"),
		"NULs":               fill("\x00"),
		"wide":               "[unit]\ndescription = \"" + fill("語") + "\"\nx = 1",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			sources := []Source{{Path: "web.toml", Text: []byte(text)}, {Path: "10.toml", Text: []byte(text)}}
			u, ds := Decode("web", sources)
			more := Check(map[string]*Unit{"web": u}, Origins{"web": sources})
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("took %v, %d diagnostics", took, len(ds)+len(more))
			}
			if len(ds) > maxDiagnostics+1 {
				t.Errorf("%d diagnostics", len(ds))
			}
			checkPlaces(t, sources, ds)
		})
	}
}

func TestLimits(t *testing.T) {
	for name, text := range map[string]string{
		"file":    minimal + strings.Repeat("#", maxFileSize),
		"list":    minimal + "[unit]\nrequires = [" + strings.Repeat("\"a\",", maxList+1) + "]",
		"string":  minimal + "[unit]\ndescription = \"" + strings.Repeat("x", maxText+1) + "\"",
		"nesting": minimal + "[x-a]\nb = " + strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1),
		"tables":  minimal + "[x-a" + strings.Repeat(".a", maxNesting) + "]",
		"faults":  minimal + "[unit]\n" + strings.Repeat("x = 1\n", 200),
	} {
		_, ds := decodeText(t, "web", text)
		found := false
		for _, d := range ds {
			found = found || d.Code == "U003"
		}
		if !found {
			t.Errorf("%s: no U003 but %d others", name, len(ds))
		}
	}
}

// TestLargeSet checks a deep and a wide graph.
func TestLargeSet(t *testing.T) {
	set := make(map[string]*Unit)
	const n = 5000
	for i := range n {
		u := Defaults()
		u.Name = fmt.Sprintf("u%d", i)
		if i > 0 {
			u.Unit.Requires = []string{fmt.Sprintf("u%d", i-1)}
		}
		if i > 1 {
			u.Unit.After = []Dependency{{Unit: fmt.Sprintf("u%d", i/2), Is: "ready"}}
		}
		set[u.Name] = u
	}
	start := time.Now()
	if ds := Check(set, nil); len(ds) > 0 {
		t.Fatalf("a chain is refused: %v", ds[0])
	}
	order := Order(set)
	place := make(map[string]int)
	for i, name := range order {
		place[name] = i
	}
	for i := 1; i < n; i++ {
		if place[fmt.Sprintf("u%d", i)] < place[fmt.Sprintf("u%d", i-1)] {
			t.Fatalf("u%d comes before what it requires", i)
		}
	}
	set["u0"].Unit.After = []Dependency{{Unit: fmt.Sprintf("u%d", n-1), Is: "ready"}}
	if ds := Check(set, nil); len(ds) != 1 || ds[0].Code != "U042" {
		t.Fatalf("a closed chain gives %d diagnostics", len(ds))
	}
	t.Logf("took %v", time.Since(start))
}
