package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The manual page knows the flags that there are, and no others.
func TestManPage(t *testing.T) {
	help, err := exec.Command(binary(t, "berthd"), "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	page, err := os.ReadFile("../../docs/man/berthd.8")
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern, text string) (out []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	want := names(`(?m)^  -([a-z-]+)`, string(help))
	got := names(`(?m)^\.BI? --([a-z-]+)`, strings.ReplaceAll(string(page), `\-`, "-"))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("the page has %v, berthd has %v", got, want)
	}
}
