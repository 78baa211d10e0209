package octal

import "testing"

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/plain": "/plain", `/my\040disk`: "/my disk", `\011\012\134`: "\t\n\\",
		`/end\04`: `/end\04`, `\`: `\`, `\999`: `\999`, `\400`: `\400`, `\134040`: `\040`,
	} {
		if got := Unescape(in); got != want {
			t.Errorf("Unescape(%q) is %q, want %q", in, got, want)
		}
	}
}
