package supervisor

import (
	"time"

	"berth/supervisor/machine"

	"go.uber.org/zap"
)

// clockInterval is how far the clock of a machine without a hardware clock may be
// behind after a power failure.
const clockInterval = time.Hour

// keepClock notes the time for the next boot, now and every hour until the
// supervisor ends.
func (s *Supervisor) keepClock() {
	tick := time.NewTicker(clockInterval)
	defer tick.Stop()
	for {
		if err := machine.SaveClock(s.cfg.StateDir); err != nil {
			s.log.Warn("the next boot may begin in the past", zap.Error(err))
			return // said once
		}
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
	}
}

// keepForBoot keeps what the next boot of this machine begins with.
func (s *Supervisor) keepForBoot() {
	if s.cfg.Place != machine.Machine {
		return
	}
	if err := machine.SaveClock(s.cfg.StateDir); err != nil {
		s.log.Warn("the next boot may begin in the past", zap.Error(err))
	}
	if err := machine.SaveSeed(s.cfg.StateDir); err != nil {
		s.log.Warn("the next boot begins without it", zap.Error(err))
	}
}
