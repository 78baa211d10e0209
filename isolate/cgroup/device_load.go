package cgroup

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// A process that starts one container loads one program. The library looks
// first at what the kernel can do, which takes longer than all the rest: some
// 0.4 ms. All that this program needs the kernel has had since Linux 4.15, so
// that here it is loaded and attached by bpf(2) itself.

// loadAttr and attachAttr are what bpf(2) takes, as far as it is used, on
// processors of 64 bits.
type loadAttr struct {
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

type attachAttr struct {
	target, program uint32
	kind            uint32
	flags           uint32
}

// attachNew loads a program and attaches it to a group that has none. The group
// alone keeps it afterwards.
func attachNew(group int, instructions asm.Instructions) error {
	program, err := loadDirectly(instructions)
	if err != nil {
		return &UnsupportedError{Key: "device", Reason: cannotLoad(err).Error()}
	}
	defer unix.Close(program)
	attr := attachAttr{uint32(group), uint32(program), uint32(ebpf.AttachCGroupDevice), unix.BPF_F_ALLOW_MULTI}
	_, err = bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// loadDirectly gives the descriptor of a loaded program, for the caller to close.
func loadDirectly(instructions asm.Instructions) (int, error) {
	var code bytes.Buffer
	if err := instructions.Marshal(&code, binary.LittleEndian); err != nil {
		return -1, err
	}
	text := code.Bytes()
	license := []byte("Apache-2.0\x00")
	attr := loadAttr{
		kind:         uint32(ebpf.CGroupDevice),
		count:        uint32(len(text) / asm.InstructionSize),
		instructions: unsafe.Pointer(&text[0]),
		license:      unsafe.Pointer(&license[0]),
	}
	copy(attr.name[:], programName)
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// bpf calls bpf(2); the verifier gives up with EAGAIN when a signal comes.
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
