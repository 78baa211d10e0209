package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/docker/go-units"

	"berth/isolate/cgroup/nsinit"
)

var eventsCommand = &command{
	name: "events", usage: containerArg, summary: "print what a container uses, and OOM kills, as lines of JSON",
	args: 1, exact: true, needsRuntime: true, run: events,
	flags: []flagDef{
		{name: "interval", kind: duration, value: "5s", help: "how often the use of resources is printed"},
		{name: "stats", kind: boolean, help: "print the use of resources once"},
	},
}

func events(inv *invocation) error {
	interval := 5 * time.Second
	if inv.given("interval") {
		interval = inv.duration("interval")
	}
	if interval <= 0 {
		return errors.New("duration interval must be greater than 0")
	}
	out := json.NewEncoder(os.Stdout)
	if inv.bool("stats") {
		event, err := inv.rt.Stats(inv.args[0])
		if err != nil {
			return err
		}
		return out.Encode(event)
	}
	return inv.rt.Events(inv.args[0], interval, func(e *nsinit.Event) error { return out.Encode(e) })
}

// parseSize reads a number of bytes, with a unit of 1024 if there is one; -1 is no limit.
func parseSize(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	n, err := units.RAMInBytes(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of bytes", s)
	}
	return n, nil
}
