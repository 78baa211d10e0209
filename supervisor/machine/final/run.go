package final

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"berth/reaper"
	"berth/supervisor/core"
	"berth/supervisor/machine"
	"berth/supervisor/machine/hwdog"

	"golang.org/x/sys/unix"
)

const (
	// Of the stage's limit, and at most so long: the wait after SIGTERM, that after
	// SIGKILL, and one step.
	askShare, askMost   = 3, 10 * time.Second
	killShare, killMost = 6, 10 * time.Second
	stepShare, stepMost = 4, 20 * time.Second
	// exitRestart is the exit code of a container's init that may not call
	// reboot(2), to ask for another start: what a shell makes of the SIGHUP that
	// the call would end it with.
	exitRestart = 128 + int(unix.SIGHUP)
)

// stage is one run of Run.
type stage struct {
	Options
	sys  system
	only func(Step) bool // nil: all steps; see clearing
	dog  *hwdog.Device   // nil: there is none

	telling sync.Mutex
	told    outcome
	last    sync.Mutex // held for ever by who ends it
}

// Run does all that the package comment says. This process has to be PID 1; for
// another one it changes nothing and returns 1. It returns the exit code of a
// container's init, and for a machine only if the kernel refuses everything.
func Run(o Options) int {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "berthd: the last stage is for PID 1 only")
		return 1
	}
	reaper.SetName("berthd") // it was executed by a descriptor
	s := &stage{Options: o, sys: linux{}}
	if files := reaper.Kept(hwdog.Stored); len(files) > 0 {
		s.dog, _ = hwdog.Adopt(files[0]) // one that does not answer resets the machine
	}
	return s.run()
}

func (s *stage) run() (code int) {
	if s.Limit <= 0 {
		s.Limit = DefaultLimit
	}
	// Whatever is sent to PID 1 now has come too late, and must not end it.
	signal.Notify(make(chan os.Signal, 1))
	until := time.Now().Add(s.Limit)
	time.AfterFunc(s.Limit, func() {
		s.note("the time of the last stage is over")
		os.Exit(s.end())
	})
	defer func() {
		if p := recover(); p != nil {
			s.note(fmt.Sprint("berthd panicked: ", p))
			code = s.end()
		}
	}()
	stop := make(chan struct{})
	defer close(stop)
	go s.feed(stop)
	killed, left := endAll(share(s.Limit, askShare, askMost), share(s.Limit, killShare, killMost))
	s.tell(func(o *outcome) { o.killed, o.left = killed, left })
	if s.Place == machine.Machine {
		s.clear(until)
	}
	return s.end()
}

func share(limit time.Duration, part int, most time.Duration) time.Duration {
	return min(limit/time.Duration(part), most)
}

// tell changes what the last line says: the time may be over at any moment.
func (s *stage) tell(f func(*outcome)) {
	s.telling.Lock()
	defer s.telling.Unlock()
	f(&s.told)
}

func (s *stage) note(text string) {
	s.tell(func(o *outcome) {
		if !slices.Contains(o.notes, text) {
			o.notes = append(o.notes, text)
		}
	})
}

// clear takes away what is mounted and attached.
func (s *stage) clear(until time.Time) {
	c := &clearing{sys: s.sys, soft: s.Action == core.ActionSoftReboot, only: s.only, note: s.note,
		// Early enough for the line to tell what has stayed.
		until: until.Add(-s.Limit / 10), step: share(s.Limit, stepShare, stepMost)}
	c.syncAll()
	stayed := c.run()
	s.tell(func(o *outcome) { o.stayed = stayed })
	c.syncAll()
}

// feed keeps the watchdog from resetting the machine while the stage goes on. The
// limit ends that: what follows it has the watchdog's own time.
func (s *stage) feed(stop <-chan struct{}) {
	defer func() { _ = recover() }()
	if s.dog == nil {
		return
	}
	over := time.After(s.Limit)
	for {
		_ = s.dog.Feed()
		select {
		case <-stop:
			return
		case <-over:
			return
		case <-time.After(min(time.Second, s.dog.Timeout()/4)):
		}
	}
}

// end tells the last line and does what follows. It is done once: a second caller
// waits for ever. It returns the exit code, if there is something to exit from.
func (s *stage) end() int {
	s.last.Lock()
	s.telling.Lock()
	line := s.told.line(s.Action, s.Place == machine.Machine)
	quiet := s.Place == machine.Container && len(s.told.killed)+len(s.told.left)+len(s.told.notes) == 0
	s.telling.Unlock()
	if !quiet {
		Tell(s.Place, line)
	}
	if s.Place == machine.Container {
		return s.endContainer()
	}
	switch s.Action {
	case core.ActionHalt, core.ActionSoftReboot: // nobody feeds a machine that is halted
		if s.dog != nil {
			bounded(time.Second, func() { _ = s.dog.Disarm() })
		}
	}
	if s.Action == core.ActionSoftReboot {
		if err := s.again(); err != nil {
			Tell(s.Place, "cannot start berthd again, rebooting: "+err.Error())
		}
	}
	for _, command := range commands(s.Action) {
		err := unix.Reboot(command)
		Tell(s.Place, fmt.Sprintf("the kernel refuses to %s (%#x): %v", names[s.Action], command, err))
	}
	return 1
}

// commands gives what to ask reboot(2) for, best first: a machine that goes down
// in another way than was asked for is better than one that hangs.
func commands(action core.Action) []int {
	switch action {
	case core.ActionReboot, core.ActionSoftReboot:
		return []int{unix.LINUX_REBOOT_CMD_RESTART, unix.LINUX_REBOOT_CMD_HALT}
	case core.ActionKexec:
		return []int{unix.LINUX_REBOOT_CMD_KEXEC, unix.LINUX_REBOOT_CMD_RESTART, unix.LINUX_REBOOT_CMD_HALT}
	case core.ActionHalt:
		return []int{unix.LINUX_REBOOT_CMD_HALT, unix.LINUX_REBOOT_CMD_POWER_OFF}
	}
	return []int{unix.LINUX_REBOOT_CMD_POWER_OFF, unix.LINUX_REBOOT_CMD_HALT}
}

// endContainer ends a PID namespace. Its end kills and reaps whatever is left in it.
func (s *stage) endContainer() int {
	if s.Action != core.ActionReboot {
		return s.Code
	}
	// The namespace's parent sees its init killed by SIGHUP, pid_namespaces(7).
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	return exitRestart // it takes CAP_SYS_BOOT
}

// again executes berthd anew, on the next root if there is one. It returns only if
// it cannot.
func (s *stage) again() error {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, reaper.KeptVariable+"=") {
			env = append(env, v)
		}
	}
	own, err := os.Executable()
	if err != nil {
		own = "/proc/self/exe"
	}
	own = strings.TrimSuffix(own, " (deleted)") // replaced since it was started
	args := s.Again
	if len(args) == 0 {
		args = []string{"berthd"}
	}
	if mounted(nextRoot) {
		path, err := nextInit(nextRoot, own)
		if err == nil {
			err = enter(nextRoot)
		}
		if err == nil && path != own {
			args = []string{path} // perhaps another init
		}
		if err == nil {
			return syscall.Exec(path, args, env)
		}
		Tell(s.Place, "going on with the old root: "+err.Error())
	}
	for _, p := range []string{own, "/proc/self/exe"} {
		err = syscall.Exec(p, args, env)
	}
	return err
}
