package tinyinit

import (
	"bytes"
	"encoding/binary"
)

// The values of elf(5) that are used. Package debug/elf has them too, but brings
// a decompressor and a DWARF reader into the daemon.
const (
	machineX86_64  uint16 = 62
	machineAArch64 uint16 = 183

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

// loadAddress is where the file is mapped: above the least address that
// vm.mmap_min_addr can ask for, and a multiple of every page size.
const loadAddress = 0x400000

// pageAlign is the largest page of the machines (64 KiB on arm64).
const pageAlign = 0x10000

// instruction is one machine instruction.
type instruction struct {
	label string // names this place, for target
	code  []byte // as encoded; of a jump, without or with an empty distance
	to    string // the label jumped to
	text  string // the same in the assembler's words; a test holds code to it
}

// link puts the instructions together. patch completes a jump, given the
// distance from its beginning to its target in bytes.
func link(list []instruction, patch func(code []byte, distance int) []byte) []byte {
	places := map[string]int{}
	at := 0
	for _, in := range list {
		if in.label != "" {
			places[in.label] = at
		}
		at += size(in, patch)
	}
	var out []byte
	for _, in := range list {
		code := in.code
		if in.to != "" {
			code = patch(code, places[in.to]-len(out))
		}
		out = append(out, code...)
	}
	return out
}

func size(in instruction, patch func([]byte, int) []byte) int {
	if in.to == "" {
		return len(in.code)
	}
	return len(patch(in.code, 0))
}

// executable makes a static executable of code that needs no other memory: one
// segment, read and executed, that is the whole file, and a stack that cannot
// be executed (elf(5)).
func executable(machine uint16, code []byte) []byte {
	const headerSize, segmentSize, segments = 64, 56, 2
	begin := uint64(headerSize + segments*segmentSize)
	total := begin + uint64(len(code))
	header := fileHeader{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', class64, littleEndian, version},
		Type:  typeExec, Machine: machine, Version: version,
		Entry: loadAddress + begin, Phoff: headerSize,
		Ehsize: headerSize, Phentsize: segmentSize, Phnum: segments,
	}
	load := segment{
		Type: segmentLoad, Flags: readableBit | executableBit,
		Vaddr: loadAddress, Paddr: loadAddress, Filesz: total, Memsz: total, Align: pageAlign,
	}
	stack := segment{Type: segmentStack, Flags: readableBit | writableBit, Align: 16}
	var b bytes.Buffer
	for _, part := range []any{header, load, stack, code} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // a buffer takes everything, and the parts have fixed sizes
		}
	}
	return b.Bytes()
}
