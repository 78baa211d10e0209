package core

// Resume returns every effect that may have been lost with a supervisor that is
// gone, for a State that was just decoded: aborts, stop signals and kills,
// hooks, releases, live settings, and all timers. Each is done at least once
// over both lives. It starts nothing: the shell tells by Spawned or SpawnFailed
// what became of the starts that were under way (see the package comment), and
// by Exited what has ended. Done comes again if everything was down already.
//
// Commands stay pending and are answered as ever; nobody may wait for the answer
// any more. New ones need IDs above LastCommand.
func Resume(s *State, in Input) []Effect {
	s.derive()
	st := &step{s: s, in: in}
	for _, name := range s.Names() {
		st.resume(s.Units[name])
	}
	if t := s.Trial; t != nil && t.Left == 0 {
		st.emit(Outcome{Generation: t.Generation, Rejected: t.Rejected, Failed: t.Failed})
	}
	if s.Done {
		st.emit(Done{})
	}
	return st.out
}

func (st *step) resume(u *Unit) {
	if len(u.Applied) > 0 && (u.MainPID != 0 || u.Phase == Starting) {
		st.emit(ApplyLive{u.Name, u.Incarnation, u.Config, u.Applied})
	}
	switch {
	case u.Awaits:
		st.emit(AwaitReady{u.Name, u.Incarnation, u.Config})
	case u.Hook != "":
		st.emit(RunHook{u.Name, u.Incarnation, u.Hook, u.Config})
	case !u.ReloadSince.IsZero() && !u.ReloadBegun && u.reload() != nil && u.reload().Signal != "":
		st.emit(Signal{u.Name, u.Incarnation, u.reload().Signal, false})
	case u.Phase == Cleaning:
		st.emit(Release{u.Name, u.Incarnation})
	case u.Phase == Stopping && u.MainPID == 0:
		st.emit(Abort{u.Name, u.Incarnation})
	case u.Phase == Stopping:
		steps := stopSteps(u)
		if u.StopStep > len(steps) {
			st.emit(KillGroup{u.Name, u.Incarnation})
		} else if u.StopStep > 0 {
			st.emit(Signal{u.Name, u.Incarnation, steps[u.StopStep-1].Signal, false})
		}
	}
	for _, name := range sortedNames(u.Checks) {
		if c := u.Checks[name]; c.Seq != 0 {
			st.emit(Probe{u.Name, u.Incarnation, name, c.Seq, u.Config.Health[name]})
		}
	}
	for _, t := range u.timers() {
		st.emit(t)
	}
}
