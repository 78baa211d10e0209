package core

import "fmt"

// signalNames are those of signal(7) by number, which are the same on all
// architectures that berth runs on.
var signalNames = [...]string{
	1: "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE",
	"SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT",
	"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU",
	"SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
}

const (
	sigHUP  = 1
	sigINT  = 2
	sigPIPE = 13
	sigTERM = 15
)

// clean reports whether an end that nobody asked for is a success, as
// systemd.service(5) has it under SuccessExitStatus=: code 0, and the four
// signals for whatever is not a task.
func (e ExitStatus) clean(task bool) bool {
	if e.OOM {
		return false
	}
	switch e.Signal {
	case 0:
		return e.Code == 0
	case sigHUP, sigINT, sigPIPE, sigTERM:
		return !task
	}
	return false
}

// String says how the process ended: "exited with status 1", "killed by SIGKILL
// (out of memory)".
func (e ExitStatus) String() string {
	s := fmt.Sprintf("exited with status %d", e.Code)
	if e.Signal != 0 {
		s = "killed by " + signalName(e.Signal)
	}
	if e.Core {
		s += ", core dumped"
	}
	if e.OOM {
		s += " (out of memory)"
	}
	return s
}

func signalName(n int) string {
	if n > 0 && n < len(signalNames) {
		return signalNames[n]
	}
	return fmt.Sprintf("signal %d", n)
}
