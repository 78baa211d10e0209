package core

func (Load) event()         {}
func (Command) event()      {}
func (Spawned) event()      {}
func (SpawnFailed) event()  {}
func (Exited) event()       {}
func (Released) event()     {}
func (HookDone) event()     {}
func (Readiness) event()    {}
func (Probed) event()       {}
func (Notified) event()     {}
func (TimerFired) event()   {}
func (ClockChanged) event() {}
func (Activated) event()    {}
func (PathChanged) event()  {}
func (Shutdown) event()     {}

func (Spawn) effect()         {}
func (Abort) effect()         {}
func (Signal) effect()        {}
func (KillGroup) effect()     {}
func (Release) effect()       {}
func (RunHook) effect()       {}
func (AwaitReady) effect()    {}
func (Probe) effect()         {}
func (HealthChanged) effect() {}
func (ApplyLive) effect()     {}
func (SetTimer) effect()      {}
func (StopTimer) effect()     {}
func (Stamp) effect()         {}
func (Sockets) effect()       {}
func (Watch) effect()         {}
func (Reply) effect()         {}
func (Transition) effect()    {}
func (Report) effect()        {}
func (Beside) effect()        {}
func (Done) effect()          {}
