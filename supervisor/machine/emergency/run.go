package emergency

import (
	"errors"
	"fmt"
	"os"
	"time"

	"berth/supervisor/terminal"

	"golang.org/x/sys/unix"
)

// Action is what is done in an emergency.
type Action string

// The actions, as the setting emergency names them.
const (
	Shell  Action = "shell"
	Reboot Action = "reboot"
	Halt   Action = "halt"
)

// SIGRTMIN+3 and +5, at which berthd halts and reboots in order, if its supervisor
// can; orderly is how long that may take.
const (
	haltSignal   = unix.Signal(34 + 3)
	rebootSignal = unix.Signal(34 + 5)
	orderly      = 30 * time.Second
)

// How long a message stands before the machine reboots or halts by itself: by the
// setting, or since there is no shell.
const (
	patience        = 30 * time.Second
	patienceNoShell = 2 * time.Minute
)

// Options are one emergency.
type Options struct {
	// Why is told on the console: sentences.
	Why string
	// Next tells what follows when the shell ends: a sentence.
	Next   string
	Action Action
}

// Run tells why on every console and does what the action says. For a shell it
// returns when one of them has ended, and the others were ended then; the shells
// are children of this process, which has no other. It returns an error when there
// is no console. Otherwise, and when there is no shell, the machine reboots or
// halts: PID 1 is asked first, which unmounts what is mounted, and then, if it
// cannot, the kernel by reboot(2) after sync(2).
func Run(o Options) error {
	consoles := openConsoles()
	if o.Action != Shell {
		return end(consoles, o, patience)
	}
	program := findShell()
	if program == nil {
		o.Why += "\nThere is no shell: neither sulogin nor sh is on this system."
		o.Action = Reboot
		return end(consoles, o, patienceNoShell)
	}
	if len(consoles) == 0 {
		return errors.New("there is no console to run a shell on")
	}
	tell(consoles, shellText(o))
	return serve(consoles, program)
}

// end tells why, waits, and ends the machine.
func end(consoles []*console, o Options, wait time.Duration) error {
	what, signal, command := "reboots", rebootSignal, unix.LINUX_REBOOT_CMD_RESTART
	if o.Action == Halt {
		what, signal, command = "halts", haltSignal, unix.LINUX_REBOOT_CMD_HALT
	}
	tell(consoles, fmt.Sprintf("%sThe machine %s in %.0f seconds.\n\n", head(o), what, wait.Seconds()))
	closeAll(consoles)
	time.Sleep(wait)
	if unix.Kill(1, signal) == nil {
		time.Sleep(orderly)
	}
	unix.Sync()
	return os.NewSyscallError("reboot", unix.Reboot(command))
}

func head(o Options) string {
	return "\n*** berth: emergency ***\n\n" + o.Why + "\n\n"
}

func shellText(o Options) string {
	return head(o) + "The log so far: dmesg | grep berthd\n" + o.Next + "\nTo restart the machine at once: reboot -f\n\n"
}

// tell writes to every console. One that takes nothing, as a serial line whose
// other end has stopped it, keeps nobody waiting.
func tell(consoles []*console, text string) {
	for _, c := range consoles {
		_ = terminal.Sane(c.fd) // told none the less
		_ = unix.SetNonblock(c.fd, true)
		_, _ = unix.Write(c.fd, []byte(text))
		_ = unix.SetNonblock(c.fd, false)
	}
}
