package idrange

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func ranges(t *testing.T, subuid, subgid string) *Ranges {
	t.Helper()
	dir := t.TempDir()
	r := &Ranges{Dir: dir, SubUID: filepath.Join(dir, "subuid"), SubGID: filepath.Join(dir, "subgid")}
	for name, text := range map[string]string{r.SubUID: subuid, r.SubGID: subgid} {
		if text != "" {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

func TestRangesAreStable(t *testing.T) {
	r := ranges(t, "", "")
	want := map[string]uint32{"a": first, "b@1": first + Size, "c": first + 2*Size}
	for range 2 {
		for _, unit := range []string{"a", "b@1", "c"} {
			if look, err := r.Look(unit); err != nil || look != want[unit] {
				t.Errorf("%s would have %d, %v", unit, look, err)
			}
			if id, err := r.For(unit); err != nil || id != want[unit] {
				t.Errorf("%s has %d, %v", unit, id, err)
			}
		}
		other := *r // another daemon on the same directory
		r = &other
	}
	text, _ := os.ReadFile(filepath.Join(r.Dir, file))
	if string(text) != "524288 a\n589824 b@1\n655360 c\n" {
		t.Errorf("%q", text)
	}
}

func TestLookWritesNothing(t *testing.T) {
	r := ranges(t, "", "")
	if _, err := r.Look("a"); err != nil {
		t.Fatal(err)
	}
	if list, _ := os.ReadDir(r.Dir); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

func TestSubordinateIDs(t *testing.T) {
	for _, c := range []struct {
		subuid, subgid string
		want           []uint32 // 0: none is left
	}{
		// Other users' are passed over, comments and nonsense too.
		{"joe:524288:65536\n# x:1:1\nnonsense\njim:700000:-1\n", "jane:655360:1\n", []uint32{589824, 655361}},
		{"berth:100000:200000\n", "berth:100000:131072\nberth:500000:65536\n", []uint32{100000, 165536, 0}},
		{"berth:100000:70000\n", "", []uint32{0}},
		{"berth:100000:70000\nberth:900000:65536\n", "berth:900000:65536\n", []uint32{900000, 0}},
	} {
		r := ranges(t, c.subuid, c.subgid)
		for i, want := range c.want {
			id, err := r.For(fmt.Sprint("unit", i))
			if id != want || (err == nil) != (want != 0) {
				t.Errorf("%q: unit %d has %d, want %d: %v", c.subuid, i, id, want, err)
			}
			if err != nil && !strings.Contains(err.Error(), "no range of 65536 ids is left") {
				t.Error(err)
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	r := ranges(t, "", "")
	var wg sync.WaitGroup
	ids := make([]uint32, 40)
	for i := range ids {
		wg.Go(func() {
			own := *r
			var err error
			if ids[i], err = own.For(fmt.Sprint("unit", i/2)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[uint32]int{}
	for i, id := range ids {
		if id != ids[i^1] {
			t.Errorf("one unit has %d and %d", id, ids[i^1])
		}
		seen[id]++
	}
	if len(seen) != len(ids)/2 {
		t.Errorf("%d ranges for %d units", len(seen), len(ids)/2)
	}
}

func TestFileThatMakesNoSense(t *testing.T) {
	for _, text := range []string{"x y\n", "524288\n", "524288 \n", "4294967295 a\n", "-1 a\n"} {
		r := ranges(t, "", "")
		if err := os.WriteFile(filepath.Join(r.Dir, file), []byte("524288 b\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
		if id, err := r.For("a"); err == nil || !strings.Contains(err.Error(), ":2: want FIRST UNIT") {
			t.Errorf("%q: %d, %v", text, id, err)
		}
	}
}

// What a crash leaves behind is passed over.
func TestCrashedWriter(t *testing.T) {
	r := ranges(t, "", "")
	if _, err := r.For("a"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, "."+file+".new"), []byte("52"), 0o644); err != nil {
		t.Fatal(err)
	}
	if id, err := r.For("b"); err != nil || id != first+Size {
		t.Errorf("%d, %v", id, err)
	}
	if id, err := r.For("a"); err != nil || id != first {
		t.Errorf("%d, %v", id, err)
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	r := ranges(t, "", "")
	r.Dir = filepath.Join(r.Dir, "missing")
	if id, err := r.For("a"); err == nil || !strings.Contains(err.Error(), "cannot lock the ranges") {
		t.Errorf("%d, %v", id, err)
	}
}
