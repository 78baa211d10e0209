package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

const (
	quietStop = time.Second            // a stop that takes no longer is not talked about
	stopLook  = 500 * time.Millisecond // between two looks at one that does
)

// watched runs a command that stops units, and meanwhile tells on standard error
// what the stops wait for and until when.
func (a *app) watched(ctx context.Context, c api.Command, run func() (*api.Result, error)) (*api.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan bool)
	go func() { told <- a.tellStops(ctx, c.Units) }()
	out, err := run()
	cancel()
	if long := <-told; err == nil && !a.json() {
		a.printStopped(out.Stopped, long)
	}
	return out, err
}

// tellStops tells each stop's state when it changes, until ctx ends, and gives
// whether it has told any.
func (a *app) tellStops(ctx context.Context, names []string) (told bool) {
	last := map[string]string{}
	for wait := quietStop; ; wait = stopLook {
		select {
		case <-ctx.Done():
			return told
		case <-time.After(wait):
		}
		list, err := a.client().Stops(ctx, names)
		if err != nil {
			continue // the command itself tells what is wrong
		}
		for _, s := range list {
			text := stoppingText(s)
			if last[s.Unit] != text {
				last[s.Unit], told = text, true
				fmt.Fprintln(a.err, "waiting for "+text)
			}
		}
	}
}

// stoppingText tells how far a stop has got: "web: sent TERM, KILL to all its
// processes at 12:00:10; 2 processes: 17 nginx, 18 nginx".
func stoppingText(s api.Stopping) string {
	text := s.Unit + ": " + progressText(s.Progress)
	if len(s.WaitsFor) > 0 { // its processes are no reason yet
		return text
	}
	n := len(s.Processes) + s.More
	if n == 0 {
		return text
	}
	what := "process"
	if n > 1 {
		what = "processes"
	}
	return text + fmt.Sprintf("; %d %s: ", n, what) + namedText(s.Processes, s.More)
}

func namedText(list []core.Process, more int) string {
	var parts []string
	for _, p := range list {
		parts = append(parts, fmt.Sprintf("%d %s", p.PID, safe(p.Name)))
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

func progressText(p core.Progress) string {
	text := instanceText(p)
	if p.Beside != nil {
		text += "; its other instance: " + instanceText(*p.Beside)
	}
	return text
}

func instanceText(p core.Progress) string {
	switch {
	case len(p.WaitsFor) > 0:
		return "until " + strings.Join(p.WaitsFor, ", ") + " is down"
	case p.Phase == core.Cleaning && p.Hook != "":
		return "its program has ended, its " + string(p.Hook) + " commands run"
	case p.Phase == core.Cleaning:
		return "its program has ended, what is left of it is removed"
	case p.Signal == "":
		return "its start is given up"
	case p.Step > p.Steps:
		return "all its processes are killed"
	}
	text := "sent " + p.Signal
	if p.Steps > 1 {
		text += fmt.Sprintf(" (step %d of %d)", p.Step, p.Steps)
	}
	if p.Until.IsZero() {
		return text + ", waits for ever"
	}
	next := p.Next
	if p.Step == p.Steps {
		next += " to all its processes"
	}
	return text + fmt.Sprintf(", %s at %s", next, p.Until.Local().Format(time.TimeOnly))
}

// printStopped tells of stops that were long or not smooth, with the proof that
// nothing is left.
func (a *app) printStopped(stops map[string]core.Stop, long bool) {
	for _, name := range slices.Sorted(maps.Keys(stops)) {
		if s := stops[name]; long || s.Killed || len(s.Left) > 0 {
			fmt.Fprintln(a.err, name+": "+stopText(s))
		}
	}
}

// stopText tells of a stop that has ended.
func stopText(s core.Stop) string {
	text := fmt.Sprintf("stopped in %s", s.Ended.Sub(s.Began).Round(time.Millisecond))
	switch {
	case s.Killed:
		text += ", by killing all its processes"
	case s.Signal != "":
		text += " by " + s.Signal
	}
	if len(s.Left) > 0 {
		text += "; left behind and killed: " + namedText(s.Left, s.More)
	}
	if s.Empty {
		text += "; no process is left"
	}
	return text
}
