package container

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"berth/units"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// helperEnv makes the test binary the program of a test.
const helperEnv = "BERTH_CONTAINER_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		fmt.Println(waitForTerm())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const stateDir = "/var/lib/berth"

// unit decodes a unit file that is valid but for what the test is about.
func unit(t *testing.T, name, text string) *units.Unit {
	t.Helper()
	u, diags := units.Decode(name, []units.Source{{Path: name + ".toml", Text: []byte(text)}})
	if diags.HasErrors() {
		t.Fatalf("%v\n%s", diags, text)
	}
	return u
}

// base is the least that a unit needs.
const base = "[service]\ncommand = ['/bin/true']\n[rootfs]\nhost = true\n"

func build(t *testing.T, name, text string) *Container {
	t.Helper()
	c, err := Build(unit(t, name, text), Environment{StateDir: stateDir})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
