package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/units"
)

func TestSettings(t *testing.T) {
	s, ds := ParseSettings("berthd.toml", []byte(`# a comment
[daemon]
units = ["/srv/units"]
reload = "manual"
log-level = "debug"
log-target = "console"
runtime-dir = "/run/other"
state-dir = "/srv/state"
read-group = "adm"
operate-group = "wheel"
cgroup-parent = "/machine"
history = 5
emergency = "halt"
shutdown-timeout = "infinity"
exit-unit = "web"
final-timeout = "2m"
supervisor-watchdog = ""
hardware-watchdog = "30s"

[x-mine]
anything = 1
`))
	if len(ds) > 0 {
		t.Fatal(ds.Error())
	}
	want := Settings{Units: []string{"/srv/units"}, Reload: "manual", LogLevel: "debug", LogTarget: "console", RuntimeDir: "/run/other",
		StateDir: "/srv/state", Socket: "/run/other/berth.sock", ReadGroup: "adm", OperateGroup: "wheel", CgroupParent: "/machine",
		History: 5, ShutdownTimeout: units.Infinity, HardwareWatchdog: units.Duration(30 * time.Second), ExitUnit: "web", FinalTimeout: units.Duration(2 * time.Minute), Emergency: "halt"}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSettingsFaults(t *testing.T) {
	var b strings.Builder
	for _, text := range []string{
		"[daemon]\nlog-level = \"inof\"\nlog_target = \"auto\"\nstate-dir = \"var/lib\"\nunits = [\"/a\", 3]\nread-group = 5\nlog-level = \"info\"\n",
		"[daemon]\nhistory = 0\nshutdown-timeout = \"soon\"\n",
		"[daemon]\nhistory = \"20\"\nshutdown-timeout = 5\n",
		"[daemon]\nsupervisor-watchdog = \"1s\"\nhardware-watchdog = \"infinity\"\n",
		"[deamon]\nreload = \"auto\"\n",
		"reload = \"auto\"\n",
		"daemon.reload = \"soon\"\n",
		"[daemon]\nsocket = \"/" + strings.Repeat("x", 107) + "\"\n",
		"[daemon]\nruntime-dir = \"/" + strings.Repeat("x", 107) + "\"\n",
		"[daemon]\nunits = []\n[daemon]\n",
		"[[daemon]]\n",
		"[daemon\nreload = 1\n",
		"[daemon]\nreload = \n",
		"[daemon]\ncgroup-parent = \"a/../b\"\noperate-group = \"a:b\"\nruntime-dir = \"/run/../etc\"\n",
		"[daemon]\nreload.now = true\n",
		"[daemon]\nstate-dir = \"\"\n",
	} {
		b.WriteString(text)
		_, ds := ParseSettings("berthd.toml", []byte(text))
		for _, d := range ds {
			b.WriteString("--> " + d.String() + "\n    " + d.SourceLine + "\n    " + strings.Repeat(" ", d.Column-1) +
				strings.Repeat("^", d.EndColumn-d.Column) + "\n    hint: " + d.Hint + "\n")
			if _, ok := Explain(d.Code); !ok {
				t.Errorf("%s has no explanation", d.Code)
			}
		}
		if !ds.HasErrors() {
			t.Errorf("accepted: %s", text)
		}
		b.WriteString("\n")
	}
	golden(t, "settings-faults.txt", b.String())
}

// TestSettingsTable holds the table to the defaults it states.
func TestSettingsTable(t *testing.T) {
	text := "[daemon]\n"
	for _, s := range AllSettings() {
		text += s.Key + " = " + s.Default + "\n"
		kinds := 0
		for _, there := range []bool{s.text != nil, s.list != nil, s.number != nil, s.span != nil} {
			if there {
				kinds++
			}
		}
		if s.Help == "" || kinds != 1 {
			t.Errorf("%s: incomplete", s.Key)
		}
	}
	s, ds := ParseSettings("x", []byte(text))
	if len(ds) > 0 {
		t.Error(ds.Error())
	}
	if diff := cmp.Diff(DefaultSettings(), s); diff != "" {
		t.Errorf("(-default +table):\n%s", diff)
	}
}

func TestLoadSettings(t *testing.T) {
	dir := realTemp(t)
	path := filepath.Join(dir, "berthd.toml")
	if s, ds := LoadSettings(path); len(ds) > 0 || !cmp.Equal(s, DefaultSettings()) {
		t.Errorf("without a file: %v %v", s, ds)
	}
	if s, ds := LoadSettings(filepath.Join(dir, "x", "berthd.toml")); len(ds) > 0 || !cmp.Equal(s, DefaultSettings()) {
		t.Errorf("without a directory: %v %v", s, ds)
	}
	write(t, path, "[daemon]\nlog-level = \"warn\"\n")
	if s, ds := LoadSettings(path); len(ds) > 0 || s.LogLevel != "warn" {
		t.Errorf("%v %v", s, ds)
	}
	must(t, os.Chmod(path, 0o666))
	if _, ds := LoadSettings(path); !ds.HasErrors() {
		t.Error("a world-writable file is accepted")
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("[daemon]\nreload = \"auto\"\nunits = [\"/a\", \"/b\"]\n[x-a]\nb = {c = [1]}\n")
	f.Add("[daemon]\nsocket = '''/x\ny'''\n\"log-level\" = \"\\u0069nfo\"")
	f.Fuzz(func(t *testing.T, text string) {
		s, ds := ParseSettings("berthd.toml", []byte(text))
		if s.Socket == "" || len(s.Units) == 0 || s.Reload != "auto" && s.Reload != "manual" || s.History < 1 {
			t.Errorf("%+v", s)
		}
		for _, d := range ds {
			if d.Line < 1 || d.Column < 1 || d.EndColumn <= d.Column {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestClosest(t *testing.T) {
	words := []string{"reload", "log-level", "units"}
	for in, want := range map[string]string{"relaod": "reload", "loglevel": "log-level", "unit": "units", "x": "", "socket": "", "reload": "reload"} {
		if got := closest(in, words); got != want {
			t.Errorf("closest(%q) = %q, want %q", in, got, want)
		}
	}
}
