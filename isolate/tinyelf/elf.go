// Package tinyelf puts static executables together out of machine instructions
// that stand in Go as data: those few programs that run inside a container, where
// nothing of berth's own executable may be mapped or reachable.
package tinyelf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The values of elf(5) that are used. Package debug/elf has them too, but brings
// a decompressor and a DWARF reader into the daemon.
const (
	elfX86_64  uint16 = 62
	elfAArch64 uint16 = 183

	class64      = 2
	littleEndian = 1
	version      = 1
	typeExec     = 2

	segmentLoad  = 1
	segmentStack = 0x6474e551 // PT_GNU_STACK

	executableBit, writableBit, readableBit = 1, 2, 4
)

// fileHeader is Elf64_Ehdr.
type fileHeader struct {
	Ident                      [16]byte
	Type, Machine              uint16
	Version                    uint32
	Entry, Phoff, Shoff        uint64
	Flags                      uint32
	Ehsize, Phentsize, Phnum   uint16
	Shentsize, Shnum, Shstrndx uint16
}

// segment is Elf64_Phdr.
type segment struct {
	Type, Flags                                uint32
	Offset, Vaddr, Paddr, Filesz, Memsz, Align uint64
}

// LoadAddress is where the file is mapped: above the least address that
// vm.mmap_min_addr can ask for, and a multiple of every page size. DataAddress
// is where data begin that can be written.
const (
	LoadAddress = 0x400000
	DataAddress = LoadAddress + pageAlign
)

// pageAlign is the largest page of the machines (64 KiB on arm64).
const pageAlign = 0x10000

// Instruction is one machine instruction; In makes one.
type Instruction struct {
	Label string // names this place, for To
	Code  string // its bytes as encoded; of a jump, without or with an empty distance
	To    string // the label jumped to
	Text  string // the same in the assembler's words; tests hold Code to it
}

// In makes an Instruction. It is of strings so that a list of them is data and not
// code that makes it when a program begins.
func In(label, code, to, text string) Instruction {
	return Instruction{label, code, to, text}
}

// Machine is a kind of processor.
type Machine struct {
	elf uint16
	// patch completes a jump, given the distance from its beginning to its target in bytes.
	patch func(code string, distance int) string
}

// The machines. Jumps are short: on X86_64 they reach 127 bytes.
var (
	X86_64  = Machine{elfX86_64, patchX86_64}
	AArch64 = Machine{elfAArch64, patchAArch64}
)

// patchX86_64 adds the distance, in one byte, counted from the end of the jump.
func patchX86_64(code string, distance int) string {
	return string([]byte{code[0], byte(int8(distance - 2))})
}

// patchAArch64 fills in the distance, counted in instructions from the jump:
// 26 bits from bit 0 in b, 19 bits from bit 5 in conditional jumps (Arm
// Architecture Reference Manual, C6.2).
func patchAArch64(code string, distance int) string {
	w := binary.LittleEndian.Uint32([]byte(code))
	steps := uint32(int32(distance / 4))
	if w == 0x14000000 {
		return Word(w | steps&(1<<26-1))
	}
	return Word(w | steps&(1<<19-1)<<5)
}

// Word is an instruction of AArch64.
func Word(w uint32) string {
	return string([]byte{byte(w), byte(w >> 8), byte(w >> 16), byte(w >> 24)})
}

// Link puts the instructions together.
func (m Machine) Link(list []Instruction) []byte {
	places := m.Places(list)
	var out []byte
	for _, in := range list {
		code := in.Code
		if in.To != "" {
			code = m.patch(code, places[in.To]-len(out))
		}
		out = append(out, code...)
	}
	return out
}

// Places tells for each label how many bytes stand before it.
func (m Machine) Places(list []Instruction) map[string]int {
	places := map[string]int{}
	at := 0
	for _, in := range list {
		if in.Label != "" {
			places[in.Label] = at
		}
		if in.To != "" {
			at += len(m.patch(in.Code, 0))
		} else {
			at += len(in.Code)
		}
	}
	return places
}

// Executable makes the beginning of a static executable: code, which is entered
// at its first byte in a segment that is read and executed, and a stack that
// cannot be executed (elf(5)). With data, the file goes on with so many bytes at
// offset DataAddress-LoadAddress, which are mapped at DataAddress, can be
// written there, and are for the caller to put into the file.
func (m Machine) Executable(code []byte, data int) []byte {
	const headerSize, segmentSize = 64, 56
	segments := []segment{
		{Type: segmentLoad, Flags: readableBit | executableBit, Vaddr: LoadAddress, Paddr: LoadAddress, Align: pageAlign},
		{Type: segmentStack, Flags: readableBit | writableBit, Align: 16},
	}
	if data > 0 {
		segments = append(segments, segment{
			Type: segmentLoad, Flags: readableBit | writableBit, Offset: DataAddress - LoadAddress,
			Vaddr: DataAddress, Paddr: DataAddress, Filesz: uint64(data), Memsz: uint64(data), Align: pageAlign})
	}
	begin := uint64(headerSize + len(segments)*segmentSize)
	segments[0].Filesz = begin + uint64(len(code))
	segments[0].Memsz = segments[0].Filesz
	header := fileHeader{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', class64, littleEndian, version},
		Type:  typeExec, Machine: m.elf, Version: version,
		Entry: LoadAddress + begin, Phoff: headerSize,
		Ehsize: headerSize, Phentsize: segmentSize, Phnum: uint16(len(segments)),
	}
	var b bytes.Buffer
	for _, part := range []any{header, segments, code} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // a buffer takes everything, and the parts have fixed sizes
		}
	}
	return b.Bytes()
}

// MemFD makes a memory file that holds an executable and, if there are any, its
// data: executable, close-on-exec and sealed. Nobody, root in a container
// included, can write, grow or shrink it, or undo that (fcntl(2), F_ADD_SEALS).
// The caller owns it. /proc/PID/exe shows it as "/memfd:NAME (deleted)"; it is
// executed by execveat(fd, "", AT_EMPTY_PATH).
func MemFD(name string, executable, data []byte) (int, error) {
	// MFD_EXEC is known from Linux 6.3 on; before, every memory file is executable.
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err == unix.EACCES {
		return -1, fmt.Errorf("memfd_create: %w; the sysctl vm.memfd_noexec must be 0 or 1", err)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	if err := fill(fd, executable, data); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func fill(fd int, executable, data []byte) error {
	for _, part := range []struct {
		bytes []byte
		at    int64
	}{{executable, 0}, {data, DataAddress - LoadAddress}} {
		for len(part.bytes) > 0 {
			n, err := unix.Pwrite(fd, part.bytes, part.at)
			if err != nil && err != unix.EINTR {
				return os.NewSyscallError("pwrite", err)
			}
			part.bytes, part.at = part.bytes[max(n, 0):], part.at+int64(max(n, 0))
		}
	}
	if err := unix.Fchmod(fd, 0o555); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	return os.NewSyscallError("F_ADD_SEALS", err)
}
