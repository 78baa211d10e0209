package config

import (
	"fmt"
	"os"
	"time"
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
