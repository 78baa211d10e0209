package supervisor

import (
	"errors"
	"fmt"
	"os"
	"time"

	"berth/config"
	"berth/supervisor/core"
	"berth/units"
	"berth/units/calendar"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// watchClock tells the core whenever the wall clock is set, or the machine wakes
// from sleep: a timer that is cancelled by that (timerfd_create(2),
// TFD_TIMER_CANCEL_ON_SET). The file returned ends it when it is closed.
func (s *Supervisor) watchClock() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the clock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "clock")
	if err := awaitSet(fd); err != nil {
		timer.Close()
		return nil, err
	}
	go func() {
		var ticks [8]byte
		for {
			_, err := timer.Read(ticks[:])
			if errors.Is(err, os.ErrClosed) {
				return
			}
			// Armed again before the clock is read, so that no change falls between.
			again := awaitSet(fd)
			if errors.Is(err, unix.ECANCELED) {
				s.post(func() {
					s.log.Info("the clock was set", zap.Time("now", time.Now()))
					s.step(core.ClockChanged{})
				})
			}
			if again != nil {
				s.log.Error("changes of the clock are not noticed any more", zap.Error(again))
				return
			}
		}
	}()
	return timer, nil
}

// awaitSet arms a timer for a moment that never comes.
func awaitSet(fd int) error {
	never := &unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 40}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, never, nil); err != nil && err != unix.ECANCELED {
		return fmt.Errorf("cannot watch the clock: %w", err)
	}
	return nil
}

// learnZones reads the time zones that the calendars of units name. One that is
// missing is missing for the core too, which tells.
func (s *Supervisor) learnZones(list ...*units.Unit) {
	for _, u := range list {
		if u == nil || u.Timer.Calendar == "" {
			continue
		}
		expr, err := calendar.Parse(u.Timer.Calendar)
		if err != nil || expr.Zone() == "" || s.zones[expr.Zone()] != nil {
			continue
		}
		if zone, err := config.Zone(expr.Zone()); err == nil {
			s.zones[expr.Zone()] = zone
		}
	}
}

// input is what the core may know of the world besides the event.
func (s *Supervisor) input(e core.Event, rand float64) core.Input {
	return core.Input{Now: time.Now(), Rand: rand, Event: e, Zones: s.zones}
}
