package units

import (
	"reflect"
	"strings"
	"testing"
)

// minimal is the least that makes a unit.
const minimal = "[service]\ncommand = [\"/bin/true\"]\n[rootfs]\nhost = true\n"

func decodeText(t *testing.T, name, text string) (*Unit, Diagnostics) {
	t.Helper()
	return Decode(name, []Source{{Path: name + ".toml", Text: []byte(text)}})
}

func TestFormatReadsBack(t *testing.T) {
	u, ds := decodeText(t, "web", minimal)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	text := Format(u)
	again, ds := decodeText(t, "web", string(text))
	if len(ds) > 0 || !reflect.DeepEqual(u, again) {
		var b strings.Builder
		ds.Format(&b, false)
		t.Fatalf("%s\n%s", text, b.String())
	}
	t.Logf("%s", text)
}
