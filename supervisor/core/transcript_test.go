package core

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/units"
)

// TestTranscripts plays the scripts of testdata: lines at the margin are what
// happens, indented ones are what the core does about it. See script.do for the
// words.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &script{t: t, s: New(), now: time.Unix(0, 0).UTC(), files: map[string]*units.Unit{}}
			var out strings.Builder
			for line := range strings.Lines(string(text)) {
				line = strings.TrimRight(line, "\n")
				if strings.HasPrefix(line, "  ") {
					continue
				}
				out.WriteString(line + "\n")
				if line != "" && !strings.HasPrefix(line, "#") {
					for _, l := range p.do(strings.Fields(line)) {
						out.WriteString("  " + l + "\n")
					}
				}
			}
			golden(t, file, out.String())
		})
	}
}

type script struct {
	t     *testing.T
	s     *State
	now   time.Time
	files map[string]*units.Unit
	gen   uint64
}

// do plays one line. A unit is meant in its present incarnation, in that of the
// instance beside it as +web, or in another one as web#3.
func (p *script) do(w []string) []string {
	p.t.Helper()
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	name, inc := p.which(arg(1))
	switch w[0] {
	case "unit": // unit NAME OPTION…: the file, for the next load
		p.files[name] = parseUnit(p.t, name, w[2:])
	case "rm": // rm NAME
		delete(p.files, name)
	case "load": // load [boot] [only:NAME] [retry] [NAME=CLASS:KEY,KEY]… [NAME=good:COMMAND]…
		return p.step(p.load(w[1:]))
	case "spawned":
		return p.step(Spawned{name, inc, 100 + int(inc)})
	case "spawn-failed": // spawn-failed NAME REASON…
		return p.step(SpawnFailed{name, inc, strings.Join(w[2:], " "), false})
	case "spawn-lost":
		return p.step(SpawnFailed{name, inc, strings.Join(w[2:], " "), true})
	case "exited": // exited NAME CODE, or exited NAME sig N [oom]
		st := ExitStatus{Code: atoi(arg(2))}
		if arg(2) == "sig" {
			st = ExitStatus{Signal: atoi(arg(3)), OOM: arg(4) == "oom"}
		}
		return p.step(Exited{name, inc, st})
	case "released":
		return p.step(Released{name, inc})
	case "hook": // hook NAME HOOK [ERROR…]
		return p.step(HookDone{name, inc, Hook(arg(2)), strings.Join(w[3:], " ")})
	case "fire": // fire NAME [TIMER]: its timer, at its time
		for _, timer := range p.s.Units[name].timers() {
			if len(w) < 3 || arg(2) == string(timer.Timer) {
				p.now = timer.At
				return p.step(TimerFired{name, timer.Timer, timer.Seq})
			}
		}
		p.t.Fatalf("%s has no such timer", name)
		return nil
	case "early": // early NAME TIMER: it fires before its time
		return p.step(TimerFired{name, Timer(arg(2)), p.s.Units[name].Timers[Timer(arg(2))].Seq})
	case "readiness": // readiness NAME [WHY…]: ready, or why not yet
		return p.step(Readiness{name, inc, len(w) == 2, strings.Join(w[2:], " ")})
	case "notified": // notified NAME WORD…, as in sd_notify(3) but in words; times are spans before now
		return p.step(Notified{name, inc, p.message(w[2:])})
	case "probed": // probed NAME CHECK [WHY…]: the check that is under way succeeds, or why not
		return p.step(Probed{Unit: name, Incarnation: inc, Check: arg(2), Seq: p.probing(name, arg(2)), Err: strings.Join(w[min(3, len(w)):], " ")})
	case "skipped": // skipped NAME CHECK
		return p.step(Probed{Unit: name, Incarnation: inc, Check: arg(2), Seq: p.probing(name, arg(2)), Skipped: true})
	case "stale-probed": // stale-probed NAME CHECK SEQ
		return p.step(Probed{Unit: name, Incarnation: inc, Check: arg(2), Seq: uint64(atoi(arg(3))), Err: "late"})
	case "saved": // what has changed since the last time, for the snapshot
		return p.s.Dirty()
	case "stale-timer": // stale-timer NAME TIMER SEQ
		return p.step(TimerFired{name, Timer(arg(2)), uint64(atoi(arg(3)))})
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			p.t.Fatal(err)
		}
		p.now = p.now.Add(d)
	case "cmd": // cmd ID VERB NAME… [noblock]
		c := Command{ID: uint64(atoi(arg(1))), Verb: Verb(arg(2)), Units: w[3:], Signal: "USR1"}
		if w[len(w)-1] == "noblock" {
			c.Units, c.NoBlock = w[3:len(w)-1], true
		}
		return p.step(c)
	case "clock": // clock SPAN: it is set forward, or back
		p.now = p.now.Add(time.Duration(duration(p.t, arg(1))))
		return p.step(ClockChanged{})
	case "activated": // activated NAME SOCKET [WHY…]: traffic, or why nobody can listen
		return p.step(Activated{name, p.listening(name), arg(2), strings.Join(w[min(3, len(w)):], " ")})
	case "stale-activated": // stale-activated NAME SEQ
		return p.step(Activated{name, uint64(atoi(arg(2))), "s", ""})
	case "path": // path NAME PATH
		return p.step(PathChanged{name, arg(2)})
	case "shutdown": // shutdown [LIMIT]
		if arg(1) != "" {
			p.s.ShutdownLimit = time.Duration(duration(p.t, arg(1)))
		}
		return p.step(Shutdown{})
	case "end": // end ACTION [force]: a shutdown for something
		return p.step(Shutdown{Action: Action(arg(1)), By: "root", Force: arg(2) == "force"})
	case "exit-unit": // exit-unit NAME
		p.s.ExitUnit = name
		return nil
	case "ending":
		if p.s.Ending == nil {
			return []string{"none"}
		}
		b, err := json.Marshal(p.s.Ending)
		if err != nil {
			p.t.Fatal(err)
		}
		return []string{string(b)}
	case "overdue": // the time of the shutdown
		d := p.s.Deadline
		if d == nil {
			p.t.Fatal("the shutdown has no time")
		}
		p.now = d.At
		return p.step(TimerFired{"", TimerShutdown, d.Seq})
	case "emptied": // emptied NAME LEFT…
		e := Emptied{Unit: name, Incarnation: inc, Empty: true}
		for i, left := range w[2:] {
			e.Left = append(e.Left, Process{200 + i, left})
		}
		return p.step(e)
	case "stops": // stops NAME…: how far their stops have got, or went
		var l []string
		for _, n := range w[1:] {
			l = append(l, p.account(n))
		}
		return l
	case "crash": // the supervisor is lost and another resumes
		b, err := json.Marshal(p.s)
		if err != nil {
			p.t.Fatal(err)
		}
		p.s = &State{}
		if err := json.Unmarshal(b, p.s); err != nil {
			p.t.Fatal(err)
		}
		return p.tell(Resume(p.s, Input{p.now, 0.5, nil, testZones(p.t)}))
	case "show": // show NAME…
		var l []string
		for _, n := range w[1:] {
			l = append(l, p.show(n))
		}
		return l
	default:
		p.t.Fatalf("what is %q?", w[0])
	}
	return nil
}

func (p *script) listening(name string) uint64 {
	if u := p.s.Units[name]; u != nil {
		return u.Listening.Seq
	}
	return 0
}

func (p *script) probing(name, check string) uint64 {
	if u := p.s.Units[name]; u != nil && u.Checks[check] != nil {
		return u.Checks[check].Seq
	}
	return 0
}

func (p *script) which(arg string) (string, Incarnation) {
	name, number, given := strings.Cut(arg, "#")
	if given {
		return name, Incarnation(atoi(number))
	}
	other, beside := strings.CutPrefix(name, "+")
	switch u := p.s.Units[other]; {
	case u == nil:
	case !beside:
		return name, u.Incarnation
	case u.Beside != nil:
		return other, u.Beside.Incarnation
	}
	return other, 0
}

func (p *script) load(args []string) Load {
	p.gen++
	l := Load{Generation: p.gen, Units: map[string]*units.Unit{}, Changes: map[string]Change{}, Good: map[string]*units.Unit{}}
	for n, u := range p.files {
		l.Units[n] = u
	}
	classes := map[string]units.Class{"none": units.None, "live": units.Live, "reload": units.ReloadClass, "restart": units.RestartClass}
	for _, a := range args {
		if a == "boot" {
			l.Boot = true
			continue
		}
		if only, ok := strings.CutPrefix(a, "only:"); ok {
			l.Only = only
			continue
		}
		if run, ok := strings.CutPrefix(a, "run:"); ok { // run:NAME=SPAN: what was due up to then is done
			name, span, _ := strings.Cut(run, "=")
			if l.Runs == nil {
				l.Runs = map[string]Run{}
			}
			l.Runs[name] = Run{Text: l.Units[name].Timer.Calendar, Base: p.now.Add(time.Duration(duration(p.t, span)))}
			continue
		}
		if a == "retry" {
			l.Retry = true
			continue
		}
		if name, command, ok := strings.Cut(a, "=good:"); ok {
			good := *l.Units[name]
			good.Service.Command = strings.Split(command, ",")
			l.Good[name] = &good
			continue
		}
		name, change, _ := strings.Cut(a, "=")
		class, keys, _ := strings.Cut(change, ":")
		c, ok := classes[class]
		if !ok {
			p.t.Fatalf("no such class: %q", class)
		}
		l.Changes[name] = Change{c, strings.Split(keys, ",")}
	}
	return l
}

func testZones(t testing.TB) map[string]*time.Location {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*time.Location{"Europe/Berlin": berlin}
}

func (p *script) step(e Event) []string {
	return p.tell(Step(p.s, Input{p.now, 0.5, e, testZones(p.t)}))
}

func (p *script) tell(effects []Effect) []string {
	var l []string
	for _, x := range effects {
		l = append(l, p.line(x))
	}
	return l
}

func (p *script) line(x Effect) string {
	switch x := x.(type) {
	case Spawn:
		return fmt.Sprintf("spawn %s#%d %s", x.Unit, x.Incarnation, strings.Join(x.Config.Service.Command, " "))
	case Abort:
		return fmt.Sprintf("abort %s#%d", x.Unit, x.Incarnation)
	case Signal:
		return fmt.Sprintf("signal %s#%d %s%s", x.Unit, x.Incarnation, x.Signal, map[bool]string{true: " (whole group)"}[x.Whole])
	case KillGroup:
		return fmt.Sprintf("kill group of %s#%d", x.Unit, x.Incarnation)
	case Release:
		return fmt.Sprintf("release %s#%d", x.Unit, x.Incarnation)
	case RunHook:
		return fmt.Sprintf("run %s of %s#%d", x.Hook, x.Unit, x.Incarnation)
	case AwaitReady:
		return fmt.Sprintf("await ready of %s#%d", x.Unit, x.Incarnation)
	case Probe:
		return fmt.Sprintf("probe %s/%d of %s#%d: %s within %v", x.Check, x.Seq, x.Unit, x.Incarnation, x.Config.TCP, time.Duration(x.Config.Timeout))
	case HealthChanged:
		s := fmt.Sprintf("%s#%d: check %s is %s", x.Unit, x.Incarnation, x.Check, x.State)
		if x.Reason != "" {
			s += " (" + x.Reason + ")"
		}
		return s
	case ApplyLive:
		return fmt.Sprintf("apply to %s#%d: %s", x.Unit, x.Incarnation, strings.Join(x.Keys, ", "))
	case SetTimer:
		return fmt.Sprintf("timer %s %s/%d in %v", x.Unit, x.Timer, x.Seq, x.At.Sub(p.now))
	case StopTimer:
		return fmt.Sprintf("stop timer %s %s", x.Unit, x.Timer)
	case Reply:
		if x.Err == "" {
			return strings.Join(append([]string{fmt.Sprintf("reply %d: ok", x.ID)}, x.Replaced...), ", replaced ")
		}
		return fmt.Sprintf("reply %d: %s", x.ID, x.Err)
	case Transition:
		if x.Reason == "" {
			return fmt.Sprintf("%s: %s -> %s", x.Unit, x.From, x.To)
		}
		return fmt.Sprintf("%s: %s -> %s (%s)", x.Unit, x.From, x.To, x.Reason)
	case Report:
		return fmt.Sprintf("report %s#%d: %s", x.Unit, x.Incarnation, x.Text)
	case Overdue:
		if x.Abandoned {
			return "abandoned: " + strings.Join(x.Units, ", ")
		}
		return "overdue: " + strings.Join(x.Units, ", ")
	case Outcome:
		s := fmt.Sprintf("outcome of generation %d:", x.Generation)
		if x.Superseded {
			s += " superseded"
		}
		for _, n := range sortedNames(x.Rejected) {
			s += fmt.Sprintf(" %s rejected (%s)", n, x.Rejected[n])
		}
		for _, n := range sortedNames(x.Failed) {
			s += fmt.Sprintf(" %s failed (%s)", n, x.Failed[n])
		}
		return s
	case Beside:
		s := fmt.Sprintf("beside %s#%d: %s -> %s", x.Unit, x.Incarnation, x.From, x.To)
		if x.Reason != "" {
			s += " (" + x.Reason + ")"
		}
		return s
	case Stamp:
		return fmt.Sprintf("stamp %s: done up to %s", x.Unit, x.Run.Base.Format(time.DateTime))
	case Sockets:
		var names []string
		for _, s := range x.Sockets {
			names = append(names, s.Name)
		}
		return fmt.Sprintf("sockets %s/%d: [%s]%s", x.Unit, x.Seq, strings.Join(names, " "), map[bool]string{true: ", listen"}[x.Listen])
	case Watch:
		return fmt.Sprintf("watch %s: %v", x.Unit, x.Paths)
	case Done:
		return "done"
	}
	return fmt.Sprintf("%T", x)
}

func (p *script) message(words []string) (m Message) {
	span := func(s string) time.Duration { return time.Duration(duration(p.t, s)) }
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "ready":
			m.Ready = true
		case "reloading":
			m.Reloading = p.now.Add(-span(value))
		case "stopping":
			m.Stopping = true
		case "status":
			m.Status = &value
		case "errno":
			n := atoi(value)
			m.Errno = &n
		case "buserror":
			m.BusError = &value
		case "mainpid":
			m.MainPID = atoi(value)
		case "extend":
			m.Extend = span(value)
		case "watchdog":
			m.Watchdog = p.now.Add(-span(value))
		case "trigger":
			m.Trigger = true
		case "interval":
			m.Interval = span(value)
		default:
			p.t.Fatalf("no such word %q", w)
		}
	}
	return m
}

func (p *script) account(name string) string {
	if g, ok := p.s.Progress(name); ok {
		s := fmt.Sprintf("%s: %s (%s), step %d of %d", name, g.Phase, g.Reason, g.Step, g.Steps)
		if g.Signal != "" {
			s += ", sent " + g.Signal
		}
		if g.Next != "" && !g.Until.IsZero() {
			s += fmt.Sprintf(", %s in %v", g.Next, g.Until.Sub(p.now))
		}
		if g.Beside != nil {
			s += fmt.Sprintf(", beside it one %s, step %d of %d", g.Beside.Phase, g.Beside.Step, g.Beside.Steps)
		}
		if len(g.WaitsFor) > 0 {
			s += ", waits for " + strings.Join(g.WaitsFor, ", ")
		}
		return s
	}
	u := p.s.Units[name]
	if u == nil || u.LastStop == nil {
		return name + ": was never stopped"
	}
	l := u.LastStop
	return fmt.Sprintf("%s: stopped in %v, sent %s, killed %v, left %v, empty %v", name, l.Ended.Sub(l.Began), l.Signal, l.Killed, l.Left, l.Empty)
}

func (p *script) show(name string) string {
	u := p.s.Units[name]
	if u == nil {
		return name + ": no such unit"
	}
	s := fmt.Sprintf("%s: %s, desired %s, restarts %d", name, u.Phase, map[bool]string{true: "up", false: "down"}[u.Up], u.Restarts)
	if u.Reason != "" {
		s += ", " + u.Reason
	}
	if u.NotReady != "" {
		s += ", not ready: " + u.NotReady
	}
	if u.Notice != (Notice{}) {
		s += fmt.Sprintf(", told %+v", u.Notice)
	}
	for _, n := range sortedNames(u.Checks) {
		c := u.Checks[n]
		s += fmt.Sprintf(", %s %s", n, c.State)
		if c.Failed > 0 {
			s += fmt.Sprintf(" (%d failed: %s)", c.Failed, c.Err)
		}
	}
	if h := u.Health(); h != "" {
		s += ", in all " + string(h)
	}
	if u.Incarnation != 0 && u.Beside != nil {
		s += fmt.Sprintf(", #%d on side %d; beside it #%d on side %d, %s", u.Incarnation, u.Side, u.Beside.Incarnation, u.Beside.Side, u.Beside.Phase)
	}
	if u.ReplaceDue != "" {
		s += ", replace due: " + u.ReplaceDue
	}
	return s
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// parseUnit reads options like requires=db,cache, type=task, policy=never,
// delay=1s, limit=3/1m, steps=QUIT:5s,TERM:1s, command=v2, or a word alone.
func parseUnit(t *testing.T, name string, opts []string) *units.Unit {
	u := svc(name)
	for _, o := range opts {
		key, value, _ := strings.Cut(o, "=")
		list := strings.Split(value, ",")
		switch key {
		case "requires":
			requires(list...)(u)
		case "wants":
			wants(list...)(u)
		case "conflicts":
			conflicts(list...)(u)
		case "on-failure":
			onFailure(list...)(u)
		case "after": // after=db or after=db:started
			for _, a := range list {
				n, is, given := strings.Cut(a, ":")
				if !given {
					is = "ready"
				}
				after(is, n)(u)
			}
		case "demand":
			demand(u)
		case "remain":
			remain(u)
		case "notify":
			notifies(u)
		case "health": // health=NAME[:KEY=VALUE]…, keys on-failure, interval, start-period, retries, tcp
			l := strings.Split(value, ":")
			check(l[0], func(p *units.Probe) {
				for _, o := range l[1:] {
					k, v, _ := strings.Cut(o, "=")
					switch k {
					case "on-failure":
						p.OnFailure = v
					case "interval":
						p.Interval = duration(t, v)
					case "start-period":
						p.StartPeriod = duration(t, v)
					case "retries":
						p.Retries = atoi(v)
					case "tcp":
						p.TCP = v
					default:
						t.Fatalf("%s: no such key %q", name, o)
					}
				}
			})(u)
		case "replace":
			replaces(u)
		case "post-start":
			postStart(u)
		case "post-stop":
			postStop(u)
		case "reload":
			reloads(u)
		case "watchdog": // watchdog=30s or watchdog=30s:none
			interval, action, given := strings.Cut(value, ":")
			if !given {
				action = "restart"
			}
			watched(duration(t, interval), action)(u)
		case "reload-notify":
			reloadNotify(u)
		case "reload-command-notify":
			reloadCommandNotify(u)
		case "reload-hup":
			reloadHUP(u)
		case "type":
			kind(value)(u)
		case "policy":
			policy(value)(u)
		case "command":
			u.Service.Command = list
		case "delay":
			u.Restart.Delay = duration(t, value)
		case "limit":
			n, within, _ := strings.Cut(value, "/")
			u.Restart.Limit = units.StartLimit{Burst: atoi(n), Within: duration(t, within)}
		case "timer": // timer=*-*-*_03:00
			u.Timer.Calendar = strings.ReplaceAll(value, "_", " ")
		case "every":
			u.Timer.Every = duration(t, value)
		case "jitter":
			u.Timer.Jitter = duration(t, value)
		case "missed":
			u.Timer.Missed = value
		case "socket":
			u.Sockets = append(u.Sockets, units.Socket{Name: value, Activate: true})
		case "passive":
			u.Sockets = append(u.Sockets, units.Socket{Name: value})
		case "path": // path=/p or path=/p:reload
			file, action, _ := strings.Cut(value, ":")
			u.Path = units.Path{Changed: []string{file}, Action: action}
		case "steps":
			for _, s := range list {
				sig, wait, _ := strings.Cut(s, ":")
				u.Stop.Steps = append(u.Stop.Steps, units.StopStep{Signal: sig, Wait: duration(t, wait)})
			}
		default:
			t.Fatalf("%s: no such option %q", name, o)
		}
	}
	return u
}

func duration(t *testing.T, s string) units.Duration {
	if s == "infinity" {
		return units.Infinity
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return units.Duration(d)
}
