package logs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/units"
)

func TestFileLines(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file", MaxSize: 1 << 20, Keep: 3})
	long := strings.Repeat("é", 20<<10/2) + "!"
	write(t, w.Stdout, "one\n\n<3>three\n"+long+"\nbin\x00\xff\x01ary\r\nlast without newline")
	_ = w.Stdout.Close()
	finish(t, s)
	cut := fileLineMax
	want := []string{
		"stdout F one", "stdout F ", "stdout F <3>three",
		"stdout P " + long[:cut], "stdout F " + long[cut:],
		"stdout F bin\x00\xff\x01ary\r", "stdout F last without newline",
	}
	if diff := cmp.Diff(want, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
}
