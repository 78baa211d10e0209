package main

import (
	"slices"
	"strings"
	"testing"

	"berth/config"

	"github.com/google/go-cmp/cmp"
)

// The unit files are right as they are; what they need is in the image, which
// berth build-image checks.
func TestUnits(t *testing.T) {
	set, err := config.Load(config.Options{Dirs: []string{"units"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Diagnostics) > 0 {
		t.Errorf("diagnostics:\n%s", set.Diagnostics.Error())
	}
	var names []string
	for name, u := range set.Units {
		names = append(names, name)
		if name != "console" && (u.Security.Seccomp != "default" || !u.Security.NoNewPrivileges || len(u.Capabilities.Keep) > 1) {
			t.Errorf("%s: only the console is without the defaults of security", name)
		}
	}
	slices.Sort(names)
	if got, want := strings.Join(names, " "), "console network nginx redis"; got != want {
		t.Errorf("units %q, want %q", got, want)
	}
}

func TestParseDepends(t *testing.T) {
	const text = `nginx
  Depends: libc6
  PreDepends: base:any
 |Depends: first
  Depends: second
  Depends: third
  Depends: <virtual>
    one
    other
libc6
  Depends: libgcc-s1
`
	want := map[string][]string{"nginx": {"libc6", "base", "first", "third", "one"}, "libc6": {"libgcc-s1"}}
	if diff := cmp.Diff(want, parseDepends(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestControl(t *testing.T) {
	d := &deb{}
	d.control("Package: web\nVersion: 1\nPre-Depends: base\nDepends: libc6 (>= 2.34), a | b:any (= 1)\nProvides: httpd, httpd-cgi (= 2)\nDescription: x\n .\n")
	want := &deb{name: "web", depends: [][]string{{"base"}, {"libc6"}, {"a", "b"}}, provides: []string{"httpd", "httpd-cgi"}}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(deb{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClosure(t *testing.T) {
	lib := library{
		"web":  {name: "web", depends: [][]string{{"libc"}, {"debconf", "debconf-2.0"}, {"missing", "httpd"}}},
		"libc": {name: "libc", depends: [][]string{{"web"}}},
		"srv":  {name: "srv", provides: []string{"httpd"}},
	}
	lib["httpd"] = lib["srv"]
	debs, err := lib.closure([]string{"web"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range debs {
		names = append(names, d.name)
	}
	if got := strings.Join(names, " "); got != "libc srv web" {
		t.Errorf("web needs %q", got)
	}
	delete(lib, "libc")
	if _, err := lib.closure([]string{"web"}); err == nil || !strings.Contains(err.Error(), "there is no package libc, which web needs") {
		t.Errorf("without libc: %v", err)
	}
}

func TestMerged(t *testing.T) {
	for name, want := range map[string]string{"./bin/sh": "usr/bin/sh", "/lib64/ld.so": "usr/lib64/ld.so", "usr/bin/x": "usr/bin/x", "./": "", "../etc/x": "etc/x", "binary": "binary"} {
		if got := merged(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}
