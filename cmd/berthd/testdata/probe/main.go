// Probe looks at a container from within, for the tests of berthd: it does the
// system calls that a container refuses and prints what came of each, one
// "what: result" a line. It is static, so that it runs on an empty root.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: probe inspect|inspect-and-stay|refused|settings|settings-and-stay|euid|mknod|fork-bomb|hog|hunt|serve|type [ARG...]")
		os.Exit(2)
	}
	switch args := os.Args[2:]; os.Args[1] {
	case "inspect":
		inspect(args)
	case "inspect-and-stay":
		inspect(args)
		say("stays", os.Getpid())
		time.Sleep(time.Hour)
	case "refused":
		refused()
	case "settings":
		settings(args)
	case "settings-and-stay":
		settings(args)
		time.Sleep(time.Hour)
	case "euid":
		say("euid", os.Geteuid())
		say("egid", os.Getegid())
	case "mknod":
		mknod(args[0])
	case "fork-bomb":
		forkBomb(args)
	case "hog":
		hog()
	case "hunt":
		hunt(args)
	case "serve":
		serve(args[0], args[1])
	case "type":
		typeLine(args[0])
	default:
		fmt.Fprintln(os.Stderr, "no such probe:", os.Args[1])
		os.Exit(2)
	}
}

func say(what string, result any) { fmt.Printf("%s: %v\n", what, result) }

// try prints the name of the error, or "done".
func try(what string, err error) {
	var errno syscall.Errno
	switch {
	case err == nil:
		say(what, "done")
	case errors.As(err, &errno) && unix.ErrnoName(errno) != "":
		say(what, unix.ErrnoName(errno))
	default:
		say(what, err)
	}
}

// call does a system call by number.
func call(what string, nr uintptr, args ...uintptr) {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 {
		try(what, nil)
		return
	}
	try(what, errno)
}

func names(dir string) string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return errorName(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func errorName(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// cpuMax is what the Go runtime keeps open on a v2 host from its start on.
const cpuMax = "/sys/fs/cgroup/cpu.max"

func descriptors() string {
	var open []string
	for fd := range 4096 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			if link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); link == cpuMax {
				continue
			}
			open = append(open, strconv.Itoa(fd))
		}
	}
	return strings.Join(open, " ")
}

func processes() []int {
	list, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range list {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// inspect prints what is to be seen. The arguments are paths of the host, and
// pids of the host.
func inspect(args []string) {
	say("descriptors", descriptors()) // first, before this program opens anything
	if fds, err := os.ReadDir("/proc/1/fd"); err == nil {
		for _, fd := range fds {
			link, err := os.Readlink("/proc/1/fd/" + fd.Name())
			// What the Go runtime of another probe has for itself is no matter.
			if err == nil && os.Getpid() != 1 && link != cpuMax && !strings.HasPrefix(link, "anon_inode:[event") {
				say("init's descriptor "+fd.Name(), link)
			}
		}
	} else {
		say("init's descriptors", errorName(err))
	}
	say("pid", os.Getpid())
	say("processes", processes())
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk":
			say(key, strings.Join(strings.Fields(value), " "))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		sep := slices.Index(f, "-")
		// root, target, options, propagation | type, source
		say("mount", fmt.Sprintf("%s %s %s [%s] %s %s", f[4], f[sep+1], f[5], strings.Join(f[6:sep], " "), f[3], f[sep+2]))
	}
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		say("cgroup", strings.TrimSpace(line))
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		try("interfaces", err)
	}
	for _, i := range interfaces {
		say("interface", i.Name+" "+i.Flags.String())
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err != nil {
		try("loopback", err)
	} else {
		c, err := net.Dial("tcp", l.Addr().String())
		try("loopback", err)
		if err == nil {
			c.Close()
		}
		l.Close()
	}
	exe, err := os.Readlink("/proc/1/exe")
	if err != nil {
		exe = errorName(err)
	}
	say("init's program", exe)
	if st, err := os.Stat("/proc/1/exe"); err == nil {
		sys := st.Sys().(*syscall.Stat_t)
		say("init's file", fmt.Sprintf("%d:%d %d bytes", sys.Dev, sys.Ino, sys.Size))
	}
	for _, dir := range []string{"/root", "/home", "/tmp", "/var/tmp", "/run", "/boot", "/dev", "/sys/firmware", "/proc/scsi", "/proc/acpi", "/var/lib/berth"} {
		say("in "+dir, names(dir))
	}
	for _, file := range []string{"/etc/shadow", "/etc/gshadow", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/dev/mem", "/dev/kmsg", "/dev/port"} {
		say("read "+file, read(file))
	}
	for _, arg := range args {
		if pid, err := strconv.Atoi(arg); err == nil {
			try("kill "+arg, unix.Kill(pid, 0))
			_, err := os.Stat("/proc/" + arg)
			try("stat /proc/"+arg, err)
			continue
		}
		_, err := os.Lstat(arg)
		try("stat "+arg, err)
		if c, err := net.Dial("unix", arg); err == nil {
			c.Close()
			say("connect "+arg, "done")
		}
	}
	name, _ := os.Hostname()
	say("hostname", name)
}

// read says what a read gives: bytes, nothing, or an error.
func read(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return errorName(err)
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 16))
	switch {
	case n > 0:
		return "something"
	case err != nil && err.Error() != "EOF":
		return errorName(err)
	}
	return "nothing"
}

func write(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// refused does what no default container may do. Where that succeeds it prints
// "done"; nothing here harms the machine even then.
func refused() {
	runtime.LockOSThread()
	str := func(s string) uintptr { return uintptr(ptr(s)) }
	try("mount tmpfs", unix.Mount("x", "/proc", "tmpfs", 0, ""))
	try("remount /", unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	try("umount", unix.Unmount("/proc/kcore", unix.MNT_DETACH))
	try("pivot_root", unix.PivotRoot("/", "/"))
	try("chroot", unix.Chroot("/proc"))
	try("fsopen", second(unix.Fsopen("tmpfs", 0)))
	try("open_tree", second(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)))
	for what, flag := range map[string]int{"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "network": unix.CLONE_NEWNET,
		"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME} {
		try("unshare "+what, unix.Unshare(flag))
	}
	call("clone user", unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))
	call("clone3", unix.SYS_CLONE3, 0, 0)
	if fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY, 0); err == nil {
		try("setns", unix.Setns(fd, unix.CLONE_NEWNS))
	}
	call("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0)
	call("add_key", unix.SYS_ADD_KEY, str("user"), str("x"), str("x"), 1, ^uintptr(2))
	call("request_key", unix.SYS_REQUEST_KEY, str("user"), str("x"), 0, 0)
	call("bpf", unix.SYS_BPF, 0, 0, 0)
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0)
	call("userfaultfd", unix.SYS_USERFAULTFD, 0)
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, 0)
	call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0)
	call("init_module", unix.SYS_INIT_MODULE, 0, 0, 0)
	call("finit_module", unix.SYS_FINIT_MODULE, 0, 0, 0)
	call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)
	call("swapon", unix.SYS_SWAPON, str("/x"), 0)
	call("acct", unix.SYS_ACCT, str("/x"))
	call("reboot", unix.SYS_REBOOT, 0, 0, 0, 0) // the magic numbers are wrong
	call("syslog", unix.SYS_SYSLOG, 3, 0, 0)
	call("settimeofday", unix.SYS_SETTIMEOFDAY, 0, 0)
	try("sethostname", unix.Sethostname([]byte("x")))
	call("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0)
	call("vhangup", unix.SYS_VHANGUP)
	call("personality READ_IMPLIES_EXEC", unix.SYS_PERSONALITY, 0x0400000)
	try("raw socket", second(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)))
	try("packet socket", second(unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)))
	try("nice -1", unix.Setpriority(unix.PRIO_PROCESS, 0, -1))
	try("setuid", unix.Setresuid(1234, 1234, 1234))
	try("setgroups", unix.Setgroups([]int{0}))
	for _, dir := range []string{"/tmp", "/dev", "/dev/shm"} {
		try("mknod block "+dir, unix.Mknod(dir+"/x-block", unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0))))
		try("mknod mem "+dir, unix.Mknod(dir+"/x-mem", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))))
	}
	for _, file := range []string{"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
		"/proc/irq/default_smp_affinity", "/sys/class/net/lo/mtu", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/etc/passwd", "/usr/bin/env", "/bin/true"} {
		try("write "+file, write(file))
	}
	for _, file := range []string{"/x", "/etc/x", "/usr/x", "/proc/x", "/sys/x"} {
		f, err := os.Create(file)
		try("create "+file, err)
		if err == nil {
			f.Close()
		}
	}
	// Not PTRACE_ATTACH, which would leave it stopped.
	call("ptrace of init", unix.SYS_PTRACE, seize, 1, 0, 0)
	_, err := unix.ProcessVMReadv(1, []unix.Iovec{iovec()}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
	try("process_vm_readv of init", err)
	try("write init's memory", write("/proc/1/mem"))
}

func second[T any](_ T, err error) error { return err }

// settings prints what a unit file set. The arguments are files to print.
func settings(files []string) {
	mask := unix.Umask(0)
	say("umask", fmt.Sprintf("%04o", mask))
	for name, n := range map[string]int{"nofile": unix.RLIMIT_NOFILE, "core": unix.RLIMIT_CORE, "nproc": unix.RLIMIT_NPROC, "stack": unix.RLIMIT_STACK, "memlock": unix.RLIMIT_MEMLOCK} {
		// Not Getrlimit: the runtime tells the limit of descriptors as it was before it raised it.
		var l unix.Rlimit
		try("prlimit "+name, unix.Prlimit(0, n, nil, &l))
		say(name, fmt.Sprint(l.Cur, " ", l.Max))
	}
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		try("nice", err)
	}
	say("nice", 20-nice) // the system call gives 20 - nice
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			try(file, err)
			continue
		}
		say(file, strings.TrimSpace(string(text)))
	}
	for _, dev := range []string{"/dev/loop-control", "/dev/net/tun", "/dev/fuse", "/dev/null", "/dev/zero", "/dev/urandom"} {
		fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
		try("open "+dev, err)
		if err == nil {
			unix.Close(fd)
		}
	}
}

// mknod makes a device node, opens it, and stays.
func mknod(rdev string) {
	n, err := strconv.Atoi(rdev)
	if err != nil {
		try("rdev", err)
	}
	const node = "/tmp/node"
	try("mknod", unix.Mknod(node, unix.S_IFCHR|0o666, n))
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	try("open", err)
	if err == nil {
		unix.Close(fd)
	}
	time.Sleep(time.Hour)
}

// forkBomb makes copies of this program, each of which does the same, until the
// time that is given on, in seconds since 1970: none outlives a test that was killed.
func forkBomb(args []string) {
	until := time.Now().Add(5 * time.Minute)
	if len(args) > 0 {
		if n, err := strconv.ParseInt(args[0], 10, 64); err == nil {
			until = time.Unix(n, 0)
		}
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	full := false
	for time.Now().Before(until) {
		if err := exec.Command(self, "fork-bomb", strconv.FormatInt(until.Unix(), 10)).Start(); err != nil && !full && os.Getpid() == 1 {
			full = true
			try("fork", err)
		}
	}
}

// hog takes memory until that ends it.
func hog() {
	say("begins", os.Getpid())
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) > 4096 {
			say("took", "4 GiB")
			os.Exit(3)
		}
	}
}

func glob(pattern string) []string {
	list, _ := filepath.Glob(pattern)
	return list
}

// typeLine types a line at every terminal that it can reach, as if it came from
// the keyboard (TIOCSTI of ioctl_tty(2)), for whoever reads there next.
func typeLine(line string) {
	typed := 0
	for _, name := range []string{"/dev/fd/0", "/dev/fd/1", "/dev/fd/2", "/dev/tty", "/dev/console", "/proc/1/fd/0", "/proc/1/fd/1"} {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		for _, c := range []byte(line + "\n") {
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&c))); e == 0 {
				typed++
			}
		}
		unix.Close(fd)
	}
	say("typed", typed)
}
