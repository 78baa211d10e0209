package final

import (
	"os"
	"os/signal"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// again is the pause between two times that everything is killed: what was forked
// in between, and in a container what came in from outside, has to go too.
const again = 200 * time.Millisecond

// process is one that is told of.
type process struct {
	pid  int
	name string // "": not known
	unit string // whose group it is in; "": none's
	// stuck: in uninterruptible sleep.
	stuck bool
}

func (p process) String() string {
	text := strconv.Itoa(p.pid)
	if p.name != "" {
		text += " " + p.name
	}
	if p.unit != "" {
		text = p.unit + " " + text
	}
	return text
}

// endAll ends every process but this one, which is PID 1: first by asking, and
// those that are left then by SIGKILL. Both waits are bounded. It gives the
// processes that had to be killed, and those that are there even then.
func endAll(ask, kill time.Duration) (killed, left []process) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	// HUP as well, because shells at a terminal ignore TERM; CONT, because a
	// stopped process acts on neither.
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGCONT} {
		_ = unix.Kill(-1, s) // ESRCH: there is nobody
	}
	if reap(ended, time.Now().Add(ask)) {
		return nil, nil
	}
	killed = processes()
	limit := time.Now().Add(kill)
	for time.Now().Before(limit) {
		_ = unix.Kill(-1, unix.SIGKILL)
		if reap(ended, earlier(limit, time.Now().Add(again))) {
			return killed, nil
		}
	}
	left = processes()
	return slices.DeleteFunc(killed, func(p process) bool {
		return slices.ContainsFunc(left, func(l process) bool { return l.pid == p.pid })
	}), left
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// reap takes ended children away until there is no child any more, which as PID 1
// means no process, or the time is over.
func reap(ended <-chan os.Signal, until time.Time) (none bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		var info unix.Siginfo
		switch err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG, nil); {
		case err == unix.ECHILD:
			return true
		case err == nil && info.Signo != 0, err == unix.EINTR:
			if time.Now().Before(until) { // a fork bomb must not hold it
				continue
			}
			return false
		}
		select {
		case <-ended:
		case <-timer.C:
			return false
		}
	}
}

// processes lists those there are but this one and the kernel's own threads; none
// where /proc cannot be read.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var out []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // gone meanwhile
		}
		if p, ok := parseStat(string(stat)); ok {
			p.pid = pid
			if text, err := os.ReadFile("/proc/" + name + "/cgroup"); err == nil {
				p.unit = unitOf(string(text))
			}
			out = append(out, p)
		}
	}
	return out
}

const kernelThread = 0x00200000 // PF_KTHREAD, the kernel's include/linux/sched.h

// parseStat reads a line of proc_pid_stat(5). false: a thread of the kernel, or a
// process that has ended and waits for its parent.
func parseStat(stat string) (process, bool) {
	begin, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return process{}, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 7 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return process{name: stat[begin+1 : end], stuck: fields[0] == "D"}, err == nil && flags&kernelThread == 0
}

// unitOf gives the unit whose group a process is in, by its proc_pid_cgroup(5).
func unitOf(text string) string {
	for line := range strings.Lines(text) {
		for group := strings.TrimSpace(line); strings.Contains(group, "berth.slice/"); group = path.Dir(group) {
			if unit, ok := strings.CutSuffix(path.Base(group), ".service"); ok && path.Base(path.Dir(group)) == "berth.slice" {
				return strings.TrimSuffix(unit, ":2")
			}
		}
	}
	return ""
}
