package container

import (
	"errors"
	"strings"
	"testing"

	"berth/isolate"
)

const userUnit = base + `[[mount]]
source = '/srv'
target = '/srv'
idmap = true
options = ['rbind']
[[mount]]
type = 'volume'
source = 'data'
target = '/data'
[[mount]]
source = '/opt'
target = '/opt'
[namespaces]
user = 'new'
`

func withIDs(first uint32) Environment {
	return Environment{StateDir: stateDir, IDs: func(string) (uint32, error) { return first, nil }}
}

func TestUserNamespace(t *testing.T) {
	c, err := Build(unit(t, "web", userUnit), withIDs(700000))
	if err != nil {
		t.Fatal(err)
	}
	r := []isolate.IDRange{{Inside: 0, Outside: 700000, Count: 65536}}
	ids := isolate.IDMap{UIDs: r, GIDs: r}
	recursive := ids
	recursive.Recursive = true
	same(t, "the user namespace", c.Spec.Namespaces.User, &isolate.UserNamespace{Map: ids})
	same(t, "the root", c.Spec.RootFS.IDMap, &ids)
	same(t, "a bind mount", c.Spec.Mounts[0].IDMap, &recursive)
	same(t, "a volume", c.Spec.Mounts[1].IDMap, &ids)
	same(t, "another bind mount", c.Spec.Mounts[2].IDMap, (*isolate.IDMap)(nil))
	if _, err := isolate.Compile(c.Spec); err != nil {
		t.Error(err)
	}
	if x := Exec(c, isolate.Process{Args: []string{"sh"}}); !x.User {
		t.Error("an exec does not enter the user namespace")
	}
}

func TestGivenIDs(t *testing.T) {
	text := userUnit + "uid-map = [{ inside = 0, outside = 1000, count = 1 }, { inside = 1, outside = 5000, count = 10 }]\ngid-map = [{ inside = 0, outside = 2000, count = 5 }]\n"
	// No state is needed for what is given.
	u := unit(t, "web", strings.Replace(text, "host = true", "host = true\nidmap = false", 1))
	c, err := Build(u, Environment{StateDir: stateDir})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the map", c.Spec.Namespaces.User.Map, isolate.IDMap{
		UIDs: []isolate.IDRange{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 5000, Count: 10}}, GIDs: []isolate.IDRange{{Inside: 0, Outside: 2000, Count: 5}}})
	if c.Spec.RootFS.IDMap != nil {
		t.Error("the root is mapped though it is not to be")
	}
	u = unit(t, "web", userUnit)
	if _, err := Build(u, Environment{StateDir: stateDir}); err == nil || !strings.Contains(err.Error(), "cannot find ids") {
		t.Errorf("%v", err)
	}
	full := errors.New("no range is left")
	if _, err := Build(u, Environment{IDs: func(string) (uint32, error) { return 0, full }}); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

func TestOCIUserNamespace(t *testing.T) {
	text, err := OCI(unit(t, "web", userUnit), withIDs(700000))
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(text)), "")
	const ids = `Mappings":[{"containerID":0,"hostID":700000,"size":65536}]`
	for _, want := range []string{`{"type":"user"}`, `"berth.rootfs-idmap":"true"`, `"ridmap"`, `"idmap"`} {
		if !strings.Contains(flat, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for name, n := range map[string]int{`"uid` + ids: 3, `"gid` + ids: 3} { // the namespace and two mounts
		if strings.Count(flat, name) != n {
			t.Errorf("%s is there %d times", name, strings.Count(flat, name))
		}
	}
}
