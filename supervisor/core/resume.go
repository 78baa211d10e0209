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
	if d := s.Deadline; d != nil {
		st.emit(SetTimer{Timer: TimerShutdown, Seq: d.Seq, At: d.At})
	}
	if s.Done {
		st.emit(Done{})
	}
	return st.out
}

func (st *step) resume(u *Unit) {
	if r := u.reload(); !u.ReloadSince.IsZero() && !u.ReloadBegun && u.Hook == "" && r != nil && r.Signal != "" {
		st.emit(Signal{u.Name, u.Incarnation, r.Signal, false})
	}
	st.resumeLife(u, u.life())
	if u.Beside != nil {
		st.resumeLife(u, u.Beside)
	}
	for _, name := range sortedNames(u.Checks) {
		if c := u.Checks[name]; c.Seq != 0 {
			st.emit(Probe{u.Name, u.Incarnation, name, c.Seq, u.Config.Health[name]})
		}
	}
	if len(u.Listening.Sockets) > 0 {
		st.emit(Sockets{u.Name, u.Listening.Seq, u.Listening.Sockets, u.Listening.Listen})
	}
	if len(u.Watched) > 0 {
		st.emit(Watch{u.Name, u.Watched})
	}
	for _, t := range u.timers() {
		st.emit(t)
	}
}

func (st *step) resumeLife(u *Unit, l *Life) {
	if len(l.Applied) > 0 && (l.MainPID != 0 || l.Phase == Starting) {
		st.emit(ApplyLive{u.Name, l.Incarnation, l.Config, l.Applied})
	}
	switch {
	case l.Awaits:
		st.emit(AwaitReady{u.Name, l.Incarnation, l.Config})
	case l.Hook != "":
		st.emit(RunHook{u.Name, l.Incarnation, l.Hook, l.Config})
	case l.Phase == Cleaning:
		st.emit(Release{u.Name, l.Incarnation})
	case l.Phase == Stopping && l.MainPID == 0:
		st.emit(Abort{u.Name, l.Incarnation})
	case l.Phase == Stopping:
		steps := stopSteps(l.Config, l.StopSignal)
		if l.StopStep > len(steps) {
			st.emit(KillGroup{u.Name, l.Incarnation})
		} else if l.StopStep > 0 {
			st.emit(Signal{u.Name, l.Incarnation, steps[l.StopStep-1].Signal, false})
		}
	}
}
