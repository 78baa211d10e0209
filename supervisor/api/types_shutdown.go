package api

import (
	"time"

	"berth/supervisor/core"
)

// Shutdown asks for the stop of everything and for what follows it: poweroff,
// reboot, halt, kexec or soft-reboot of the machine, or of the container, that
// berthd is PID 1 of.
type Shutdown struct {
	Action core.Action `json:"action"`
	// Force: units are not stopped in order; what runs is ended by the last stage.
	Force  bool   `json:"force,omitempty"`
	Reason string `json:"reason,omitempty"` // for the log
}

// ShuttingDown is a shutdown that is under way.
type ShuttingDown struct {
	// Action is what follows; exit is the end of the daemon alone, or of the
	// container that it is PID 1 of.
	Action core.Action `json:"action"`
	By     string      `json:"by"` // who or what asked for it, for people
	Since  time.Time   `json:"since"`
	// Until is when what is left then is killed; nil: nothing bounds it, or it is so late already.
	Until *time.Time `json:"until,omitempty"`
	Force bool       `json:"force,omitempty"`
	Left  int        `json:"left"` // units that are not down
}
