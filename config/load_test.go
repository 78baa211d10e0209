package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

// tree writes files given as a text of "== path" headers and their content.
func tree(t *testing.T, top, text string) {
	t.Helper()
	for _, part := range strings.Split("\n"+text, "\n== ")[1:] {
		path, content, _ := strings.Cut(part, "\n")
		write(t, filepath.Join(top, path), content+"\n")
	}
}

func load3(t *testing.T, top string) *Set {
	t.Helper()
	set, err := Load(Options{Dirs: []string{filepath.Join(top, "etc"), filepath.Join(top, "run"), filepath.Join(top, "lib")}})
	must(t, err)
	return set
}

// service is a minimal valid unit whose description tells where it came from.
func service(description string) string {
	return fmt.Sprintf("[unit]\ndescription = %q\n[service]\ncommand = [\"/bin/true\"]\n[rootfs]\nhost = true\n", description)
}

func names(set *Set) string {
	var list []string
	for name, u := range set.Units {
		list = append(list, name+"="+u.Unit.Description)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func clean3(t *testing.T, set *Set) {
	t.Helper()
	if len(set.Diagnostics) > 0 {
		t.Errorf("diagnostics:\n%s", set.Diagnostics.Error())
	}
}

func TestSearchOrder(t *testing.T) {
	top := realTemp(t)
	tree(t, top, "== lib/web.toml\n"+service("lib")+
		"\n== lib/db.toml\n"+service("lib")+
		"\n== lib/old.toml\n"+service("lib")+
		"\n== run/db.toml\n"+service("run")+
		"\n== etc/db.toml\n"+service("etc"))
	must(t, os.Symlink("/dev/null", filepath.Join(top, "etc", "old.toml")))
	set := load3(t, top)
	clean3(t, set)
	if got, want := names(set), "db=etc web=lib"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := set.Files["db"], []string{filepath.Join(top, "etc", "db.toml")}; !slices.Equal(got, want) {
		t.Errorf("files of db: %v, want %v", got, want)
	}
	if len(set.Missing) != 0 {
		t.Errorf("missing: %v", set.Missing)
	}
	must(t, os.RemoveAll(filepath.Join(top, "run")))
	if set := load3(t, top); !slices.Equal(set.Missing, []string{filepath.Join(top, "run")}) {
		t.Errorf("missing: %v", set.Missing)
	}
}

func TestDropIns(t *testing.T) {
	top := realTemp(t)
	one := func(v string) string { return "[service.environment]\n" + v + " = \"1\"\nLAST = \"" + v + "\"\n" }
	tree(t, top, "== lib/web.toml\n"+service("base")+
		"\n== lib/web.toml.d/10-a.toml\n"+one("LIB10")+
		"\n== lib/web.toml.d/30-c.toml\n"+one("LIB30")+
		"\n== run/web.toml.d/20-b.toml\n"+one("RUN20")+
		"\n== etc/web.toml.d/10-a.toml\n"+one("ETC10")+
		"\n== etc/web.toml.d/.hidden.toml\n"+one("HIDDEN")+
		"\n== etc/web.toml.d/40-d.toml~\n"+one("BACKUP"))
	set := load3(t, top)
	clean3(t, set)
	want := map[string]string{"ETC10": "1", "RUN20": "1", "LIB30": "1", "LAST": "LIB30"}
	if diff := cmp.Diff(want, set.Units["web"].Service.Environment); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	var files []string
	for _, f := range set.Files["web"] {
		rel, _ := filepath.Rel(top, f)
		files = append(files, rel)
	}
	if got := strings.Join(files, " "); got != "lib/web.toml etc/web.toml.d/10-a.toml run/web.toml.d/20-b.toml lib/web.toml.d/30-c.toml" {
		t.Errorf("files: %s", got)
	}

	must(t, os.Symlink("/dev/null", filepath.Join(top, "etc/web.toml.d/30-c.toml")))
	if got := load3(t, top).Units["web"].Service.Environment["LAST"]; got != "RUN20" {
		t.Errorf("with 30-c masked the last is %q, want RUN20", got)
	}
}

func TestTemplates(t *testing.T) {
	top := realTemp(t)
	tree(t, top, `== lib/worker@.toml
[unit]
description = "%p for %i"
instances = ["eu", "us", "masked"]
[service]
command = ["/bin/worker", "--region", "%i"]
environment = { FROM = "template" }
[rootfs]
host = true
== lib/worker@.toml.d/all.toml
[service]
environment = { ALL = "1", FROM = "template drop-in" }
== etc/worker@us.toml.d/us.toml
[service]
environment = { FROM = "us" }
== etc/worker@asia.toml
[service]
environment = { FROM = "asia" }
== etc/alone@x.toml
`+service("alone %i"))
	must(t, os.Symlink("/dev/null", filepath.Join(top, "etc", "worker@masked.toml")))
	must(t, os.Symlink("worker@.toml", filepath.Join(top, "lib", "worker@link.toml")))
	set := load3(t, top)
	clean3(t, set)
	if got, want := names(set), "alone@x=alone x worker@asia=worker for asia worker@eu=worker for eu worker@link=worker for link worker@us=worker for us"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for unit, from := range map[string]string{"worker@eu": "template drop-in", "worker@us": "us", "worker@asia": "asia"} {
		u := set.Units[unit]
		if u == nil {
			continue
		}
		if got := u.Service.Environment["FROM"]; got != from || u.Service.Environment["ALL"] != "1" {
			t.Errorf("%s: environment %v, want FROM = %q and ALL", unit, u.Service.Environment, from)
		}
	}
	// A masked template has no instances of its own accord.
	must(t, os.Symlink("/dev/null", filepath.Join(top, "etc", "worker@.toml")))
	must(t, os.Remove(filepath.Join(top, "etc", "worker@asia.toml")))
	must(t, os.Remove(filepath.Join(top, "lib", "worker@link.toml")))
	if got := names(load3(t, top)); got != "alone@x=alone x" {
		t.Errorf("with the template masked: %s", got)
	}
}

func TestTemplateFaultIsReportedOnce(t *testing.T) {
	top := realTemp(t)
	tree(t, top, "== etc/w@.toml\n[unit]\ninstances = [\"a\", \"b\", \"c\"]\n[service]\ncomand = [\"/bin/true\"]\ncommand = [\"/bin/true\"]\n[rootfs]\nhost = true")
	set := load3(t, top)
	if n := len(set.Diagnostics); n != 1 {
		t.Errorf("%d diagnostics, want 1:\n%s", n, set.Diagnostics.Error())
	}
	// And a template without instances is checked all the same.
	tree(t, top, "== etc/w@.toml\n[service]\ncomand = [\"/bin/true\"]\ncommand = [\"/bin/true\"]\n[rootfs]\nhost = true")
	if set := load3(t, top); len(set.Diagnostics) != 1 || len(set.Units) != 0 {
		t.Errorf("without instances: units %v, diagnostics:\n%s", set.Units, set.Diagnostics.Error())
	}
}

func TestRelativePaths(t *testing.T) {
	top := realTemp(t)
	tree(t, top, "== lib/web@.toml\n"+`[service]
command = ["/server"]
environment-files = ["./a.env", "-./b.env", "/c.env"]
[rootfs]
path = "./root"
[security]
seccomp = "./profile.json"
[[mount]]
type = "bind"
source = "./html"
target = "/srv"
[[mount]]
type = "volume"
source = "data"
target = "/data"
`+"\n== etc/web@one.toml\n\n== lib/layers.toml\n[service]\ncommand=[\"/x\"]\n[rootfs]\nlayers=[\"./a\", \"/b\"]")
	set := load3(t, top)
	clean3(t, set)
	u := set.Units["web@one"]
	lib := filepath.Join(top, "lib")
	got := append(append([]string{}, u.Service.EnvironmentFiles...), u.RootFS.Path, u.Security.Seccomp, u.Mounts[0].Source, u.Mounts[1].Source)
	got = append(got, set.Units["layers"].RootFS.Layers...)
	want := []string{lib + "/a.env", "-" + lib + "/b.env", "/c.env", lib + "/root", lib + "/profile.json", lib + "/html", "data", lib + "/a", "/b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFileFaults is the golden list of everything that can be wrong with files
// as such. None of it may hang.
func TestFileFaults(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root, to give files to other users")
	}
	top := realTemp(t)
	tree(t, top, "== etc/good.toml\n"+service("good")+
		"\n== etc/Web.toml\n"+service("bad name")+
		"\n== etc/my service.toml\n"+service("bad name")+
		"\n== etc/_.toml\n"+service("bad name")+
		"\n== etc/loud.TOML\n"+service("bad suffix")+
		"\n== etc/worker@a b.toml\n"+service("bad instance")+
		"\n== etc/goood.toml.d/x.toml\n[unit]\ndescription=\"x\""+
		"\n== etc/world.toml\n"+service("world-writable")+
		"\n== etc/group.toml\n"+service("group-writable")+
		"\n== etc/foreign.toml\n"+service("another's")+
		"\n== etc/large.toml\n"+strings.Repeat("#", MaxFile)+
		"\n== etc/notes.txt\nnothing of ours"+
		"\n== etc/dropin.toml\n"+service("")+
		"\n== lib/x.toml\n"+service("in a directory that everybody may write"))
	etc := filepath.Join(top, "etc")
	must(t, os.Chmod(filepath.Join(etc, "world.toml"), 0o666))
	must(t, os.Chown(filepath.Join(etc, "group.toml"), 0, 4242))
	must(t, os.Chmod(filepath.Join(etc, "group.toml"), 0o664))
	must(t, os.Chown(filepath.Join(etc, "foreign.toml"), 4242, 0))
	must(t, os.Mkdir(filepath.Join(etc, "dir.toml"), 0o755))
	must(t, unix.Mkfifo(filepath.Join(etc, "fifo.toml"), 0o644))
	must(t, unix.Mknod(filepath.Join(etc, "zero.toml"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))))
	must(t, os.Symlink("/nowhere/at/all", filepath.Join(etc, "dangling.toml")))
	must(t, os.Symlink("loop.toml", filepath.Join(etc, "loop.toml")))
	write(t, filepath.Join(etc, "dropin.toml.d"), "a file")
	must(t, os.Chmod(filepath.Join(top, "lib"), 0o777))

	set := load3(t, top)
	if got := names(set); got != "dropin= good=good" {
		t.Errorf("units: %s", got)
	}
	var b strings.Builder
	for _, d := range set.Diagnostics {
		fmt.Fprintf(&b, "%s\n    hint: %s\n", strings.ReplaceAll(d.String(), top, ""), d.Hint)
	}
	golden(t, "file-faults.txt", b.String())
}

// TestTrustFollowsTheDirectory: who owns the search directory may own what is
// in it, and so may the group that may write to it.
func TestTrustFollowsTheDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root, to give files to other users")
	}
	top := realTemp(t)
	tree(t, top, "== etc/web.toml\n"+service("a"))
	for _, path := range []string{"etc", "etc/web.toml"} {
		must(t, os.Chown(filepath.Join(top, path), 4242, 4243))
	}
	must(t, os.Chmod(filepath.Join(top, "etc"), 0o775))
	must(t, os.Chmod(filepath.Join(top, "etc/web.toml"), 0o664))
	clean3(t, load3(t, top))
	must(t, os.Chmod(filepath.Join(top, "etc"), 0o755))
	if set := load3(t, top); set.Valid() {
		t.Error("a group that may not write to the directory may write to the file, and that is accepted")
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestUnreadableIsAnError: what cannot be read must not look as if it were gone.
func TestUnreadableIsAnError(t *testing.T) {
	top := realTemp(t)
	write(t, filepath.Join(top, "file"), "")
	if set, err := Load(Options{Dirs: []string{filepath.Join(top, "file", "units")}}); err == nil {
		t.Errorf("got %v and no error", set)
	}
}

// TestChangingDirectory reads while files come and go: never an error of the
// kind that is not the user's, never a unit that was there all the time missing.
func TestChangingDirectory(t *testing.T) {
	top := realTemp(t)
	etc := filepath.Join(top, "etc")
	tree(t, top, "== etc/stays.toml\n"+service("stays"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				os.WriteFile(filepath.Join(etc, "goes.toml.tmp"), []byte(service("goes")), 0o644)
				os.Rename(filepath.Join(etc, "goes.toml.tmp"), filepath.Join(etc, "goes.toml"))
				os.Remove(filepath.Join(etc, "goes.toml"))
			}
		}
	}()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		set, err := Load(Options{Dirs: []string{etc}})
		if err != nil {
			if !strings.Contains(err.Error(), errChanged.Error()) {
				t.Error(err)
			}
			continue
		}
		if set.Units["stays"] == nil || !set.Valid() {
			t.Errorf("units %s, diagnostics %s", names(set), set.Diagnostics.Error())
		}
	}
	close(stop)
	<-done
}

func TestTooManyUnits(t *testing.T) {
	top := realTemp(t)
	tree(t, top, "== etc/a@.toml\n[unit]\ninstances = [\"1\", \"2\", \"3\"]\n[service]\ncommand=[\"/bin/true\"]\n[rootfs]\nhost=true\n== etc/b.toml\n"+service("b"))
	dirs := []string{filepath.Join(top, "etc")}
	set, err := load(dirs, 4, nil)
	must(t, err)
	clean3(t, set)
	set, err = load(dirs, 3, nil)
	must(t, err)
	if len(set.Units) != 3 || len(set.Diagnostics) != 1 || set.Diagnostics[0].Code != codeTooMany {
		t.Errorf("%d units, diagnostics:\n%s", len(set.Units), set.Diagnostics.Error())
	}
}

// TestGraphFaultsHaveAPlace: what is wrong between units is reported where it is
// written, also when that is a drop-in.
func TestGraphFaultsHaveAPlace(t *testing.T) {
	top := realTemp(t)
	tree(t, top, "== etc/web.toml\n"+service("web")+"\n== etc/web.toml.d/x.toml\n\n[unit]\nrequires = [\"bd\"]\n== etc/db.toml\n"+service("db"))
	set := load3(t, top)
	if len(set.Diagnostics) != 1 {
		t.Fatalf("diagnostics:\n%s", set.Diagnostics.Error())
	}
	d := set.Diagnostics[0]
	if rel, _ := filepath.Rel(top, d.Path); rel != "etc/web.toml.d/x.toml" || d.Line != 3 || !strings.Contains(d.Hint, "db") {
		t.Errorf("%s, hint %q", d, d.Hint)
	}
}
