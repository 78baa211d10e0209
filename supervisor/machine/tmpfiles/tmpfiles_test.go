package tmpfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func testSpecifier(letter byte) (string, error) {
	if letter == 'x' {
		return "", errors.New("nothing stands for %x")
	}
	return "<" + string(letter) + ">", nil
}

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		"d /run/web 0755 web www 10d -":        "d /run/web mode 755 web www",
		"d /run/web":                           "d /run/web",
		"d! /run/web - - - -":                  "d /run/web boot",
		"F /run/x 600 - - - some text  here ":  `f+ /run/x mode 600 "some text  here"`,
		`f "/run/a b" - - - - a\tb\x41\101\\c`: `f /run/a b "a\tbAA\\c"`,
		`f /run/a\x20b - - - - "q"`:            `f /run/a b "\"q\""`,
		"f /run/%m/%% 0644 - - - id %b":        `f /run/<m>/% mode 644 "id <b>"`,
		"L+ /run/x - - - - ../y":               `L+ /run/x "../y"`,
		"L /etc/x":                             `L /etc/x "/usr/share/factory/etc/x"`,
		"L? /etc/x - - - - /y":                 `L /etc/x ifthere "/y"`,
		"C /etc/x - - - - ":                    `C /etc/x "/usr/share/factory/etc/x"`,
		"c+ /dev/x 0600 0 0 - 1:3":             `c+ /dev/x mode 600 0 0 "1:3"`,
		"z /sys/*/x ~0640 :root :adm":          "z /sys/*/x masked mode 640 :root :adm",
		"m /x 02755":                           "z /x mode 2755",
		"d= /x :0700":                          "d /x replace new mode 700",
		"Z-! /x":                               "Z /x boot try",
		"w+ /x - - - - y":                      `w+ /x "y"`,
		"x /tmp/x*":                            "x /tmp/x*",
		"Q /x":                                 "d /x",
		"d /x//y/":                             "d /x/y",
		"r /":                                  "!the root directory cannot",
		"d x":                                  `!the path "x" is not absolute`,
		"d /a/../b":                            "!not absolute and plain",
		"d":                                    "!the line has no path",
		"y /x":                                 `!there is no type "y"`,
		"E /x":                                 `!there is no type "E"`,
		"d* /x":                                `!the type "d*" has '*' in it`,
		"d+ /x":                                `!the type "d+" has '+' in it`,
		"d /x 0888":                            `!"0888" is no mode`,
		"d /x 10000":                           `!"10000" is no mode`,
		"c /x - - - - 1-3":                     `!"1-3" is no device`,
		"w /x":                                 "!needs a text",
		`d "/x`:                                "!a quote is not closed",
		`d /x\q`:                               `!"\\q" is no escape`,
		"d /%x":                                "!nothing stands for %x",
		"d /a%":                                "!a % stands at the end",
		"a+ /x - - - - u::rw":                  "?the type a (access",
		"h /x - - - - +C":                      "?the type h (access",
	} {
		items, problems := Parse("f", "# x\n\n"+line+"\n", testSpecifier)
		if strings.ContainsAny(want[:1], "!?") {
			if len(problems) != 1 || len(items) != 0 || problems[0].Line != 3 || !strings.Contains(problems[0].What, want[1:]) || problems[0].Minor != (want[0] == '?') {
				t.Errorf("%q: %v, %v; want %s", line, items, problems, want)
			}
			continue
		}
		if len(problems) > 0 || len(items) != 1 {
			t.Errorf("%q: %v", line, problems)
			continue
		}
		if got := text(items[0]); got != want {
			t.Errorf("%q:\n got %s\nwant %s", line, got, want)
		}
	}
}

func text(i Item) string {
	words := []string{string(i.Type)}
	if i.Plus {
		words[0] += "+"
	}
	add := func(yes bool, format string, args ...any) {
		if yes {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(true, "%s", i.Path)
	add(i.Boot, "boot")
	add(i.Try, "try")
	add(i.Replace, "replace")
	add(i.IfThere, "ifthere")
	add(i.Mode.Masked, "masked")
	add(i.Mode.New, "new")
	add(i.Mode.Set, "mode %o", i.Mode.Bits)
	for _, o := range []Owner{i.User, i.Group} {
		name := o.Name
		if o.New {
			name = ":" + name
		}
		add(name != "", "%s", name)
	}
	add(i.Arg != "", "%q", i.Arg)
	return strings.Join(words, " ")
}

func TestPlan(t *testing.T) {
	items, _ := Parse("f", "f /a/b/c\nD /a/b\nd /a\nz /a/* 0700\nr /x/y\nR /x/y/z\nd /a 0700\nd /a\nx /tmp\nw /a/b/c - - - - 1\n", testSpecifier)
	remove, create, change, problems := Plan(items)
	list := func(items []Item) string {
		var s []string
		for _, i := range items {
			s = append(s, string(i.Type)+i.Path)
		}
		return strings.Join(s, " ")
	}
	got := list(remove) + "; " + list(create) + "; " + list(change)
	if want := "R/x/y/z D/a/b r/x/y; d/a D/a/b f/a/b/c; z/a/* w/a/b/c"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if len(problems) != 1 || problems[0].String() != "f:7: left out: /a is made by f:3 already" || !problems[0].Minor {
		t.Error(problems)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, for owners and devices")
		}
		t.Skip("needs root, for owners and devices")
	}
}

// rootWith makes a root directory with lines in its tmpfiles.d and a user web.
func rootWith(t *testing.T, lines string) string {
	t.Helper()
	needRoot(t)
	root := t.TempDir()
	for name, text := range map[string]string{
		"usr/lib/tmpfiles.d/t.conf": lines,
		"etc/passwd":                "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\nmallory:x:2000:2000::/:/bin/sh\n",
		"etc/group":                 "root:x:0:\nwww:x:1002:\n",
		"etc/shadow":                "secret",
		"etc/machine-id":            "0123456789abcdef0123456789abcdef\n",
		"usr/share/factory/etc/f/a": "factory a",
	} {
		put(t, root+"/"+name, text)
	}
	return root
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// look describes a file.
func look(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "none"
	}
	s := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch fs.FileMode(st.Mode & unix.S_IFMT) {
	case unix.S_IFREG:
		b, _ := os.ReadFile(path)
		s += fmt.Sprintf(" %q", b)
	case unix.S_IFLNK:
		to, _ := os.Readlink(path)
		s += " " + to
	case unix.S_IFCHR, unix.S_IFBLK:
		s += fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFDIR:
		entries, _ := os.ReadDir(path)
		for _, e := range entries {
			s += " " + e.Name()
		}
	}
	return s
}

func TestApply(t *testing.T) {
	root := rootWith(t, `
d /run/web 2750 web www
f /run/web/%m 0600 web - - id=%m\n
f+ /run/again 0640 - - - new
f /run/kept 0611 - - - new
d /run/bad 0755 nobody-here
d /var/log/deep/er
L /run/link - - - - ../etc/passwd
L+ /run/relink - - - - /new
L /run/oldlink - - - - /new
L? /run/nolink - - - - /nowhere
L? /run/iflink - - - - /etc/passwd
p /run/pipe 0620 0 www
c /dev/nothing 0666 - - - 1:3
b+ /dev/disk 0600 - - - 7:0
C /etc/f
C /etc/full - - - - /usr/share/factory/etc/f
C /etc/none
D /run/emptied 0700
R /run/gone*
r /run/{one,two}
w /run/w? - - - - over
w+ /run/w1 - - - - more
w /run/none - - - - x
z /run/tree/a ~0777 web
Z /run/tree/sub ~0750 :mallory www
Z /run/theirs - web
e /run/tree 0711
d /run/tree/a
d= /run/replaced
m /run/link 0777
d /etc/passwd/x
f /run/many/../x
`)
	for name, text := range map[string]string{
		"run/again": "old", "run/kept": "old", "etc/full/b": "b", "run/emptied/a/b/c": "", "run/gone1/x/y": "", "run/gone2": "", "run/one": "", "run/two/": "",
		"run/theirs/a": "", "run/w1": "123456", "run/w2": "1", "run/tree/a": "", "run/tree/sub/b": "", "run/tree/sub/c/d": "", "run/replaced": "file", "dev/disk": "file",
	} {
		if strings.HasSuffix(name, "/") {
			name += "x"
		}
		put(t, root+"/"+name, text)
	}
	for _, err := range []error{os.Symlink("/old", root+"/run/relink"), os.Symlink("/old", root+"/run/oldlink"), os.Symlink("../../etc/shadow", root+"/run/tree/sub/shadow"), os.Chmod(root+"/run/tree/sub/b", 0o4755), os.Chown(root+"/run/theirs", 1000, 0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	shadow := look(root + "/etc/shadow")
	problems := Apply(t.Context(), root)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	slices.Sort(got)
	want := []string{
		`/usr/lib/tmpfiles.d/t.conf:21: cannot remove /run/{one,two}: directory not empty`,
		`/usr/lib/tmpfiles.d/t.conf:29: cannot make /run/tree/a: there is something else: a regular file`,
		`/usr/lib/tmpfiles.d/t.conf:32: cannot make /etc/passwd/x: not a directory`,
		`/usr/lib/tmpfiles.d/t.conf:33: the path "/run/many/../x" is not absolute and plain; write it as d /run/web 0755 web web - -`,
		`/usr/lib/tmpfiles.d/t.conf:6: cannot make /run/bad: there is no user "nobody-here" in the root's /etc/passwd`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	const id = "0123456789abcdef0123456789abcdef"
	for path, want := range map[string]string{
		"run/web":                  "42750 1000:1002 " + id,
		"run/web/" + id:            `100600 1000:1002 "id=` + id + `\n"`,
		"run/again":                `100640 0:0 "new"`,
		"run/kept":                 `100611 0:0 "old"`,
		"run/bad":                  "40700 0:0",
		"var/log/deep":             "40755 0:0 er",
		"run/link":                 "120777 0:0 ../etc/passwd",
		"run/relink":               "120777 0:0 /new",
		"run/oldlink":              "120777 0:0 /old",
		"run/nolink":               "none",
		"run/iflink":               "120777 0:0 /etc/passwd",
		"run/pipe":                 "10620 0:1002",
		"dev/nothing":              "20666 0:0 1:3",
		"dev/disk":                 "60600 0:0 7:0",
		"etc/f":                    "40755 0:0 a",
		"etc/f/a":                  `100644 0:0 "factory a"`,
		"etc/full":                 "40755 0:0 b",
		"etc/none":                 "none",
		"run/emptied":              "40700 0:0",
		"run/gone1":                "none",
		"run/gone2":                "none",
		"run/one":                  "none",
		"run/w1":                   `100644 0:0 "over56more"`,
		"run/w2":                   `100644 0:0 "over"`,
		"run/none":                 "none",
		"run/tree":                 "40711 0:0 a sub",
		"run/tree/a":               `100666 1000:0 ""`,
		"run/tree/sub":             "40750 0:1002 b c shadow",
		"run/tree/sub/b":           `100750 0:1002 ""`,
		"run/tree/sub/c/d":         `100640 0:1002 ""`,
		"run/replaced":             "40755 0:0",
		"run/theirs/a":             `100644 1000:0 ""`,
		"etc/passwd/x":             "none",
		"usr/share/factory/etc/f/": "40755 0:0 a",
	} {
		if got := look(filepath.Join(root, path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := look(root + "/etc/shadow"); got != shadow {
		t.Errorf("a file that a link leads to became %s", got)
	}
	// A second time nothing changes, and the same is told.
	if again := Apply(t.Context(), root); len(again) != len(problems) {
		t.Errorf("a second time: %v", again)
	}
}

// TestAttack has a user put links where root is to work.
func TestAttack(t *testing.T) {
	for name, c := range map[string]struct {
		lines string
		evil  func(dir string) error
	}{
		"link for a file": {"f+ /srv/web/log 0666 mallory", func(d string) error { return os.Symlink("/etc/shadow", d+"/log") }},
		"link in the way": {"d /srv/web/x/sub 0777 mallory\nf+ /srv/web/x/shadow 0666 mallory", func(d string) error { return os.Symlink("/etc", d+"/x") }},
		"relative link":   {"f+ /srv/web/x/shadow 0666 mallory", func(d string) error { return os.Symlink("../../etc", d+"/x") }},
		"recursion":       {"Z /srv/web 0666 mallory", func(d string) error { return os.Symlink("/etc/shadow", d+"/x") }},
		"removal":         {"R /srv/web/*/shadow", func(d string) error { return os.Symlink("/etc", d+"/x") }},
		"hard link":       {"z /srv/web/x 0666 mallory", func(d string) error { return os.Link(d+"/../../etc/shadow", d+"/x") }},
		"hard link tree":  {"Z /srv/web 0666 mallory", func(d string) error { return os.Link(d+"/../../etc/shadow", d+"/x") }},
		"hard link in /tmp": {"z /tmp/x 0666 mallory", func(d string) error {
			return errors.Join(os.Mkdir(d+"/../../tmp", 0o777), os.Link(d+"/../../etc/shadow", d+"/../../tmp/x"))
		}},
		"write in /tmp": {"w /tmp/x - - - - evil", func(d string) error {
			return errors.Join(os.Mkdir(d+"/../../tmp", 0o777), os.Link(d+"/../../etc/shadow", d+"/../../tmp/x"))
		}},
		"write":          {"w /srv/web/x - - - - evil", func(d string) error { return os.Symlink("/etc/shadow", d+"/x") }},
		"copy":           {"C /srv/web/x - - - - /usr/share/factory/etc/f", func(d string) error { return os.Symlink("/etc", d+"/x") }},
		"copy from":      {"C /srv/copy - - - - /srv/web/x/shadow", func(d string) error { return os.Symlink("/etc", d+"/x") }},
		"link to a link": {"d /srv/web/y/sub 0777 mallory", func(d string) error { return errors.Join(os.Symlink("/etc", d+"/x"), os.Symlink("x", d+"/y")) }},
	} {
		t.Run(name, func(t *testing.T) {
			root := rootWith(t, c.lines+"\n")
			dir := root + "/srv/web"
			if err := errors.Join(os.MkdirAll(dir, 0o755), c.evil(dir), os.Chown(dir, 2000, 2000)); err != nil {
				t.Fatal(err)
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if e.Type()&fs.ModeSymlink != 0 {
					if err := os.Lchown(dir+"/"+e.Name(), 2000, 2000); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := look(root+"/etc/shadow") + look(root+"/etc")
			t.Log(Apply(t.Context(), root))
			if after := look(root+"/etc/shadow") + look(root+"/etc"); after != before {
				t.Errorf("/etc became %s, was %s", after, before)
			}
			if got := look(root + "/srv/copy"); got != "none" {
				t.Errorf("a secret was copied: %s", got)
			}
		})
	}
}

// TestRemoveMounted: what is mounted below is not emptied.
func TestRemoveMounted(t *testing.T) {
	root := rootWith(t, "D /run/x 0755\nR /run/y\n")
	runtime.LockOSThread() // never unlocked: the thread's namespace ends with it
	if err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root + "/run/x/mounted", root + "/run/y/mounted"} {
		put(t, dir+"/below", "")
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		put(t, dir+"/kept", "")
		put(t, filepath.Dir(dir)+"/gone", "")
	}
	problems := Apply(t.Context(), root)
	if len(problems) != 2 || !strings.Contains(problems[0].String(), "cannot remove /run/x: mounted: something is mounted there") {
		t.Errorf("%v", problems)
	}
	for _, dir := range []string{root + "/run/x", root + "/run/y"} {
		if got := look(dir + "/mounted"); !strings.HasSuffix(got, " kept") {
			t.Errorf("%s/mounted: %s", dir, got)
		}
		if got := look(dir + "/gone"); got != "none" {
			t.Errorf("%s/gone: %s", dir, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("d /run/web 0755 web web - -\nf+ /x - - - - a\\tb %m")
	f.Add("c+ \"/a b\" ~0666 :0 :0 - 1:3\nR /{a,b}*/x")
	f.Fuzz(func(t *testing.T, text string) {
		items, _ := Parse("f", text, testSpecifier)
		Plan(items)
		for _, i := range items {
			if i.Path == "" || i.Path[0] != '/' || hasDots(i.Path) || i.Mode.Bits > 0o7777 {
				t.Errorf("%q: %+v", text, i)
			}
			if got := braces(i.Path); len(got) > 64*maxBraces && len(i.Path) < 64 {
				t.Errorf("%q stands for %d paths", i.Path, len(got))
			}
		}
	})
}
