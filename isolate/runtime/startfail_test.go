package runtime

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestScriptInterpreter(t *testing.T) {
	for head, want := range map[string]string{
		"#!/bin/sh\n":            "/bin/sh",
		"#! \t/bin/sh -e\necho":  "/bin/sh",
		"#!/bin/sh\t-e":          "/bin/sh",
		"#!/usr/bin/env python3": "/usr/bin/env",
		"#!/bin/sh\x00rest\n":    "/bin/sh",
		"#!\n/bin/sh":            "",
		"#!":                     "",
		"\x7fELF\x02":            "",
		"":                       "",
	} {
		if got := scriptInterpreter([]byte(head)); got != want {
			t.Errorf("scriptInterpreter(%q) = %q, want %q", head, got, want)
		}
	}
}

func TestCandidates(t *testing.T) {
	env := []string{"HOME=/", "PATH=/a:b::/c/"}
	for arg0, want := range map[string]string{
		"/x":     "/x",
		"d/../x": "/work/x",
		"x":      "/a/x /work/b/x /work/x /c/x",
	} {
		w := wanted{process: &specs.Process{Args: []string{arg0}, Env: env, Cwd: "/work"}}
		if got := w.candidates(); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("candidates of %q: %q, want %q", arg0, got, want)
		}
	}
}
