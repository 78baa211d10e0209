package machine

import (
	"os"
	"strconv"
	"time"
)

// beganVariable carries the begin of PID 1 to its supervisor.
const beganVariable = "BERTH_BEGAN"

// NoteBegin is called by PID 1 when it begins, at the start of the machine, on
// another root or after a soft reboot, but not when it only goes on as a newer
// binary. Its children find it in their environment.
func NoteBegin() {
	_ = os.Setenv(beganVariable, strconv.FormatInt(int64(bootTime()), 10)) // only a bad name fails
}

// Began gives what is known of the time before a supervisor, to be called when
// it begins. It removes the variable.
func Began() Begin {
	b := Begin{Supervisor: bootTime()}
	if n, err := strconv.ParseInt(os.Getenv(beganVariable), 10, 64); err == nil && n > 0 {
		b.Init = min(time.Duration(n), b.Supervisor)
	}
	_ = os.Unsetenv(beganVariable)
	return b
}
