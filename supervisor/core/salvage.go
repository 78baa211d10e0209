package core

// Salvage gives a state with as little of another one as keeps what runs running,
// for a State that the core cannot go on with. Of each unit stay its configuration,
// what is desired, and where it is: up and ready, with its process, or down. One that
// is on its way somewhere is down, and starts again if it is to be up; what was under
// way for it (an instance beside it, a hook, a stop), commands, timers, triggers,
// limits of starts and what is told of the past are forgotten. What the state says
// of processes that it leaves out is the owner's to end. old is not to be used any more.
func Salvage(old *State, in Input) *State {
	s := New()
	s.Head = Head{Generation: old.Generation, Incarnation: old.Incarnation, TimerSeq: old.TimerSeq, LastCommand: old.LastCommand,
		Shutdown: old.Shutdown, Ending: old.Ending, ShutdownLimit: old.ShutdownLimit, ExitUnit: old.ExitUnit}
	for name, was := range old.Units {
		u := &Unit{
			Name: name, Config: was.Config, Next: was.Next, Gone: was.Gone, Up: was.Up, Stopped: was.Stopped,
			Phase: was.Phase, Since: was.Since, Reason: was.Reason, FailedBy: was.FailedBy,
			Incarnation: was.Incarnation, LastPID: was.LastPID, StartedAt: was.StartedAt, LastExit: was.LastExit, Side: was.Side,
		}
		switch was.Phase {
		case Inactive, Failed, Completed:
		case Running:
			if was.Ready && !was.Halt && (was.MainPID != 0 || was.group()) {
				u.Ready, u.MainPID, u.PostStopDue, u.Applied = true, was.MainPID, was.PostStopDue, was.Applied
				break
			}
			fallthrough
		default:
			u.Phase, u.Since, u.Reason = Inactive, in.Now, "the supervisor could not go on with it"
			if u.Up && !old.Shutdown {
				u.Phase = Waiting
			}
		}
		s.Units[name] = u
	}
	s.Commands = map[uint64]*Pending{}
	s.derive()
	st := &step{s: s, in: in, queued: map[string]bool{}, touched: map[string]bool{}}
	for _, name := range s.Names() {
		if u := s.Units[name]; u.Phase == Running {
			st.beginChecks(u)
			st.guard(u)
		}
	}
	return s
}

// Rouse looks at every unit that waits, in a State that Salvage made: what they
// wait for may be there, and no event comes that would tell.
func Rouse(s *State, in Input) []Effect {
	s.derive()
	st := &step{s: s, in: in, queued: map[string]bool{}, touched: map[string]bool{}}
	for _, name := range s.Names() {
		if s.Units[name].Phase == Waiting {
			st.wake(name)
		}
	}
	st.work()
	st.settleAll()
	return st.out
}
