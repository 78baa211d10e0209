package early

import (
	"os"

	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// defaultPath is where PID 1, and what inherits its environment, looks for
// programs. The kernel gives none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Prepare makes this process fit to be PID 1 and tells where it runs. For any
// other process it does nothing. A machine gets everything of the lists that is
// not yet there; a container only what is missing and allowed, without a word
// about what is not. What could not be done is given as lines for the log, best
// written once with [Tell].
//
// It makes this process a session leader, sets its umask to 022, its directory
// to /, and PATH, TERM and HOME where the environment lacks them. The other
// words of the kernel's command line that came as environment stay in it.
func Prepare() (machine.Place, []string) {
	if os.Getpid() != 1 {
		return machine.Service, nil
	}
	unix.Umask(0) // the modes here are meant as they are written
	defer unix.Umask(0o022)
	var problems []string
	note := func(what string, err error) {
		if err != nil {
			problems = append(problems, "cannot "+what+": "+err.Error())
		}
	}
	note("enter the directory /", unix.Chdir("/"))
	// It is one already where a container's maker, or this program before it
	// executed itself anew, has done it.
	_, _ = unix.Setsid()
	unproc := procMount.perform(machine.Machine)
	place := machine.Where()
	if place == machine.Machine {
		note("mount /proc", unproc)
		note("bind the initramfs over the root, so that containers can leave it", leaveInitramfs())
	}
	for i := range mounts {
		m := &mounts[i]
		err := m.perform(place)
		if m.kind == "devtmpfs" {
			note("make devices", devices(place, err))
			continue
		}
		note("mount "+m.target, err)
	}
	if place == machine.Machine {
		note("open /dev/console", openConsole())
	}
	setEnvironment()
	return place, problems
}

// devices goes on from the attempt to mount devtmpfs. What an image has in its
// /dev is only hidden when it is of no use.
func devices(place machine.Place, mounting error) error {
	if !exists("/dev/null") && !writable("/dev") {
		_ = fallback.perform(machine.Machine) // then making the nodes fails
	}
	making := makeNodes(place)
	switch {
	case place == machine.Container:
		return nil
	case mounting != nil:
		// Also when the nodes could be made: those of disks will be missing.
		return mounting
	}
	return making
}

// openConsole puts /dev/console in place of each standard descriptor that the
// runtime had to fill with /dev/null, because the kernel found no console when
// it started this process. It is not made the controlling terminal: that is for
// those who take one.
func openConsole() error {
	null := unix.Mkdev(1, 3)
	console := -1
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != null) {
			continue
		}
		if console < 0 {
			var err error
			if console, err = unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err != nil {
				return err
			}
		}
		if err := unix.Dup3(console, fd, 0); err != nil {
			return err
		}
	}
	if console >= 0 {
		unix.Close(console) // above 2: the runtime left none of those closed
	}
	return nil
}

func setEnvironment() {
	for _, v := range [...]struct{ name, value string }{{"PATH", defaultPath}, {"TERM", "linux"}, {"HOME", "/"}} {
		if os.Getenv(v.name) == "" {
			_ = os.Setenv(v.name, v.value) // only a bad name fails
		}
	}
}

// Tell writes lines to the kernel's log as a warning of berthd's, or to standard
// error where that is not to be had or, in a container, not this process's to
// write to. It never waits for a reader.
func Tell(place machine.Place, lines []string) {
	fd, prefix := 2, "berthd: "
	if place == machine.Machine {
		if kmsg, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0); err == nil {
			defer unix.Close(kmsg)
			fd, prefix = kmsg, "<4>berthd: "
		}
	}
	for _, line := range lines {
		_, _ = unix.Write(fd, []byte(prefix+line+"\n")) // there is nowhere else to tell it
	}
}
