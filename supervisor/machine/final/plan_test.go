package final

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/machine"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestPlan makes a plan of each machine under testdata. A file is a mountinfo,
// the swaps and the devices, in sections, and then the plans.
func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no machines", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, _, _ := strings.Cut(string(text), "-- plan --\n")
			h := hostOf(t, given)
			var out strings.Builder
			out.WriteString(given)
			list := func(title string, steps []Step) {
				out.WriteString("-- " + title + " --\n")
				for _, s := range steps {
					out.WriteString(s.String() + "\n")
				}
			}
			list("plan", Plan(h, false, false))
			list("plan, soft, by force", Plan(h, true, true))
			list("read-only", ReadOnlyPlan(h))
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), out.String()); diff != "" {
				t.Errorf("(-file +code; go test -update):\n%s", diff)
			}
		})
	}
}

// hostOf reads a machine: -- mounts -- as in mountinfo, -- swaps -- as in
// /proc/swaps, -- devices -- as in "loop0 7:0,259:1 parts=loop0p1 under=sda1 file=/x label=y".
func hostOf(t *testing.T, text string) Host {
	t.Helper()
	sections := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(strings.TrimSpace(title), " --")
			continue
		}
		if !strings.HasPrefix(line, "#") {
			sections[name] += line
		}
	}
	mounts, err := parseMounts([]byte(sections["mounts"]))
	if err != nil {
		t.Fatal(err)
	}
	h := Host{Mounts: mounts, Swaps: parseSwaps(sections["swaps"])}
	for line := range strings.Lines(sections["devices"]) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		d := Device{Name: words[0], Numbers: strings.Split(words[1], ",")}
		for _, w := range words[2:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "parts":
				d.Parts = strings.Split(value, ",")
			case "under":
				d.Under = strings.Split(value, ",")
			case "file":
				d.File = value
			case "label":
				d.Label = value
			default:
				t.Fatalf("what is %q?", w)
			}
		}
		h.Devices = append(h.Devices, d)
	}
	return h
}

// Whatever a kernel says is there, each thing gets one step at most, and the root none.
func FuzzPlan(f *testing.F) {
	f.Add("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 7:0 / /a rw - ext4 /dev/loop0 rw\n3 2 0:3 / /a/b rw - tmpfs x rw\n", "x\n/a/swap file 1 2 3\n", "loop0", "/a/b/file", "dm-0")
	f.Fuzz(func(t *testing.T, mounts, swaps, name, file, slave string) {
		h := Host{Swaps: parseSwaps(swaps)}
		h.Mounts, _ = parseMounts([]byte(mounts))
		if len(h.Mounts) > 50 || len(h.Swaps) > 50 {
			return
		}
		h.Devices = []Device{{Name: name, Numbers: []string{"7:0"}, File: file, Under: []string{slave}}, {Name: slave, Numbers: []string{"7:1"}, Under: []string{name}}}
		steps := Plan(h, false, true)
		if len(steps) > len(h.Mounts)+len(h.Swaps)+len(h.Devices) {
			t.Errorf("%d steps", len(steps))
		}
		for _, s := range steps {
			if s.Op == OpUnmount && s.Target == "/" {
				t.Errorf("the root is unmounted: %v", steps)
			}
		}
	})
}

func TestLine(t *testing.T) {
	sh := process{pid: 812, name: "sh", unit: "web"}
	for _, c := range []struct {
		o    outcome
		want string
	}{
		{outcome{}, "power off: no process was left; everything is unmounted"},
		{outcome{killed: []process{sh, {pid: 901}}}, "power off: killed 2 processes (web 812 sh, 901); everything is unmounted"},
		{outcome{left: []process{{pid: 7, name: "dd\x1b[2J", stuck: true}}, stayed: []Stayed{{"/data", "busy", true, false}, {"/x", "hangs", true, true}, {"loop0", "busy", false, false}}},
			"power off: could not kill 1 process (7 dd\ufffd[2J in the kernel); still mounted: /data (busy); still mounted and writable: /x (hangs); still attached: loop0 (busy)"},
		{outcome{killed: make([]process, 12), notes: []string{"a note"}}, "power off: killed 12 processes (0, 0, 0, 0, 0, 0, 0, 0, 0, 0 and 2 more); a note"},
	} {
		if got := c.o.line("poweroff", true); got != c.want {
			t.Errorf("%q\nwant %q", got, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	o := Options{Action: "soft-reboot", Place: machine.Container, Limit: time.Minute, Code: 3, Again: []string{"berthd", "--units", "/x y"}}
	if diff := cmp.Diff(o, Parse(o.Args())); diff != "" {
		t.Error(diff)
	}
	want := Options{Action: "poweroff", Place: machine.Machine, Limit: DefaultLimit}
	for _, args := range [][]string{nil, {"explode"}, {"exit", "machine", "-1s", "999"}, {"poweroff", "moon", "x", "-1"}} {
		if diff := cmp.Diff(want, Parse(args)); diff != "" {
			t.Errorf("%q: %s", args, diff)
		}
	}
}

func TestParseStat(t *testing.T) {
	for stat, want := range map[string]string{
		"7 (a) b) S 1 7 7 0 -1 4194560 0":     "a) b",
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0": "",
		"9 (gone) Z 1 9 9 0 -1 4194560 0":     "",
		"9 (":                                 "", "": "", ")(": "",
	} {
		if p, ok := parseStat(stat); p.name != want && ok || ok != (want != "") {
			t.Errorf("%q: %+v, %v", stat, p, ok)
		}
	}
}

func TestUnitOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/berth.slice/web.service\n":                          "web",
		"0::/berth.slice/web:2.service/inner/x.service\n":        "web",
		"4:memory:/\n0::/a.slice/berthd.service\n":               "",
		"0::/system.slice/berthd.service/berth.slice/db.service": "db",
		"": "",
	} {
		if got := unitOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNextInit(t *testing.T) {
	root := t.TempDir()
	program := func(path string, mode os.FileMode) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if path, err := nextInit(root, "/usr/bin/berthd"); err == nil {
		t.Errorf("%s in an empty root", path)
	}
	program("usr/bin/berthd", 0o644) // cannot be executed
	program("lib/init", 0o755)
	if err := os.MkdirAll(filepath.Join(root, "sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/lib/init", filepath.Join(root, "sbin/init")); err != nil { // inside
		t.Fatal(err)
	}
	if path, err := nextInit(root, "/usr/bin/berthd"); path != "/sbin/init" {
		t.Error(path, err)
	}
	program("usr/sbin/own", 0o755)
	if path, err := nextInit(root, "/usr/sbin/own"); path != "/usr/sbin/own" {
		t.Error(path, err)
	}
}

func TestUnwritten(t *testing.T) {
	n, ok := parseUnwritten("MemTotal: 5 kB\nDirty:   12 kB\nWriteback:  4 kB\nWritebackTmp: 9 kB\n")
	if n != 16<<10 || !ok {
		t.Error(n, ok)
	}
	if _, ok := parseUnwritten("x"); ok {
		t.Error("found where there is nothing")
	}
}
