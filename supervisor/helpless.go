package supervisor

import (
	"context"
	"strings"

	"berth/supervisor/history"
	"berth/supervisor/machine"
	"berth/units"

	"go.uber.org/zap"
)

// helpless is called when there is nothing that a machine could be started with:
// its unit files are not valid and no version of them has ever run. Nobody could
// log in to mend them, so the emergency shell comes on the consoles. The files are
// watched as always, and taken up as soon as they are valid. Elsewhere there is
// somebody who reads the log.
func (s *Supervisor) helpless(faults units.Diagnostics) {
	if s.cfg.Place != machine.Machine {
		return
	}
	var why strings.Builder
	why.WriteString("No unit was started, for the unit files are not valid and no version of them has run before.\n\n")
	faults.Format(&why, false)
	why.WriteString("\nThey are taken up as soon as they are valid.")
	if err := machine.TellEmergency(s.cfg.RuntimeDir, why.String()); err != nil {
		s.log.Error("the emergency shell cannot be told why", zap.Error(err))
	}
	s.emergencyLater("nothing can be started")
}

// onEmergencyEnded looks whether what was wrong is mended. Called by the loop.
func (s *Supervisor) onEmergencyEnded() {
	if s.generation > 0 || s.stopping {
		return
	}
	go func() {
		out, err := s.reload(context.Background(), how{author: history.Author{Kind: history.KindBoot}, why: "the emergency shell has ended", apply: true})
		if err == nil && !out.Applied { // else the supervisor ends
			s.helpless(out.Diagnostics)
		}
	}()
}
