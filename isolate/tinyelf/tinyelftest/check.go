// Package tinyelftest is for tests of programs made with package tinyelf.
package tinyelftest

import (
	"strings"
	"testing"

	"berth/isolate/tinyelf"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// CheckX86_64 disassembles the program: each instruction is what its text says,
// and each jump ends where its label stands.
func CheckX86_64(t *testing.T, list []tinyelf.Instruction) {
	t.Helper()
	check(t, tinyelf.X86_64, list, func(code []byte) (string, int, int) {
		in, err := x86asm.Decode(code, 64)
		if err != nil {
			t.Fatalf("% x: %v", code, err)
		}
		if rel, ok := in.Args[0].(x86asm.Rel); ok {
			return strings.Fields(x86asm.IntelSyntax(in, 0, nil))[0], in.Len, in.Len + int(rel)
		}
		return x86asm.IntelSyntax(in, 0, nil), in.Len, 0
	})
}

// CheckAArch64 is CheckX86_64 for the other machine.
func CheckAArch64(t *testing.T, list []tinyelf.Instruction) {
	t.Helper()
	check(t, tinyelf.AArch64, list, func(code []byte) (string, int, int) {
		in, err := arm64asm.Decode(code)
		if err != nil {
			t.Fatalf("% x: %v", code, err)
		}
		text := arm64asm.GNUSyntax(in)
		for _, arg := range in.Args {
			if rel, ok := arg.(arm64asm.PCRel); ok {
				text, _, _ = strings.Cut(text, " .")
				return strings.TrimSuffix(text, ","), 4, int(rel)
			}
		}
		return text, 4, 0
	})
}

func check(t *testing.T, machine tinyelf.Machine, list []tinyelf.Instruction, decode func([]byte) (text string, length, jump int)) {
	t.Helper()
	places := machine.Places(list)
	code, at := machine.Link(list), 0
	for i, in := range list {
		text, length, jump := decode(code[at:])
		if text != in.Text {
			t.Errorf("instruction %d is %q, not %q", i, text, in.Text)
		}
		if in.To != "" && at+jump != places[in.To] {
			t.Errorf("instruction %d (%s) goes to %d, and %s is at %d", i, in.Text, at+jump, in.To, places[in.To])
		}
		at += length
	}
	if at != len(code) {
		t.Errorf("decoded %d of %d bytes", at, len(code))
	}
}
