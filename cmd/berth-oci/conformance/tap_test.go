package conformance

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	tapNotOk = regexp.MustCompile(`^\s*not ok\b`)
	tapOk    = regexp.MustCompile(`^\s*ok\b`)
	tapTodo  = regexp.MustCompile(`(?i)#\s*todo\b`)
	tapPlan  = regexp.MustCompile(`^1\.\.(\d+)\s*(#.*)?$`)
	tapError = regexp.MustCompile(`^\s+(error|"error"): ?(.*)$`)
)

// silent are the programs whose container must not come to be: they say nothing
// at all when all is well.
var silent = map[string]bool{"process_capabilities_fail": true, "process_rlimits_fail": true}

// judge tells whether a program has passed, and if not, why. It has when it ends
// with 0, as many points as planned are "ok", and none is not. Some programs plan
// no point at all and give an error as a diagnostic instead.
func judge(program string, o outcome) (passed bool, why string) {
	if o.Late {
		return false, "did not end in time"
	}
	points, planned := 0, -1
	var firstError string
	for line := range strings.Lines(o.Stdout) {
		line = strings.TrimRight(line, "\r\n")
		switch m := tapPlan.FindStringSubmatch(line); {
		case m != nil:
			n, _ := strconv.Atoi(m[1])
			planned = max(planned, 0) + n
		case tapNotOk.MatchString(line) && !tapTodo.MatchString(line):
			return false, strings.TrimSpace(line)
		case tapOk.MatchString(line), tapNotOk.MatchString(line):
			points++
		case strings.HasPrefix(line, "Bail out!"):
			return false, line
		}
		if m := tapError.FindStringSubmatch(line); m != nil && firstError == "" {
			firstError = strings.TrimSpace(m[2])
		}
	}
	switch {
	case o.Status != 0:
		return false, fmt.Sprintf("ended with %d: %s", o.Status, lastLine(o.Stderr))
	case planned == -1 && !silent[program]:
		return false, "said nothing: " + lastLine(o.Stderr)
	case planned == 0 && firstError != "":
		return false, firstError
	case planned > 0 && planned != points:
		return false, fmt.Sprintf("%d points of %d", points, planned)
	}
	return true, ""
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, program string
		o             outcome
		passed        bool
	}{
		{"all well", "x", outcome{Stdout: "TAP version 13\nok 1 - a\n  ---\n  {\n   \"error\": \"expected\"\n  }\n  ...\nok 2 # SKIP b\n1..2\n"}, true},
		{"a point fails", "x", outcome{Stdout: "ok 1\nnot ok 2 - b\n1..2\n"}, false},
		{"a point inside of a diagnostic", "x", outcome{Stdout: "  ---\n  stdout: |\n    not ok 3\n  ...\nok 1\n1..1\n"}, false},
		{"to do", "x", outcome{Stdout: "ok 1\nnot ok 2 # TODO b\n1..2\n"}, true},
		{"a point is missing", "x", outcome{Stdout: "ok 1\n1..2\n"}, false},
		{"several plans", "x", outcome{Stdout: "ok 1\n1..1\nok 1\nok 2\n1..2\n"}, true},
		{"no plan", "x", outcome{Stdout: "ok 1\n"}, false},
		{"nothing said", "x", outcome{}, false},
		{"nothing to say", "process_rlimits_fail", outcome{}, true},
		{"status", "x", outcome{Stdout: "1..0\n", Status: 1}, false},
		{"late", "x", outcome{Stdout: "1..0\n", Late: true}, false},
		{"no points", "x", outcome{Stdout: "TAP version 13\n1..0\n"}, true},
		{"no points but an error", "x", outcome{Stdout: "  ---\n  error: \"broken\"\n  ...\n1..0\n"}, false},
	} {
		if passed, why := judge(c.program, c.o); passed != c.passed {
			t.Errorf("%s: passed is %t (%s)", c.name, passed, why)
		}
	}
}
