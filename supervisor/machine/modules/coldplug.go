package modules

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/uevent"
)

// Aliases gives the modaliases of all devices that the kernel knows, each once:
// those on a bus, and those of a class that are on none.
func Aliases() []string {
	seen := map[string]bool{}
	var aliases []string
	for _, pattern := range []string{"/sys/bus/*/devices/*/modalias", "/sys/class/*/*/modalias"} {
		files, _ := filepath.Glob(pattern) // the pattern is right
		for _, file := range files {
			text, err := os.ReadFile(file)
			alias := strings.TrimSpace(string(text))
			if err == nil && alias != "" && !seen[alias] {
				seen[alias] = true
				aliases = append(aliases, alias)
			}
		}
	}
	return aliases
}

// Coldplug loads the modules of all devices there are, and of those that appear
// by that, until nothing new does.
func (l *Loader) Coldplug(ctx context.Context) conf.Problems {
	var problems conf.Problems
	seen := map[string]bool{}
	for l.Any() {
		fresh := false
		for _, alias := range Aliases() {
			if !seen[alias] && ctx.Err() == nil {
				seen[alias], fresh = true, true
				problems = append(problems, l.Load(ctx, Request{Name: alias, Device: true})...)
			}
		}
		if !fresh {
			break
		}
	}
	return problems
}

// linger is how long Hotplug keeps the index for further devices.
const linger = 2 * time.Second

// Hotplug loads the modules of devices that appear, until ctx ends. It hears all
// that happens after events was opened; open is called when there is something to
// load, and tell gets what went wrong. While nothing happens it keeps no index.
func Hotplug(ctx context.Context, events *uevent.Socket, open func() (*Loader, conf.Problems, error), tell func(conf.Problems)) error {
	var l *Loader
	drop := func() {
		if l != nil {
			l.Close()
			l = nil
		}
	}
	defer drop()
	for {
		e, err := next(ctx, events, l != nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			drop()
			continue
		case err != nil:
			return err
		}
		alias := e.Env["MODALIAS"]
		if !e.Lost() && (e.Action != "add" || alias == "") {
			continue
		}
		if l == nil {
			// What is wrong with the files was told when they were first read.
			if l, _, err = open(); err != nil {
				tell(conf.Problems{{What: err.Error()}})
				continue
			}
		}
		if e.Lost() {
			tell(l.Coldplug(ctx))
		} else {
			tell(l.Load(ctx, Request{Name: alias, Device: true}))
		}
	}
}

// next waits for an event; with a limit, at most for linger.
func next(ctx context.Context, events *uevent.Socket, limit bool) (uevent.Event, error) {
	if limit {
		limited, cancel := context.WithTimeout(ctx, linger)
		defer cancel()
		ctx = limited
	}
	return events.Next(ctx)
}
