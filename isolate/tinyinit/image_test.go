package tinyinit

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestInstructions disassembles both programs: each instruction is what its
// text says, and each jump ends where its label stands.
func TestInstructions(t *testing.T) {
	t.Run("amd64", func(t *testing.T) {
		checkInstructions(t, instructionsX86_64, patchX86_64, func(code []byte) (string, int, int) {
			in, err := x86asm.Decode(code, 64)
			if err != nil {
				t.Fatalf("% x: %v", code, err)
			}
			if rel, ok := in.Args[0].(x86asm.Rel); ok {
				return strings.Fields(x86asm.IntelSyntax(in, 0, nil))[0], in.Len, in.Len + int(rel)
			}
			return x86asm.IntelSyntax(in, 0, nil), in.Len, 0
		})
	})
	t.Run("arm64", func(t *testing.T) {
		checkInstructions(t, instructionsAArch64, patchAArch64, func(code []byte) (string, int, int) {
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
	})
}

func checkInstructions(t *testing.T, list []instruction, patch func([]byte, int) []byte, decode func([]byte) (text string, length, jump int)) {
	places, at := map[string]int{}, 0
	for _, in := range list {
		if in.label != "" {
			places[in.label] = at
		}
		at += size(in, patch)
	}
	code, at := link(list, patch), 0
	for i, in := range list {
		text, length, jump := decode(code[at:])
		if text != in.text {
			t.Errorf("instruction %d is %q, not %q", i, text, in.text)
		}
		if in.to != "" && at+jump != places[in.to] {
			t.Errorf("instruction %d (%s) goes to %d, and %s is at %d", i, in.text, at+jump, in.to, places[in.to])
		}
		at += length
	}
	if at != len(code) {
		t.Errorf("decoded %d of %d bytes", at, len(code))
	}
}

func TestImages(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		image := images[arch]()
		f, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 2 {
			t.Errorf("%s: %+v", arch, f.FileHeader)
		}
		for _, p := range f.Progs {
			want := elf.PF_R | elf.PF_X
			if p.Type == elf.PT_GNU_STACK {
				want = elf.PF_R | elf.PF_W
			}
			if p.Flags != want {
				t.Errorf("%s: %v is %v", arch, p.Type, p.Flags)
			}
		}
		var words strings.Builder
		for i := 0; i < len(image); i += 16 {
			words.WriteString(strconv.Itoa(i) + "\t" + hex.EncodeToString(image[i:min(i+16, len(image))]) + "\n")
		}
		golden := filepath.Join("testdata", arch+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(words.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != words.String() {
			t.Errorf("%s differs; look, then run go test -update:\n%s", golden, words.String())
		}
	}
}
