package core

import "time"

// Stop tells of the last stop of a unit: what it took until nothing of that
// incarnation was left.
type Stop struct {
	Incarnation Incarnation `json:"incarnation"`
	Began       time.Time   `json:"began"`
	Ended       time.Time   `json:"ended,omitzero"` // zero: it is under way
	// Signal is the last one that the main process was sent, without SIG; "": none,
	// because it had not executed yet.
	Signal string `json:"signal,omitempty"`
	// Killed: it did not end in the time of the stop steps, and all its processes
	// were killed.
	Killed bool `json:"killed,omitempty"`
	// Left are processes that were there still when the main process had ended, and
	// were killed then; More is how many others there were.
	Left []Process `json:"left,omitempty"`
	More int       `json:"more,omitempty"`
	// Empty: the kernel has said that no process is left in the unit's group, and
	// has removed it, which it does with none that holds a process.
	Empty bool `json:"empty,omitempty"`
}

// Process is a process as it is shown to people.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// maxLeft bounds the processes that a Stop names.
const maxLeft = 10

// Emptied comes before the Released of an incarnation: Left were the processes
// that were killed at its end, Empty that its group is empty and gone.
type Emptied struct {
	Unit        string
	Incarnation Incarnation
	Left        []Process
	Empty       bool
}

func (Emptied) event() {}

// account begins the account of a stop.
func (st *step) account(u *Unit) {
	u.LastStop = &Stop{Incarnation: u.Incarnation, Began: st.in.Now}
}

// stopping gives the account of the stop that is under way; nil: there is none.
func (u *Unit) stopping() *Stop {
	if s := u.LastStop; s != nil && s.Incarnation == u.Incarnation && s.Ended.IsZero() {
		return s
	}
	return nil
}

// sent adds a signal to the account of the incarnation's stop.
func (u *Unit) sent(i Incarnation, signal string, killed bool) {
	if s := u.stopping(); s != nil && s.Incarnation == i {
		s.Signal, s.Killed = signal, killed
	}
}

func (st *step) emptied(u *Unit, e Emptied) {
	s := u.stopping()
	if s == nil || u.Phase != Cleaning {
		return
	}
	st.touch(u)
	s.Left, s.More = e.Left, 0
	if n := len(e.Left); n > maxLeft {
		s.Left, s.More = e.Left[:maxLeft], n-maxLeft
	}
	s.Empty = e.Empty
}

// Progress tells how far the stop of a unit has got, and what it waits for.
type Progress struct {
	Unit   string    `json:"unit"`
	Phase  Phase     `json:"phase"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"` // of Phase
	// WaitsFor are the units that have to be down before this one is stopped.
	WaitsFor []string `json:"waits_for,omitempty"`
	// Signal is what the main process was sent last, the Step'th of Steps; Step is
	// Steps + 1 once all processes were killed.
	Signal string `json:"signal,omitempty"`
	Step   int    `json:"step,omitempty"`
	Steps  int    `json:"steps,omitempty"`
	// Until is when Next is sent; zero: the step waits for ever, or there is none.
	Until time.Time `json:"until,omitzero"`
	// Next is the signal that follows; KILL goes to all processes of the unit.
	Next string `json:"next,omitempty"`
	Hook Hook   `json:"hook,omitempty"` // that runs
	// Beside is that of the unit's other instance, which is there still; nil: none.
	Beside *Progress `json:"beside,omitempty"`
}

// Progress returns how far the stop of the unit has got, and false if it is not
// going down.
func (s *State) Progress(name string) (Progress, bool) {
	s.derive()
	u := s.Units[name]
	if u == nil || !u.leaving() {
		return Progress{}, false
	}
	p := u.life().progress(u, TimerStop)
	p.Reason = u.Reason
	if u.Halt {
		p.Reason, p.WaitsFor = u.ThenReason, s.WaitsFor(name)
	}
	if l := u.Beside; l != nil {
		other := l.progress(u, TimerBesideStop)
		p.Beside = &other
	}
	return p, true
}

// progress tells how far the stop of one instance of the unit has got.
func (l *Life) progress(u *Unit, t Timer) Progress {
	p := Progress{Unit: u.Name, Phase: l.Phase, Reason: l.Reason, Since: l.Since, Hook: l.Hook}
	if l.Phase != Stopping {
		return p
	}
	steps := stopSteps(l.Config, l.StopSignal)
	p.Step, p.Steps, p.Next = l.StopStep, len(steps), "KILL"
	switch {
	case l.StopStep > len(steps):
		p.Signal = "KILL"
	case l.StopStep > 0:
		p.Signal = steps[l.StopStep-1].Signal
	}
	if l.StopStep < len(steps) {
		p.Next = steps[l.StopStep].Signal
	}
	if armed, ok := u.Timers[t]; ok {
		p.Until = armed.At
	}
	return p
}
