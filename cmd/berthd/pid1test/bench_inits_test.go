package pid1test

import (
	"fmt"
	"os/exec"

	"berth/isolate/vmtest"
)

// services is how many services each init starts; the meter counts them too.
const services = 10

// initSystem is an init with the configuration that starts the services.
type initSystem struct {
	name     string
	argv     []string
	packages []string // Debian's, fetched
	programs []string // of the packages, taken with their libraries
	files    []vmtest.File
}

// mountScript mounts what the inits mount that do it themselves (berthd, systemd
// and finit). It ends with a line of the caller's.
func mountScript(last string) string {
	return `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
` + last
}

// eachService makes a file or more for each service.
func eachService(make func(n int) []vmtest.File) []vmtest.File {
	var files []vmtest.File
	for n := 1; n <= services; n++ {
		files = append(files, make(n)...)
	}
	return files
}

// lines is a text with a line for each service.
func lines(format string) string {
	text := ""
	for n := 1; n <= services; n++ {
		text += fmt.Sprintf(format+"\n", n)
	}
	return text
}

// berth: a unit file for each service, with the isolation that units have when
// they say nothing: mount, PID, UTS, IPC, cgroup and network namespaces, no
// capabilities, the default system call filter, the root file system read-only.
func berthInit(berthd string) initSystem {
	return berthWith("berth", berthd, "")
}

// berthBare: the same with as little isolation as a unit file allows, which is
// what the other inits have, and a control group.
func berthBareInit(berthd string) initSystem {
	return berthWith("berth-bare", berthd, `
[namespaces]
pid = "host"
uts = "host"
ipc = "host"
cgroup = "host"
network = "host"

[security]
no-new-privileges = false
seccomp = "unconfined"
`)
}

func berthWith(name, berthd, isolation string) initSystem {
	return initSystem{
		name: name, argv: []string{"/sbin/berthd"},
		files: append(eachService(func(n int) []vmtest.File {
			text := fmt.Sprintf("[service]\ncommand = [\"/bench/service\", \"%d\"]\n\n[rootfs]\nhost = true\n", n)
			return []vmtest.File{vmtest.Text(fmt.Sprintf("etc/berth/units/s%d.toml", n), text+isolation, 0o644)}
		}), vmtest.Copy("usr/sbin/berthd", berthd)),
	}
}

// busybox: an inittab, whose sysinit mounts.
func busyboxInit() initSystem {
	return initSystem{
		name: "busybox", argv: []string{"/sbin/init"},
		files: []vmtest.File{
			vmtest.Link("usr/sbin/init", "../bin/busybox"),
			vmtest.Text("etc/rcS", mountScript(""), 0o755),
			vmtest.Text("etc/inittab", "::sysinit:/etc/rcS\n"+lines("null::respawn:/bench/service %d"), 0o644),
		},
	}
}

// runit: stage 1 mounts, stage 2 is runsvdir; a directory for each service.
func runitInit() initSystem {
	files := []vmtest.File{
		vmtest.Text("etc/runit/1", mountScript(""), 0o755),
		vmtest.Text("etc/runit/2", "#!/bin/sh\nexec env - PATH=$PATH runsvdir -P /etc/service\n", 0o755),
		vmtest.Text("etc/runit/3", "#!/bin/sh\nexec sv -w 10 force-stop /etc/service/*\n", 0o755),
	}
	return initSystem{
		name: "runit", argv: []string{"/sbin/runit"}, packages: []string{"runit"},
		programs: []string{"sbin/runit", "usr/bin/runsvdir", "usr/bin/runsv", "usr/bin/sv"},
		files:    append(files, runScripts("#!/bin/sh\nexec /bench/service %d\n")...),
	}
}

// s6: a script mounts and becomes s6-svscan; a directory for each service, whose
// script is a shell's, as execlineb takes longer.
func s6Init() initSystem {
	files := []vmtest.File{vmtest.Text("etc/init", mountScript("exec s6-svscan /etc/service\n"), 0o755)}
	return initSystem{
		name: "s6", argv: []string{"/etc/init"}, packages: []string{"s6", "libs6-2.11", "libskarnet2.13", "libexecline2.9"},
		programs: []string{"usr/bin/s6-svscan", "usr/bin/s6-supervise", "usr/bin/s6-svc"},
		files:    append(files, runScripts("#!/bin/sh\nexec /bench/service %d\n")...),
	}
}

func runScripts(text string) []vmtest.File {
	return eachService(func(n int) []vmtest.File {
		return []vmtest.File{vmtest.Text(fmt.Sprintf("etc/service/s%d/run", n), fmt.Sprintf(text, n), 0o755)}
	})
}

// finit mounts by itself; a line for each service in its only file.
func finitInit() initSystem {
	return initSystem{
		name: "finit", argv: []string{"/sbin/finit"}, packages: []string{"finit", "libite5", "libuev3", "libcrypt1"},
		programs: []string{"sbin/finit"},
		files: []vmtest.File{
			vmtest.Text("etc/finit.conf", "runlevel 2\n"+lines("service [2] :%[1]d /bench/service %[1]d -- service %[1]d"), 0o644),
			vmtest.Text("etc/fstab", "", 0o644),
		},
	}
}

// systemd: its own mounts, and a target that wants the services and nothing
// else, not even sysinit.target: no journald, udevd, logind, tmpfiles, generators.
func systemdInit() initSystem {
	files := []vmtest.File{
		vmtest.Text("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444),
		vmtest.Text("etc/os-release", "ID=bench\n", 0o644),
		vmtest.Text("etc/systemd/system/default.target", "[Unit]\nDefaultDependencies=no\n", 0o644),
	}
	files = append(files, eachService(func(n int) []vmtest.File {
		name := fmt.Sprintf("s%d.service", n)
		return []vmtest.File{
			vmtest.Text("etc/systemd/system/"+name, fmt.Sprintf("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bench/service %d\nStandardOutput=null\nStandardError=null\nRestart=always\n", n), 0o644),
			vmtest.Link("etc/systemd/system/default.target.wants/"+name, "../"+name),
		}
	})...)
	return initSystem{
		name: "systemd", argv: []string{"/lib/systemd/systemd"}, packages: []string{"systemd", "libsystemd-shared"},
		programs: []string{"lib/systemd/systemd"},
		files:    files,
	}
}

// skeleton is what every machine has: the meter, the service, a shell.
func skeleton(meter, service string) ([]vmtest.File, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: install the package busybox-static", err)
	}
	var files []vmtest.File
	for _, name := range []string{"bench", "bench/proc", "bench/dev", "dev", "proc", "sys", "run", "tmp", "var", "var/tmp", "root", "usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		files = append(files, vmtest.Directory(name, 0o755))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		files = append(files, vmtest.Link(name, "usr/"+name))
	}
	for _, name := range []string{"sh", "mount", "mkdir", "env"} {
		files = append(files, vmtest.Link("usr/bin/"+name, "busybox"))
	}
	return append(files,
		vmtest.Device("dev/console", 0o600, 5, 1), vmtest.Device("dev/null", 0o666, 1, 3),
		vmtest.Text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644), vmtest.Text("etc/group", "root:x:0:\n", 0o644),
		vmtest.Copy("usr/bin/busybox", busybox), vmtest.Copy("init", meter), vmtest.Copy("bench/service", service)), nil
}
