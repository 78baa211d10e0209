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

	"berth/isolate/tinyelf/tinyelftest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestInstructions(t *testing.T) {
	tinyelftest.CheckX86_64(t, instructionsX86_64)
	tinyelftest.CheckAArch64(t, instructionsAArch64)
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
