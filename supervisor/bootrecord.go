package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// Boot tells what came before the units.
func (b backend) Boot(context.Context) (*api.Boot, error) {
	record, err := machine.ReadRecord(b.cfg.RuntimeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return &api.Boot{Spans: []api.Span{}}, nil
	}
	if err != nil {
		return nil, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, err
	}
	boot := bootOf(record, time.Now().Add(-time.Duration(now.Nano())))
	if machine.Where() != machine.Machine { // the kernel's start is the host's
		boot.Spans = slices.DeleteFunc(boot.Spans, func(s api.Span) bool { return s.Name == "kernel" })
	}
	return boot, nil
}

// bootOf puts the record of a boot, whose clock began at a time, on the time that
// the units' moments are in.
func bootOf(record *machine.Record, began time.Time) *api.Boot {
	out := &api.Boot{Spans: []api.Span{}, Done: record.Done}
	for _, s := range record.Spans {
		span := api.Span{Name: s.Name, Begin: began.Add(s.Begin), Error: s.Error, Notes: s.Notes}
		if s.End > 0 {
			span.End = began.Add(s.End)
		}
		out.Spans = append(out.Spans, span)
	}
	return out
}
