package cmdline

import (
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// with gives what an empty line gives, changed.
func with(change func(*Options)) Options {
	o := Parse("")
	change(&o)
	return o
}

func TestParse(t *testing.T) {
	for line, want := range map[string]Options{
		"": {Root: Root{ReadOnly: true}, Check: "auto", Repair: "preen", Coldplug: true},
		"BOOT_IMAGE=/vmlinuz root=UUID=12-34 rw quiet panic=-1 console=ttyS0,115200n8 systemd.unit=rescue.target": with(func(o *Options) {
			o.Root = Root{Source: "UUID=12-34"}
			o.Quiet = true
		}),
		"rw ro":                              with(func(o *Options) {}),
		"berth.units=/a,/b//c,\n":            with(func(o *Options) { o.Units = []string{"/a", "/b//c"} }),
		`berth.units="/a b,/c"`:              with(func(o *Options) { o.Units = []string{"/a b", "/c"} }),
		`"berth.units=/a b"`:                 with(func(o *Options) { o.Units = []string{"/a b"} }),
		`berth.target=" x"y" z`:              with(func(o *Options) { o.Target = ` x"y" z` }),
		`berth.target="x`:                    with(func(o *Options) { o.Target = "x" }),
		"berth.target=a berth.target=b":      with(func(o *Options) { o.Target = "b" }),
		"berth.log=debug":                    with(func(o *Options) { o.LogLevel = "debug" }),
		"berth.log=kmsg,warn":                with(func(o *Options) { o.LogLevel, o.LogTarget = "warn", "kmsg" }),
		"berth.emergency":                    with(func(o *Options) { o.Emergency = true }),
		"emergency":                          with(func(o *Options) { o.Emergency = true }),
		"berth.emergency=1":                  with(func(o *Options) { o.Emergency = true }),
		"berth.emergency berth.emergency=No": with(func(o *Options) {}),
		"modules_load=a,,b rd.modules-load=c berth.coldplug=no": with(func(o *Options) { o.Modules, o.Coldplug = []string{"a", "b", "c"}, false }),
		"foo -- single":   with(func(o *Options) { o.Single = true }),
		"S":               with(func(o *Options) { o.Single = true }),
		"s=3 1=2 quiet=x": with(func(o *Options) {}),
		"init=/sbin/berthd rootfstype=ext4 rootflags=noatime,x=y": with(func(o *Options) {
			o.Init, o.Root.Type, o.Root.Flags = "/sbin/berthd", "ext4", "noatime,x=y"
		}),
		"rootwait":               with(func(o *Options) { o.Root.Wait = true }),
		"rootwait=5 rootdelay=2": with(func(o *Options) { o.Root.Wait, o.Root.WaitLimit, o.Root.Delay = true, 5*time.Second, 2*time.Second }),
		"fsck.mode=force fsck.repair=yes berth.hostname=x.example": with(func(o *Options) {
			o.Check, o.Repair, o.Hostname = "force", "yes", "x.example"
		}),
	} {
		if diff := cmp.Diff(want, Parse(line)); diff != "" {
			t.Errorf("%q:\n%s", line, diff)
		}
	}
}

// TestProblems: what is berthd's and wrong is told and has no effect.
func TestProblems(t *testing.T) {
	for line, part := range map[string]string{
		"berth.unit=/a":         `"berth.unit" is not known: berthd obeys berth.units, `,
		"berth.units=a":         `berth.units=a: "a" is not an absolute path`,
		"berth.units=/a/../b":   "absolute path",
		"berth.units=":          noValue,
		"berth.target":          noValue,
		"berth.log=loud":        `"loud" is neither a level`,
		"berth.log=":            `"" is neither a level`,
		"berth.emergency=maybe": "berth.emergency=maybe: it is yes or no",
		"fsck.mode=never":       "one of auto, force, skip",
		"fsck.repair":           "one of preen, yes, no",
		"rootdelay=soon":        "a number of seconds",
		"rootwait=":             "a number of seconds",
		"rootdelay=4294967295":  "a number of seconds",
	} {
		got := Parse(line)
		if len(got.Problems) != 1 || !strings.Contains(got.Problems[0], part) {
			t.Errorf("%q: %q, want %q", line, got.Problems, part)
		}
		got.Problems = nil
		if diff := cmp.Diff(Parse(""), got); diff != "" {
			t.Errorf("%q has an effect:\n%s", line, diff)
		}
	}
}

// TestDocumented holds the table in the documentation to the one here.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/pid1.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		row := "| `" + k.Name
		if k.Value != "" {
			row += "=" + strings.ReplaceAll(k.Value, "|", `\|`)
		}
		row += "`"
		for _, also := range k.Also {
			row += ", `" + also + "`"
		}
		row += " | " + k.Help + " |"
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/pid1.md lacks the row\n%s", row)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "ro quiet", `a="b c" d`, `"berth.units=/a b"`, `x="`, "berth.log=debug,kmsg single -- s", "=", `"`, "rootwait=9999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o := Parse(line)
		if o.Check == "" || o.Repair == "" || o.Root.Delay < 0 || o.Root.WaitLimit < 0 {
			t.Errorf("%+v", o)
		}
		for _, dir := range o.Units {
			if !strings.HasPrefix(dir, "/") {
				t.Errorf("units in %q", dir)
			}
		}
		for _, p := range o.Problems {
			if utf8.ValidString(line) && !utf8.ValidString(p) {
				t.Errorf("a problem is told as %q", p)
			}
		}
		// The last of a key counts, and the order of other words does not matter.
		if !strings.Contains(line, `"`) {
			if again := Parse("berth.target=x " + line + " berth.target=y"); again.Target != "y" {
				t.Errorf("the target is %q", again.Target)
			}
		}
	})
}
