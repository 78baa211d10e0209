package supervisor

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"berth/isolate/cgroup"
	"berth/supervisor/api"
	"berth/supervisor/core"

	"go.uber.org/zap"
)

// stuckTime is how long processes may take to be gone once they were killed. What
// is there still then waits for something in the kernel, a file system above all,
// and nothing that is done here ends it. The unit stays where it is, since a second
// instance beside them would be worse, and kills are repeated; but nobody who has
// asked for anything waits for it any longer, and a shutdown has a time of its own.
const stuckTime = 10 * time.Second

// tellStuck says that processes of a run were killed and do not end. Called by the loop.
func (s *Supervisor) tellStuck(r *run) {
	u, ok := s.state.Unit(r.unit)
	if !ok || s.stuck[r.unit] != "" || s.runs[r.id] != r {
		return
	}
	r.mu.Lock()
	group, proc := r.group, r.proc
	r.mu.Unlock()
	list, more := named(group)
	if len(list) == 0 && proc != nil {
		list = []core.Process{{PID: proc.pid, Name: comm(proc.pid)}}
	}
	var what []string
	for _, p := range list {
		what = append(what, fmt.Sprintf("%d (%s, %s)", p.PID, p.Name, condition(p.PID)))
	}
	text := fmt.Sprintf("its processes were killed and do not end: %s", strings.Join(what, ", "))
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	s.stuck[r.unit] = text
	s.log.Error("the unit cannot be cleaned up, and cannot be started until it is", zap.String("unit", r.unit), zap.String("because", text))
	s.events.send(api.Event{Time: time.Now(), Unit: r.unit, Incarnation: uint64(r.id), From: u.Phase, To: u.Phase, Reason: text})
	s.answerStuck()
}

// tellStuckIn is tellStuck for whoever waits for the end of a process.
func (s *Supervisor) tellStuckIn(p *process, group *cgroup.Group) {
	for _, id := range slices.Sorted(maps.Keys(s.runs)) {
		r := s.runs[id]
		r.mu.Lock()
		is := r.proc == p || group != nil && r.group == group
		r.mu.Unlock()
		if is {
			s.tellStuck(r)
		}
	}
}

// answerStuck answers the commands that wait for a unit that is stuck. What they
// ask for is done when that has come to its end all the same.
func (s *Supervisor) answerStuck() {
	for _, id := range slices.Sorted(maps.Keys(s.replies)) {
		p := s.state.Commands[id]
		if p == nil {
			continue
		}
		failed := map[string]string{}
		first := ""
		for _, name := range slices.Sorted(maps.Keys(p.Units)) {
			if why := s.waitsForStuck(name); why != "" {
				failed[name] = why
				if first == "" {
					first = fmt.Sprintf("cannot %s %s: %s", p.Verb, name, why)
				}
			}
		}
		if first != "" {
			maps.Copy(failed, p.Failed)
			s.replies[id] <- core.Reply{ID: id, Err: first, Failed: failed, Replaced: p.Replaced}
			delete(s.replies, id)
		}
	}
}

// waitsForStuck tells what a unit waits for that is stuck, itself first.
func (s *Supervisor) waitsForStuck(name string) string {
	seen := map[string]bool{name: true}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		if why := s.stuck[queue[0]]; why != "" && queue[0] != name {
			return "it waits for " + queue[0] + ": " + why
		} else if why != "" {
			return why
		}
		for _, next := range s.state.WaitsFor(queue[0]) {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return ""
}

// unstuck forgets that a unit was stuck when it has got on.
func (s *Supervisor) unstuck(e core.Transition) {
	if s.stuck[e.Unit] != "" && e.From != e.To && e.To != core.Stopping {
		delete(s.stuck, e.Unit)
		s.log.Info("the unit's processes have ended after all", zap.String("unit", e.Unit))
	}
}

func comm(pid int) string {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		return strings.TrimSpace(string(text))
	}
	return "?"
}

// condition tells in which state a process is, in words.
func condition(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "gone"
	}
	rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
	f := strings.Fields(rest)
	if len(f) == 0 {
		return "gone"
	}
	words := map[string]string{"R": "running", "S": "sleeping", "D": "in uninterruptible sleep", "T": "stopped", "t": "traced", "Z": "a zombie", "X": "dead", "I": "idle"}
	if w := words[f[0]]; w != "" {
		return w
	}
	return "state " + f[0]
}
