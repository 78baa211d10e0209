package reaper

import (
	"os"
	"strconv"
	"strings"
)

// The scores by which the kernel chooses whom to kill when memory runs out
// (proc_pid_oom_score_adj(5)). The reaper is exempt, and the supervisor is as good
// as that: it is the last but one to go, and its memory is then free. All others
// have the score that berthd was started with, or 0 if that was lower. That goes
// for the launcher too, since what it forks begins with its score: at two
// megabytes it is never the one that it helps to kill, and could be replaced.
const (
	reaperScore     = -1000
	supervisorScore = -900
)

// spareSelf exempts the reaper, where it has the right to (CAP_SYS_RESOURCE), and
// gives the score for what it starts. ok is false where it has not: then nothing
// was changed, and nothing needs to be.
func spareSelf() (others int, ok bool) {
	const own = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(own)
	if err != nil {
		return 0, false
	}
	was, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || writeScore(own, reaperScore) != nil {
		return 0, false
	}
	return max(was, 0), true
}

// score gives a process that was just started the score that it shall have. It
// has inherited the reaper's, and does nothing yet that would pass it on: the
// launcher forks for a supervisor only, which it is not yet connected to.
func (r *reaper) score(p *process) {
	if !r.spared {
		return
	}
	score := r.othersScore
	if p == &r.supervisor {
		score = supervisorScore
	}
	if err := writeScore("/proc/"+strconv.Itoa(p.pid)+"/oom_score_adj", score); err != nil {
		r.log("cannot set the score of the " + p.name + " for when memory runs out: " + err.Error())
	}
}

// restoreScore gives the reaper the score that it was started with, for the
// program that is executed in its place, which may be of a version that leaves it
// as it is.
func (r *reaper) restoreScore() {
	if r.spared {
		_ = writeScore("/proc/self/oom_score_adj", r.othersScore) // raising it needs no right
	}
}

func writeScore(path string, score int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(score))
	return err
}
