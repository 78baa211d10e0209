package supervisor

import (
	"errors"
	"time"

	"berth/reaper"
	"berth/supervisor/machine"
	"berth/supervisor/machine/hwdog"

	"go.uber.org/zap"
)

// Watchdogs are how long the loop may stand still until the reaper replaces the
// supervisor, and until the machine is reset. 0: nobody watches.
type Watchdogs struct{ Supervisor, Hardware time.Duration }

// watchdogName is that of the machine's watchdog in the reaper's store.
const watchdogName = reaper.KeptPrefix + hwdog.Stored

// feeds is how often the machine's watchdog is fed within its timeout. A supervisor
// that takes over waits for one such part before it does: so between the last one
// of the supervisor before and its first one lies what the change takes, and two
// fifths.
const feeds = 5

// vital tells both watchdogs that the loop runs. The loop itself does so, and
// wakes for it: told by a goroutine, a loop that hangs would seem alive.
type vital struct {
	limits Watchdogs
	ticker *time.Ticker  // nil: nobody watches
	told   bool          // that the device cannot be had, or fed
	device *hwdog.Device // nil: there is none
	resize bool          // the device has to be given another timeout
	// calm is when a supervisor that takes over begins to feed the device. One
	// that does not live so long, again and again, is no better than one that
	// hangs.
	calm time.Time
	// handsOver: at an orderly end the device goes to the last stage, armed.
	handsOver bool
}

// wakes is the channel that the loop waits on.
func (v *vital) wakes() <-chan time.Time {
	if v.ticker == nil {
		return nil
	}
	return v.ticker.C
}

// pause is the time from one sign of life to the next.
func (v *vital) pause() time.Duration {
	var p time.Duration
	if v.limits.Supervisor > 0 {
		p = v.limits.Supervisor / 3
	}
	if hardware := v.limits.Hardware; hardware > 0 {
		if v.device != nil {
			hardware = v.device.Timeout() // which may be another
		}
		if p == 0 || hardware/feeds < p {
			p = hardware / feeds
		}
	}
	return p
}

// beginVital is called when the loop begins.
func (s *Supervisor) beginVital(limits Watchdogs) {
	if s.hand.supervisors > 1 && s.vital.device != nil {
		s.vital.calm = time.Now().Add(s.vital.device.Timeout() / feeds)
	}
	s.vital.handsOver = s.cfg.Place == machine.Machine
	s.vital.limits.Supervisor = -1 // differs: an earlier supervisor's is in force
	s.setWatchdogs(limits)
}

// setWatchdogs puts what the settings say into force. Called by the loop.
func (s *Supervisor) setWatchdogs(limits Watchdogs) {
	v := &s.vital
	if v.limits == limits {
		return
	}
	changed := v.limits.Hardware != limits.Hardware
	unwatched := limits.Supervisor == 0 && v.limits.Supervisor != 0
	v.limits = limits
	switch {
	case v.device != nil && limits.Hardware == 0:
		s.disarm("the settings have none")
	case v.device != nil && changed:
		v.resize = true
	}
	v.told = false
	if unwatched {
		s.tellReaper()
	}
	s.live()
	s.paceVital()
}

// paceVital makes the ticker go as fast as the limits want it.
func (s *Supervisor) paceVital() {
	v := &s.vital
	if v.ticker != nil {
		v.ticker.Stop()
		v.ticker = nil
	}
	if p := v.pause(); p > 0 {
		v.ticker = time.NewTicker(p)
	}
}

// live tells both watchdogs that the loop runs.
func (s *Supervisor) live() {
	v := &s.vital
	if v.limits.Supervisor > 0 {
		s.tellReaper()
	}
	if v.limits.Hardware == 0 {
		return
	}
	if v.device == nil && !s.arm() {
		return
	}
	if time.Now().Before(v.calm) {
		return // a new timeout would feed it too
	}
	if v.resize {
		v.resize = false
		if err := v.device.SetTimeout(v.limits.Hardware); err != nil {
			s.log.Error("the machine's watchdog keeps its timeout", zap.Error(err))
		}
		s.tellWatchdog()
		s.paceVital()
	}
	if err := v.device.Feed(); err != nil && !v.told {
		v.told = true
		s.log.Error("the machine will be reset", zap.Error(err))
	}
}

// tellReaper sends a Beat. That fails with the connection, whose end the loop
// hears of by itself, and under a reaper of an older version.
func (s *Supervisor) tellReaper() {
	refused := (*reaper.Error)(nil)
	if err := s.reaper.Beat(s.vital.limits.Supervisor); errors.As(err, &refused) && !s.vital.told {
		s.vital.told = true
		s.log.Warn("nobody watches over this supervisor", zap.Error(err))
	}
}

// arm opens the device. It is tried again with each sign of life: the driver may
// be a module that is loaded later.
func (s *Supervisor) arm() bool {
	v := &s.vital
	device, err := hwdog.Open(hwdog.Path, v.limits.Hardware)
	if err == nil {
		if err = s.reaper.Store(watchdogName, device.File()); err != nil {
			_ = device.Disarm()
		}
	}
	if err != nil {
		if !v.told {
			v.told = true
			s.log.Error("going on without the machine's watchdog until it can be had", zap.Error(err))
		}
		return false
	}
	v.device, v.told = device, false
	s.tellWatchdog()
	s.paceVital()
	return true
}

func (s *Supervisor) tellWatchdog() {
	d := s.vital.device
	s.log.Info("the machine is reset when this supervisor stands still for so long",
		zap.Duration("timeout", d.Timeout()), zap.Duration("asked for", s.vital.limits.Hardware), zap.String("watchdog", d.Name()))
}

// disarm stops the device, and has the reaper let go of it.
func (s *Supervisor) disarm(why string) {
	d := s.vital.device
	s.vital.device = nil
	err := d.Disarm()
	if err == nil {
		err = s.reaper.Drop(watchdogName)
	}
	if err != nil {
		s.log.Error("the machine's watchdog goes on", zap.Error(err))
		return
	}
	s.log.Info("the machine's watchdog is stopped", zap.String("because", why))
}

// releaseWatchdog is called at the orderly end. A machine that goes down is
// watched on: the last stage finds the device by reaper.Kept.
func (s *Supervisor) releaseWatchdog() {
	v := &s.vital
	switch {
	case v.device == nil:
	case !v.handsOver:
		s.disarm("everything is down")
	default:
		if err := v.device.Feed(); err != nil {
			s.log.Error("the machine will be reset", zap.Error(err))
		}
	}
}

// adoptWatchdog goes on with the device that an earlier supervisor opened.
func (s *Supervisor) adoptWatchdog(hand *reaper.Handover) {
	files := hand.Stored[watchdogName]
	if len(files) == 0 {
		return
	}
	device, err := hwdog.Adopt(files[0])
	if err != nil {
		s.log.Error("cannot go on with the machine's watchdog", zap.Error(err))
		return // and takeOver closes it
	}
	delete(hand.Stored, watchdogName)
	s.vital.device = device
}

// rereadWatchdogs reads them anew, and has the loop put them into force. It
// reads a file, so it is not for the loop itself.
func (s *Supervisor) rereadWatchdogs() {
	if s.cfg.Reread == nil {
		return
	}
	limits, err := s.cfg.Reread()
	if err != nil {
		s.log.Error("the settings are not valid: the watchdogs stay as they are", zap.Error(err))
		return
	}
	s.post(func() { s.setWatchdogs(limits) })
}
