package core

// A generation is on trial from its Load until each unit that it changed has
// either got where it is to be or shown that it does not: then Outcome tells.
// Which units are still looked at is kept with them, for Head is written at
// every step.

// Outcome tells what became of a generation: all that it changed has settled, or
// the next one has come before (Superseded). Rejected are the units that went
// back to the version before, Failed those that are not up and have none, with
// the reason; of many only some. No answer.
type Outcome struct {
	Generation uint64
	Superseded bool
	Rejected   map[string]string
	Failed     map[string]string
}

func (Outcome) effect() {}

// Trial is what is known of the newest generation.
type Trial struct {
	Generation uint64            `json:"generation"`
	Left       int               `json:"left"` // units whose Trial is true
	Rejected   map[string]string `json:"rejected,omitempty"`
	Failed     map[string]string `json:"failed,omitempty"`
}

// What a trial remembers at most; the units themselves know the rest.
const (
	maxTold   = 20
	maxReason = 300 // bytes
)

// try puts the units that a generation changes on trial. Those of an earlier
// one that is not over go on in this one.
func (l *loading) try(generation uint64) {
	st := l.st
	if t := st.s.Trial; t != nil && t.Left > 0 {
		st.emit(Outcome{Generation: t.Generation, Superseded: true, Rejected: t.Rejected, Failed: t.Failed})
	}
	for name := range l.was {
		st.s.Units[name].Trial = true
	}
	for _, u := range l.started {
		u.Trial = true
	}
	for _, u := range l.gone {
		u.Trial = true
	}
	t := &Trial{Generation: generation}
	for _, name := range sortedNames(st.s.Units) {
		if u := st.s.Units[name]; u.Trial {
			t.Left++
			st.touch(u)
		}
	}
	st.s.Trial = t
	if t.Left == 0 {
		st.emit(Outcome{Generation: generation})
	}
}

// judge looks at the units on trial that this step has touched.
func (st *step) judge() {
	t := st.s.Trial
	if t == nil || t.Left == 0 {
		return
	}
	for _, name := range sortedNames(st.touched) {
		u := st.s.Units[name]
		if u == nil || !u.Trial {
			continue
		}
		over, rejected, failed := u.verdict()
		if !over {
			continue
		}
		u.Trial = false
		t.Left--
		tell(&t.Rejected, name, rejected)
		tell(&t.Failed, name, failed)
	}
	if t.Left == 0 {
		st.emit(Outcome{Generation: t.Generation, Rejected: t.Rejected, Failed: t.Failed})
	}
}

func tell(list *map[string]string, name, reason string) {
	if reason == "" || len(*list) >= maxTold {
		return
	}
	if *list == nil {
		*list = map[string]string{}
	}
	(*list)[name] = reason[:min(len(reason), maxReason)]
}

// verdict tells whether it is clear what became of the unit's version, and why
// it was rejected or failed, if it was.
func (u *Unit) verdict() (over bool, rejected, failed string) {
	switch {
	case u.Gone:
		return u.Phase.down() && !u.Halt, "", ""
	case u.Rejected != nil:
		return true, u.Rejection, ""
	case !u.Up && u.Phase.down():
		return true, "", ""
	case u.Next != nil || u.Halt:
		return false, "", ""
	}
	switch u.Phase {
	case Running:
		return u.Ready && !u.task() && u.Hook == "" && !u.ReloadAgain, "", ""
	case Completed, Inactive:
		return true, "", ""
	case Failed, Backoff:
		return true, "", u.Reason
	}
	return false, "", ""
}

// doubt tells that a unit on trial has not taken up its new version.
func (st *step) doubt(u *Unit, reason string) {
	if u.Trial {
		tell(&st.s.Trial.Failed, u.Name, reason)
	}
}
