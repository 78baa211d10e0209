package units

import (
	"fmt"
	"strings"
	"testing"
)

func TestTooManyIDRanges(t *testing.T) {
	unit := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "{ inside = %d, outside = %d, count = 1 },", i, 1000+i)
		}
		return on("[namespaces]\nuser = \"new\"\nuid-map = [" + b.String() + "]\n")
	}
	for n, want := range map[int]int{maxIDRanges: 0, maxIDRanges + 1: 1} {
		_, ds := Decode("web", []Source{{Path: "web.toml", Text: []byte(unit(n))}})
		if len(ds) != want || want == 1 && !strings.Contains(ds[0].Message, "341 ranges") {
			t.Errorf("%d ranges: %v", n, ds)
		}
	}
}
