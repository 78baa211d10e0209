package reaper

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// emergencyAfter is how many quick ends of the supervisor in a row are a crash
	// loop. It is more than a supervisor needs to get rid of a state on which it
	// panics (package supervisor).
	emergencyAfter = 8
	// EmergencyVariable tells the emergency role in one line why it was started.
	EmergencyVariable = "BERTH_EMERGENCY"
	// maxReason bounds that line, in bytes.
	maxReason = 512
)

// wantEmergency asks for the emergency role, unless it runs.
func (r *reaper) wantEmergency(why string) (syscall.Errno, string) {
	switch {
	case os.Getpid() != 1:
		return syscall.EPERM, "the reaper is not PID 1"
	case len(r.emergency.argv) == 0:
		return syscall.EPERM, "the reaper has no emergency role"
	}
	if r.emergency.pid == 0 && r.emergencyWanted == "" {
		r.emergencyWanted = strings.ReplaceAll(why[:min(len(why), maxReason)], "\x00", " ")
	}
	return 0, ""
}

// despair looks after each failure of the supervisor whether it is one too many.
// Not while the end is near: that comes by itself.
func (r *reaper) despair(why string) {
	if r.supervisor.failures < emergencyAfter || r.finish.set() || r.emergency.pid != 0 {
		return
	}
	if errno, _ := r.wantEmergency("the supervisor cannot be kept alive: " + why); errno == 0 {
		r.log("the supervisor has failed " + strconv.Itoa(r.supervisor.failures) + " times in a row; starting the emergency shell")
	}
}

// startEmergency starts the emergency role when it is wanted.
func (r *reaper) startEmergency(now time.Time) {
	if r.emergencyWanted == "" || r.emergency.pid != 0 || now.Before(r.emergency.due) {
		return
	}
	if r.execute(&r.emergency, now, append(os.Environ(), EmergencyVariable+"="+r.emergencyWanted)) {
		r.emergencyWanted = ""
	}
}

// emergencyEnded is called when the emergency role has been reaped: whoever was
// there may have mended what was wrong, so the supervisor is tried at once. Should
// it fail again, that is one too many as before.
func (r *reaper) emergencyEnded(info childInfo, now time.Time) {
	r.log("emergency shell " + strconv.Itoa(r.emergency.pid) + " " + describe(info))
	r.emergency.ended(now)
	r.emergencyOver = true
	r.supervisor.due = time.Time{}
}
