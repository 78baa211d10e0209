package isolate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// The rights that came with each ABI of Landlock (landlock(7)).
const (
	landlockFS1   = 1<<13 - 1                         // Linux 5.13
	landlockFS2   = unix.LANDLOCK_ACCESS_FS_REFER     // 5.19
	landlockFS3   = unix.LANDLOCK_ACCESS_FS_TRUNCATE  // 6.2
	landlockNet4  = 1<<2 - 1                          // 6.7
	landlockFS5   = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV // 6.10
	landlockScope = 1<<2 - 1                          // 6, 6.12
)

// LandlockABI is the version of the kernel's Landlock (landlock(7)), 0 where
// there is none: the kernel was made without it, or started without it among its
// security modules.
func LandlockABI() (int, error) {
	v, _, e := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch e {
	case 0:
		return int(v), nil
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return 0, nil
	}
	return 0, fmt.Errorf("cannot ask for the version of Landlock: landlock_create_ruleset: %w", e)
}

// landlockKnown are the rights that an ABI knows, in the order of struct landlock_ruleset_attr.
func landlockKnown(abi int) (known [3]uint64) {
	for _, step := range []struct {
		abi    int
		word   int
		rights uint64
	}{{1, 0, landlockFS1}, {2, 0, landlockFS2}, {3, 0, landlockFS3}, {4, 1, landlockNet4}, {5, 0, landlockFS5}, {6, 2, landlockScope}} {
		if abi >= step.abi {
			known[step.word] |= step.rights
		}
	}
	return known
}

// landlockNeeds is the ABI without which not all of it would be refused. What
// ioctl(2) does to devices is left to the device rules on kernels that do not know it.
func landlockNeeds(handled [3]uint64) (abi int, linux string) {
	switch {
	case handled[2] != 0:
		return 6, "6.12"
	case handled[1] != 0:
		return 4, "6.7"
	}
	return 3, "6.2"
}

// landlock cuts what is asked for to what the kernel knows, or refuses it.
func (pr *Prepared) landlock(d landlockData) error {
	abi, err := LandlockABI()
	if err != nil {
		return err
	}
	return pr.landlockAt(d, abi)
}

func (pr *Prepared) landlockAt(d landlockData, abi int) error {
	known := landlockKnown(abi)
	var handled [3]uint64
	for i := range handled {
		handled[i] = binary.NativeEndian.Uint64(pr.arena[d.attr+8*uint64(i):])
	}
	if needs, linux := landlockNeeds(handled); abi < needs && !d.bestEffort {
		if abi == 0 {
			return errors.New("this kernel has no Landlock, or was started without it (lsm=)")
		}
		return fmt.Errorf("it takes Landlock ABI %d (Linux %s), this kernel has ABI %d", needs, linux, abi)
	}
	cut := func(at, mask uint64) uint64 {
		v := binary.NativeEndian.Uint64(pr.arena[at:]) & mask
		binary.NativeEndian.PutUint64(pr.arena[at:], v)
		return v
	}
	on, net := uint64(0), uint64(0)
	for i := range handled {
		on |= cut(d.attr+8*uint64(i), known[i])
	}
	for _, at := range d.paths {
		cut(at, known[0])
	}
	net = handled[1] & known[1]
	for _, late := range []struct {
		index int
		value uint64
	}{{d.onLate, on}, {d.netLate, net}} {
		if late.index >= 0 && late.value != 0 {
			pr.late[late.index].val = 1
		}
	}
	return nil
}
