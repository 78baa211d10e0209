package oci

import "testing"

func TestSemVer(t *testing.T) {
	for v, want := range map[string][2]int{
		"1.0.2": {1, 0}, "1.0.2-dev": {1, 0}, "1.3.0": {1, 3}, "1.0.0-rc5+dev.1": {1, 0}, "10.20.30": {10, 20}, "0.0.0": {0, 0}, "1.2.3+a-b": {1, 2},
	} {
		if major, minor, ok := semVer(v); !ok || major != want[0] || minor != want[1] {
			t.Errorf("%s: %d, %d, %v", v, major, minor, ok)
		}
	}
	for _, v := range []string{"", "1", "1.0", "1.0.0.0", "01.0.0", "1.00.0", "v1.0.0", "1.0.-1", "1.0.0-", "1.0.0+", "1.0.0-a_b", "1. 0.0", "+1.0.0", "1.0.99999999999", "1.0.0-ä"} {
		if _, _, ok := semVer(v); ok {
			t.Errorf("%q is taken", v)
		}
	}
}
