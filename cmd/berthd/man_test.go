package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"berth/config"
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

// It has the settings that there are, with their defaults and help.
func TestManSettings(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/berthd.8")
	if err != nil {
		t.Fatal(err)
	}
	roff := strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`)
	var want strings.Builder
	for _, s := range config.AllSettings() {
		fmt.Fprintf(&want, ".TP\n.B %s\n(default %s) %s\n", roff.Replace(s.Key), roff.Replace(s.Default), roff.Replace(s.Help))
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("the settings of the page are to be\n%s", want.String())
	}
}
