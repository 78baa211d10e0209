package final

import (
	"errors"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is what the stage does to the machine, apart from its processes. Every
// method may hang.
type system interface {
	look() (Host, error)
	do(Step) error
	sync()
	// unwritten gives the bytes in memory that are not on a disk yet; false: not known.
	unwritten() (uint64, bool)
}

// linux is the machine itself.
type linux struct{}

func (linux) look() (Host, error) { return look() }
func (linux) sync()               { unix.Sync() }

// stopArray is STOP_ARRAY of linux/raid/md_u.h.
const stopArray = 0x0932

func (linux) do(s Step) error {
	switch s.Op {
	case OpUnmount:
		flags := unix.UMOUNT_NOFOLLOW
		if s.Force {
			flags |= unix.MNT_FORCE
		}
		return unix.Unmount(s.Target, flags)
	case OpLazy:
		return unix.Unmount(s.Target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	case OpReadOnly:
		return unix.Mount("", s.Target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	case OpSwapOff:
		return swapOff(s.Target)
	case OpLoop:
		return detachLoop(s.Target)
	case OpDM:
		return removeDM(s.Label)
	case OpMD:
		return deviceCall("/dev/"+s.Target, stopArray, nil)
	}
	return unix.EINVAL
}

// deviceCall makes one ioctl(2) on a device.
func deviceCall(path string, request uintptr, arg unsafe.Pointer) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func swapOff(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// detachLoop takes the file from a loop device. One that is in use is only marked
// by the kernel, and goes with its last user.
func detachLoop(name string) error {
	err := deviceCall("/dev/"+name, unix.LOOP_CLR_FD, nil)
	if errors.Is(err, unix.ENXIO) {
		return nil // it has no file
	}
	if err == nil && word(filepath.Join("/sys/block", name, "loop/backing_file")) != "" {
		return unix.EBUSY
	}
	return err
}

func removeDM(label string) error {
	arg := unix.DmIoctl{Version: [3]uint32{4, 0, 0}}
	arg.Data_size = uint32(unsafe.Sizeof(arg))
	arg.Data_start = arg.Data_size
	if len(label) >= len(arg.Name) || label == "" {
		return unix.EINVAL
	}
	copy(arg.Name[:], label)
	return deviceCall("/dev/mapper/control", unix.DM_DEV_REMOVE, unsafe.Pointer(&arg))
}

// unwritten is Dirty and Writeback of proc_meminfo(5).
func (linux) unwritten() (uint64, bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	return parseUnwritten(string(text))
}
