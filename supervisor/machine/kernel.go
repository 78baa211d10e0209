package machine

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// unlimitKernelLog has /dev/kmsg take everything (kernel.printk_devkmsg): as it
// is, a process may write ten lines in five seconds there, and the rest is lost.
func unlimitKernelLog(context.Context, *Boot) error {
	err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, os.ErrNotExist) {
		return nil // fixed by the command line, or a kernel without it
	}
	return err
}

// takeCtrlAltDel has the keys send SIGINT to PID 1 (reboot(2)).
func takeCtrlAltDel(context.Context, *Boot) error {
	return os.NewSyscallError("reboot CAD_OFF", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
}

// raiseLoopback brings lo up (netdevice(7)); the kernel gives it its addresses.
func raiseLoopback(context.Context, *Boot) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // a kernel without network
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return os.NewSyscallError("SIOCGIFFLAGS lo", err)
	}
	flags := request.Uint16()
	if flags&unix.IFF_UP != 0 {
		return nil
	}
	request.SetUint16(flags | unix.IFF_UP)
	return os.NewSyscallError("SIOCSIFFLAGS lo", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request))
}

// makeDirectories makes what programs expect in /run and what no unit of ours
// makes. The mode is that of systemd's legacy.conf.
func makeDirectories(context.Context, *Boot) error {
	err := os.Mkdir("/run/lock", 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}
