package reaper

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// KeptPrefix begins the names of stored descriptors that stay open for what
	// Finish executes. What follows, at most maxKept descriptors in all, is the
	// name for Kept: without space, comma and equals sign.
	KeptPrefix = "final/"
	maxKept    = 64
	// KeptVariable is the environment variable with the numbers, for Kept:
	// "name=number,number name=number".
	KeptVariable = "BERTH_KEPT"
	// finishRetry is the pause after a failure to execute it, and after finishTries
	// of them the machine is restarted without.
	finishRetry = time.Second
	finishTries = 10
)

// finish is what PID 1 executes at its end.
type finish struct {
	argv  []string  // none: it ends like any process
	by    time.Time // whatever the supervisor does
	retry time.Time // not before
	tries int       // that have failed
}

func (f *finish) set() bool { return len(f.argv) > 0 }

// due gives the moment of the next try; at once when the supervisor has ended as asked.
func (f *finish) due(ended bool) time.Time {
	if ended || f.by.Before(f.retry) {
		return f.retry
	}
	return f.by
}

// finishBy carries out a Finish.
func (r *reaper) finishBy(argv []string, within uint64, now time.Time) (syscall.Errno, string) {
	if len(argv) == 0 {
		r.finish = finish{}
		return 0, ""
	}
	if os.Getpid() != 1 {
		return syscall.EPERM, "the reaper is not PID 1"
	}
	by := now.Add(span(within))
	if r.finish.set() && r.finish.by.Before(by) {
		by = r.finish.by
	}
	r.finish.argv, r.finish.by = argv, by
	return 0, ""
}

// ended tells that the supervisor has asked for the end and is gone.
func (r *reaper) ended() bool { return r.exiting && r.supervisor.pid == 0 }

// tryFinish executes what is set when its time has come. It returns when it has
// not, or when that failed; then it is tried again, until nothing but a restart is
// left: the end of PID 1 is a panic of the kernel.
func (r *reaper) tryFinish(now time.Time) {
	if !r.finish.set() || now.Before(r.finish.due(r.ended())) {
		return
	}
	if r.supervisor.pid != 0 {
		r.log("the time for an orderly end is over")
		unix.Kill(r.supervisor.pid, unix.SIGKILL)
	}
	kept, told := r.keptFiles()
	for _, fd := range kept {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	setMask(false)
	var err error
	for _, path := range []string{r.executable(), "/proc/self/exe", r.config.Exe} {
		err = syscall.Exec(path, r.finish.argv, append(os.Environ(), KeptVariable+"="+told))
	}
	for _, fd := range kept {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
	}
	r.finish.retry = now.Add(finishRetry)
	r.log("cannot execute " + r.config.Exe + " as the last stage: " + err.Error() + "; next try in " + finishRetry.String())
	if r.finish.tries++; r.finish.tries == 1 {
		go unix.Sync() // while there is time; it may hang
	}
	if r.finish.tries == finishTries {
		r.log("restarts without the last stage: nothing is unmounted")
		err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
		r.log("cannot restart: " + err.Error())
		r.finish = finish{}
		if !r.exiting {
			r.exit(1)
		}
	}
}

// keptFiles gives the descriptors that stay open, and the value of KeptVariable.
func (r *reaper) keptFiles() (kept []int, told string) {
	for name, fds := range r.table.store {
		short, found := strings.CutPrefix(name, KeptPrefix)
		if !found || strings.ContainsAny(short, " ,=\x00") || len(kept)+len(fds) > maxKept {
			continue
		}
		if told != "" {
			told += " "
		}
		told += short + "="
		for i, fd := range fds {
			if i > 0 {
				told += ","
			}
			told += strconv.Itoa(fd)
		}
		kept = append(kept, fds...)
	}
	return kept, told
}

// Kept gives the files that were stored under KeptPrefix and the name, to a
// process that was executed by way of Finish. They are the caller's, and
// close-on-exec from then on; a second call would give the same descriptors.
func Kept(name string) []*os.File {
	var files []*os.File
	for _, set := range strings.Fields(os.Getenv(KeptVariable)) {
		key, numbers, _ := strings.Cut(set, "=")
		if key != name {
			continue
		}
		for number := range strings.SplitSeq(numbers, ",") {
			if fd, err := strconv.Atoi(number); err == nil && fd > 2 {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), name))
			}
		}
	}
	return files
}
