package final

import (
	"slices"
	"strconv"
	"time"

	"berth/supervisor/core"
	"berth/supervisor/machine"
)

// Options are what the stage is to do. The zero value switches a machine off.
type Options struct {
	Action core.Action
	Place  machine.Place // Machine or Container
	// Limit bounds the whole stage; 0: DefaultLimit.
	Limit time.Duration
	// Code is the exit code of a container's init.
	Code int
	// Again are the arguments with which berthd is executed after a soft reboot,
	// the program's name included.
	Again []string
}

// DefaultLimit is that of a machine.
const DefaultLimit = 90 * time.Second

// Args gives the options as arguments.
func (o Options) Args() []string {
	return append([]string{string(o.Action), o.Place.String(), o.Limit.String(), strconv.Itoa(o.Code)}, o.Again...)
}

// Parse is the reverse of Args. What makes no sense has its default: a last stage
// that refuses to begin would be of no use to anybody.
func Parse(args []string) Options {
	word := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	o := Options{Action: core.Action(word(0)), Place: machine.Machine, Limit: DefaultLimit}
	if word(1) == machine.Container.String() {
		o.Place = machine.Container
	}
	if _, known := names[o.Action]; !known || o.Place == machine.Machine && o.Action == core.ActionExit {
		o.Action = core.ActionPowerOff
	}
	if d, err := time.ParseDuration(word(2)); err == nil && d > 0 {
		o.Limit = d
	}
	if n, err := strconv.Atoi(word(3)); err == nil && n >= 0 && n < 256 {
		o.Code = n
	}
	if len(args) > 4 {
		o.Again = slices.Clone(args[4:])
	}
	return o
}
