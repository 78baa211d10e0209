package cgroup

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is needed of bpf(2) the kernel has had since Linux 4.15 (and replacing
// since 5.6). A library would look first at what the kernel can do, which takes
// longer than the start of a container has, and its tables take their time in
// every process that is started with them.

// The parts of union bpf_attr that are used.
type (
	loadAttr struct {
		kind         uint32
		count        uint32
		instructions unsafe.Pointer // so that what they point to stays and may move
		license      unsafe.Pointer
		logLevel     uint32
		logSize      uint32
		logBuffer    uint64
		version      uint32
		flags        uint32
		name         [unix.BPF_OBJ_NAME_LEN]byte
	}
	attachAttr struct {
		target, program uint32
		kind            uint32
		flags           uint32
		replaced        uint32
	}
	queryAttr struct {
		target uint32
		kind   uint32
		flags  uint32
		_      uint32
		ids    unsafe.Pointer
		count  uint32
		_      uint32
	}
	openAttr struct {
		id, next, flags uint32
	}
)

const programName = "berth_devices"

// loadProgram gives the descriptor of a loaded program that filters devices, for
// the caller to close.
func loadProgram(text []byte) (int, error) {
	license := []byte("Apache-2.0\x00")
	attr := loadAttr{
		kind:         unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		count:        uint32(len(text) / instructionSize),
		instructions: unsafe.Pointer(&text[0]),
		license:      unsafe.Pointer(&license[0]),
	}
	copy(attr.name[:], programName)
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// attachProgram attaches a program to a group, in place of another (-1: beside
// what is there). It stays with the group until that is removed: it is attached
// directly and not by a link, which would end with this process.
func attachProgram(group, program, replaced int) error {
	// MULTI: a container that makes groups of its own may filter further.
	attr := attachAttr{target: uint32(group), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI}
	if replaced >= 0 {
		attr.flags |= unix.BPF_F_REPLACE
		attr.replaced = uint32(replaced)
	}
	_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

func detachProgram(group, program int) error {
	attr := attachAttr{target: uint32(group), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE}
	_, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// attachedPrograms opens the device programs attached to a group itself; there
// is at most one, as nobody else attaches any. The caller closes them.
func attachedPrograms(group int) (programs []int, err error) {
	var ids [64]uint32 // the most that a group can have
	query := queryAttr{target: uint32(group), kind: unix.BPF_CGROUP_DEVICE, ids: unsafe.Pointer(&ids), count: uint32(len(ids))}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query)); err != nil {
		return nil, err
	}
	for _, id := range ids[:query.count] {
		attr := openAttr{id: id}
		program, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		if err != nil {
			closeAll(programs)
			return nil, err
		}
		programs = append(programs, program)
	}
	return programs, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// bpf calls bpf(2); the verifier gives up with EAGAIN when a signal comes.
// Descriptors that it gives are close-on-exec.
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for tries := 0; ; tries++ {
		result, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch {
		case errno == 0:
			return int(result), nil
		case errno == unix.EINTR, errno == unix.EAGAIN && tries < 10:
		default:
			return -1, errno
		}
	}
}
