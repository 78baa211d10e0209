package container

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/isolate"
	"berth/units"
)

// NotifySocket is where a container finds its notification socket: in /dev, which
// is a file system of its own in every container, whatever its root is.
const NotifySocket = "/dev/notify"

// notification binds the socket into the container, over all else that may be
// mounted, and tells of it as sd_notify(3) and sd_watchdog_enabled(3) have it.
func notification(spec *isolate.Spec, u *units.Unit, socket string) {
	spec.Mounts = append(spec.Mounts, isolate.Mount{
		Type: isolate.Bind, Source: socket, Target: NotifySocket,
		ReadOnly: true, NoSuid: true, NoDev: true, NoExec: true,
	})
	set(&spec.Process, "NOTIFY_SOCKET", NotifySocket)
	if u.Watchdog.Interval <= 0 {
		return
	}
	set(&spec.Process, "WATCHDOG_USEC", strconv.FormatInt(time.Duration(u.Watchdog.Interval).Microseconds(), 10))
	// Elsewhere the pid is not known before there is a process, and without the
	// variable every process of the unit is to take the watchdog for its own.
	if spec.Namespaces.PID.Mode == isolate.NSNew && !spec.Init {
		set(&spec.Process, "WATCHDOG_PID", "1")
	}
}

// set puts a variable in the place of any other of its name.
func set(p *isolate.Process, name, value string) {
	p.Env = slices.DeleteFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	p.Env = append(p.Env, name+"="+value)
}

// Listen tells of descriptors that the program finds from number 3 on, by their
// names, as sd_listen_fds_with_names(3) has it. No names: there are none. units
// holds those that have some to a PID namespace of their own, so the program's
// number is known: 1, or 2 below the minimal init.
func Listen(spec *isolate.Spec, names []string) {
	if len(names) == 0 {
		return
	}
	set(&spec.Process, "LISTEN_FDS", strconv.Itoa(len(names)))
	set(&spec.Process, "LISTEN_FDNAMES", strings.Join(names, ":"))
	pid := "1"
	if spec.Init {
		pid = "2"
	}
	set(&spec.Process, "LISTEN_PID", pid)
}
