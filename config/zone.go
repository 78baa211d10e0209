package config

import (
	"fmt"
	"os"
	"time"

	"berth/units"
	"berth/units/calendar"
)

// zoneinfo is where systems keep their time zones (tzfile(5)).
const zoneinfo = "/usr/share/zoneinfo"

// Zone gives the time zone that a calendar expression names, from the machine's
// own data: berth has none built in. "" is the machine's zone, and "UTC" needs no
// data. It is safe for concurrent use.
func Zone(name string) (*time.Location, error) {
	switch name {
	case "":
		return time.Local, nil
	case "UTC":
		return time.UTC, nil
	}
	loc, err := time.LoadLocation(name)
	if err == nil {
		return loc, nil
	}
	if _, missing := os.Stat(zoneinfo); missing != nil {
		return nil, fmt.Errorf("cannot use the time zone %s: this machine has no %s; install tzdata or write UTC", name, zoneinfo)
	}
	return nil, fmt.Errorf("cannot use the time zone %q: this machine has none of this name in %s", name, zoneinfo)
}

// zoneFaults reports a unit whose calendar names a zone that is not there: found
// out at the time of a run it would be too late.
func zoneFaults(u *units.Unit, texts []units.Source) units.Diagnostics {
	if u == nil || u.Timer.Calendar == "" {
		return nil
	}
	expr, err := calendar.Parse(u.Timer.Calendar)
	if err != nil {
		return nil // reported
	}
	if _, err := Zone(expr.Zone()); err != nil {
		return units.Diagnostics{units.Fault(u.Name, texts, "timer.calendar", codeZone, err.Error(), "")}
	}
	return nil
}
