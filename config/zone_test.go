package config

import (
	"strings"
	"testing"
	"time"
)

func TestZone(t *testing.T) {
	for name, want := range map[string]*time.Location{"": time.Local, "UTC": time.UTC} {
		if loc, err := Zone(name); loc != want || err != nil {
			t.Errorf("%q: %v, %v", name, loc, err)
		}
	}
	if loc, err := Zone("Europe/Berlin"); err != nil || loc.String() != "Europe/Berlin" {
		t.Errorf("%v, %v", loc, err)
	}
	for _, name := range []string{"Europe/Bärlin", "Europa/Berlin", "../../etc/localtime", "/etc/localtime"} {
		if loc, err := Zone(name); err == nil || !strings.Contains(err.Error(), "time zone") {
			t.Errorf("%q: %v, %v", name, loc, err)
		}
	}
}
