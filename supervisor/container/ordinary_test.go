package container

import (
	"strings"
	"testing"

	"berth/isolate"
	"berth/supervisor/idrange"
)

func joe(spans ...idrange.Span) *Ordinary {
	own := func(id uint32) []isolate.IDRange { return []isolate.IDRange{{Inside: 0, Outside: id, Count: 1}} }
	o := &Ordinary{Map: isolate.IDMap{UIDs: own(1000), GIDs: own(100)}}
	if len(spans) > 0 {
		o.Tools = true
		o.Map.UIDs, o.Map.GIDs = behind(o.Map.UIDs, spans), behind(o.Map.GIDs, spans)
	}
	return o
}

// asOrdinary translates a unit as the berthd of an ordinary user does.
func asOrdinary(t *testing.T, o *Ordinary, text string) (*Container, error) {
	t.Helper()
	return Build(unit(t, "web", text), Environment{StateDir: stateDir, Ordinary: o})
}

func TestOrdinaryUser(t *testing.T) {
	o := joe()
	for _, text := range []string{base, base + "[namespaces]\nuser = 'new'\n"} {
		c, err := asOrdinary(t, o, text)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "the user namespace", c.Spec.Namespaces.User, &isolate.UserNamespace{Map: o.Map, DenySetgroups: true})
		if !c.Spec.Unprivileged || c.Spec.RootFS.IDMap != nil || !c.Limits.AllDevices {
			t.Errorf("%+v %+v", c.Spec, c.Limits)
		}
		if _, err := isolate.Compile(c.Spec); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(o.String(), "one user and group") {
		t.Error(o.String())
	}
}

func TestOrdinaryUserWithSubordinateIDs(t *testing.T) {
	o := joe(idrange.Span{First: 200000, Count: 65536}, idrange.Span{First: 900000, Count: 10})
	ids := []isolate.IDRange{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 200000, Count: 65536}, {Inside: 65537, Outside: 900000, Count: 10}}
	c, err := asOrdinary(t, o, base)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the users", c.Spec.Namespaces.User.Map.UIDs, ids)
	if u := c.Spec.Namespaces.User; !u.Tools || u.DenySetgroups {
		t.Errorf("%+v", u)
	}
	if o.String() != "65547 users inside containers" {
		t.Error(o.String())
	}
	// What a unit gives is taken as it is; one id of each kind needs no tool.
	given := base + "[namespaces]\nuser = 'new'\nuid-map = [{ inside = 0, outside = 1000, count = 1 }]\ngid-map = [{ inside = 0, outside = 100, count = 1 }]\n"
	if c, err = asOrdinary(t, o, given); err != nil {
		t.Fatal(err)
	}
	same(t, "a map of one", c.Spec.Namespaces.User, &isolate.UserNamespace{Map: joe().Map, DenySetgroups: true})
	if c, err = asOrdinary(t, o, strings.Replace(given, "count = 1 }]\ngid", "count = 2 }]\ngid", 1)); err != nil || !c.Spec.Namespaces.User.Tools {
		t.Errorf("%v", err)
	}
}

func TestOrdinaryUserIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		base + "[[device]]\npath = '/dev/null'\n":                                                        "device /dev/null",
		base + "[[mount]]\nsource = '/srv'\ntarget = '/srv'\nidmap = true\n[namespaces]\nuser = 'new'\n": "cannot idmap the mount of web on /srv",
		strings.Replace(base, "host = true", "host = true\nwritable = 'ephemeral'", 1):                   "cannot be written to without privileges",
		base + "[namespaces]\npid = 'host'\n":                                                            "PID namespace cannot be shared",
		base + "[namespaces]\nnetwork = 'path:/run/netns/x'\n":                                           "network namespace of another container cannot be joined",
	} {
		c, err := asOrdinary(t, joe(), text)
		if err == nil {
			_, err = isolate.Compile(c.Spec)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
	}
}

func TestRangesBeyondWhatTheKernelTakes(t *testing.T) {
	var spans []idrange.Span
	for i := range 2 * isolate.MaxIDRanges {
		spans = append(spans, idrange.Span{First: uint32(100000 + 10*i), Count: 1})
	}
	if n := len(joe(spans...).Map.UIDs); n != isolate.MaxIDRanges {
		t.Errorf("%d ranges", n)
	}
}
