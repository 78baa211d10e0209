package api

import (
	"time"

	"berth/supervisor/core"
)

// Told is how far a running unit has come, and what its program tells of itself
// (sd_notify(3)). What a program says is any text.
type Told struct {
	Ready    bool       `json:"ready"`
	Since    *time.Time `json:"since,omitempty"`     // of Ready
	NotReady string     `json:"not_ready,omitempty"` // why not
	core.Notice
	Watchdog *Watchdog `json:"watchdog,omitempty"`
	// Kept are the names of the descriptors that are kept while it restarts.
	Kept []string `json:"kept,omitempty"`
}

// Watchdog is that of a unit.
type Watchdog struct {
	IntervalUsec int64 `json:"interval_usec"`
	// Heard is when the program said WATCHDOG=1 last to this supervisor.
	Heard *time.Time `json:"heard,omitempty"`
}
