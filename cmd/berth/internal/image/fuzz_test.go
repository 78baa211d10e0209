package image

import (
	"strings"
	"testing"
)

// FuzzKernel: whatever a file begins with, there is a word in it or none.
func FuzzKernel(f *testing.F) {
	f.Add([]byte(kernelFile()))
	f.Add([]byte("HdrS"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if r := releaseIn(head); strings.ContainsAny(r, " \x00") || len(r) > len(head) {
			t.Errorf("the release %q", r)
		}
	})
}

// FuzzModule: what is no module is an error, and names have no separators in them.
func FuzzModule(f *testing.F) {
	f.Add([]byte(moduleFile("depends=a-b,c", "alias=pci:v1*", "softdep=pre: x post: y")))
	f.Add([]byte(program(false)))
	f.Fuzz(func(t *testing.T, contents []byte) {
		mod := &module{name: "m", contents: contents}
		if mod.modinfo() != nil {
			return
		}
		for _, need := range mod.needs {
			if need == "" || strings.ContainsAny(need, ",\x00-") {
				t.Errorf("it needs %q", need)
			}
		}
	})
}
