package final

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"berth/supervisor/core"
	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// maxTold bounds the things of a kind that the last line names.
const maxTold = 10

// outcome is what the last line tells.
type outcome struct {
	killed, left []process
	stayed       []Stayed
	notes        []string
}

// names are what people call what follows.
var names = map[core.Action]string{
	core.ActionExit: "exit", core.ActionPowerOff: "power off", core.ActionReboot: "reboot", core.ActionHalt: "halt",
	core.ActionKexec: "kexec", core.ActionSoftReboot: "soft reboot",
}

// line is the last one: "power off: killed 2 processes (web 812 sh, 901 cat);
// still mounted: /data (busy)". Names are the processes' own, and harmless here.
func (o *outcome) line(action core.Action, mounts bool) string {
	var parts []string
	if n := len(o.killed); n > 0 {
		parts = append(parts, fmt.Sprintf("killed %s (%s)", count(n, "process", "processes"), listed(o.killed)))
	}
	if n := len(o.left); n > 0 {
		parts = append(parts, fmt.Sprintf("could not kill %s (%s)", count(n, "process", "processes"), listed(o.left)))
	}
	var mounted, writable, attached []string
	for _, s := range o.stayed {
		switch text := s.Target + " (" + s.Why + ")"; {
		case !s.Mounted:
			attached = append(attached, text)
		case s.Writable:
			writable = append(writable, text)
		default:
			mounted = append(mounted, text)
		}
	}
	for _, l := range []struct {
		what string
		list []string
	}{{"still mounted: ", mounted}, {"still mounted and writable: ", writable}, {"still attached: ", attached}} {
		if len(l.list) > 0 {
			parts = append(parts, l.what+joined(l.list))
		}
	}
	if len(o.killed)+len(o.left) == 0 {
		parts = append([]string{"no process was left"}, parts...)
	}
	if mounts && len(o.stayed)+len(o.notes) == 0 {
		parts = append(parts, "everything is unmounted")
	}
	parts = append(parts, o.notes...)
	return harmless(names[action] + ": " + strings.Join(parts, "; "))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

func listed(list []process) string {
	var texts []string
	for _, p := range list {
		text := p.String()
		if p.stuck {
			text += " in the kernel"
		}
		texts = append(texts, text)
	}
	return joined(texts)
}

func joined(list []string) string {
	if n := len(list) - maxTold; n > 0 {
		return strings.Join(list[:maxTold], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}

// harmless makes text fit for a terminal and for one line.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\ufffd'
		}
		return r
	}, text)
}

// tellLimit bounds the wait for a console: a serial line may be held.
const tellLimit = 2 * time.Second

// Tell writes one line for whoever looks at the machine: to its console and to
// the kernel's log. A container's goes to standard error. It waits for a slow
// console for two seconds at most; what cannot be written is lost.
func Tell(place machine.Place, line string) {
	bounded(tellLimit, func() {
		text := "berthd: " + line
		if place != machine.Machine {
			_, _ = os.Stderr.WriteString(text + "\n")
			return
		}
		// At a level that no console shows by default: it is there once.
		write("/dev/kmsg", "<7>"+text+"\n")
		// The cursor is wherever a getty or a shell has left it.
		write("/dev/console", "\r\n"+text+"\r\n")
	})
}

func write(path, text string) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for data := []byte(text); len(data) > 0; {
		n, err := unix.Write(fd, data)
		if err == unix.EAGAIN {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if n, err := unix.Poll(poll, int(tellLimit/time.Millisecond)); n > 0 && err == nil {
				continue
			}
		}
		if err != nil || n <= 0 {
			return
		}
		data = data[n:]
	}
}
