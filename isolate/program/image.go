package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The limits of an Image; Decode refuses what is beyond them.
const (
	MaxImage  = 8 << 20 // bytes
	MaxFDs    = 253     // descriptors, the most that one SCM_RIGHTS message carries
	MaxSteps  = 1 << 14
	MaxRegs   = 1 << 12
	maxIgnore = 6
	maxArgs   = 6
)

// What may be in Op.Flags.
const (
	flagIgnoreAll = 1 << iota
	flagCheck
	flagLoop
	flagOnSuccess
	flagOnIgnored
	flagInParent
	flagMark
	flagFinal
	flagsAll = 1<<iota - 1
)

// Op is one step of an Image, in the form in which it is executed.
type Op struct {
	Nr     uint32 // system call or pseudo number
	Origin uint16 // inside step of the Program it comes from
	Jump   uint16 // 0: the next one
	Dst    int16  // register, or None
	Flags  uint8
	Args   uint8
	Kinds  [maxArgs]Kind // Imm, Ptr, Reg or Bit
	Ahead  uint8         // not 0: left out by Inherit
	_      uint8
	Ignore [maxIgnore]uint16
	_      [4]uint8
	Vals   [maxArgs]uint64
	Loop   uint64
	Want   uint64
}

const opSize = int(unsafe.Sizeof(Op{}))

// When a step's Jump is taken, for those who execute Ops elsewhere.
const (
	JumpNever = iota
	JumpOnSuccess
	JumpOnIgnored
	JumpInParent
)

// JumpsWhen tells when the Jump is taken.
func (op *Op) JumpsWhen() int {
	switch {
	case op.Flags&flagOnSuccess != 0:
		return JumpOnSuccess
	case op.Flags&flagOnIgnored != 0:
		return JumpOnIgnored
	case op.Flags&flagInParent != 0:
		return JumpInParent
	}
	return JumpNever
}

// Pseudo gives the pseudo operation of the child that the op is, or SysInvalid.
func (op *Op) Pseudo() Sys {
	for s := OpGate; s < OpLookup; s++ {
		if op.Nr == uint32(sysTable[s].nr) {
			return s
		}
	}
	return SysInvalid
}

// Marked tells whether the op says that it was come to; Final is then the Value of the Record.
func (op *Op) Marked() bool  { return op.Flags&flagMark != 0 }
func (op *Op) Final() uint32 { return uint32(op.Flags & flagFinal) }

// Checked tells whether the result must be Want, Loops whether the op is repeated for each bit of Loop.
func (op *Op) Checked() bool { return op.Flags&flagCheck != 0 }
func (op *Op) Loops() bool   { return op.Flags&flagLoop != 0 }

// IgnoreMask has the bits of the errnos that count as success. None of those
// that a step ignores is above 63.
func (op *Op) IgnoreMask() uint64 {
	if op.Flags&flagIgnoreAll != 0 {
		return ^uint64(0)
	}
	mask := uint64(0)
	for _, e := range op.Ignore {
		if e != 0 && e < 64 {
			mask |= 1 << e
		}
	}
	return mask
}

// header begins an encoded Image.
type header struct {
	Magic, Version           uint32
	CloneFlags               uint64
	Ops, Relocs, Arena, Regs uint32
	FDs, ForkIn              uint32
	BornIn, Status, Gate     int32
	Properties               uint32 // isExpendable, isSealed
}

// The bits of header.Properties.
const (
	isExpendable = 1 << iota
	isSealed
)

const (
	magic      = 0x62657274
	version    = 1
	headerSize = int(unsafe.Sizeof(header{}))
)

// Image is a start ready to be forked: every value known, every descriptor at hand.
type Image struct {
	CloneFlags   uint64
	BornIn       int // register, or None
	ForkIn       []Enter
	Status, Gate int
	Ops          []Op
	Relocs       []Reloc
	Arena        []byte
	Regs         []int32 // registers; -1: empty
	// Expendable: the starter waits for a process that this one forks, so this
	// one does not wait at the gate when a step fails (see Tail.BornLast).
	Expendable bool
	// Sealed as Program.Sealed. Fork does not look at it: who forks for others does.
	Sealed bool

	// FailAt makes the inside step of that number, counted from 1, fail with
	// EIO. It is for tests; it is not encoded.
	FailAt int

	words []uint64 // the memory of a decoded Arena
	run   run
}

// Encode gives the bytes of the image and the descriptors that go with them,
// in the order in which Decode takes them.
func (im *Image) Encode() (image []byte, fds []int) {
	h := header{
		Magic: magic, Version: version, CloneFlags: im.CloneFlags,
		Ops: uint32(len(im.Ops)), Relocs: uint32(len(im.Relocs)), Arena: uint32(len(im.Arena)),
		Regs: uint32(len(im.Regs)), ForkIn: uint32(len(im.ForkIn)),
		BornIn: int32(im.BornIn), Status: int32(im.Status), Gate: int32(im.Gate),
	}
	if im.Expendable {
		h.Properties |= isExpendable
	}
	if im.Sealed {
		h.Properties |= isSealed
	}
	var slots []uint32
	for r, fd := range im.Regs {
		if fd >= 0 {
			slots = append(slots, uint32(r))
			fds = append(fds, int(fd))
		}
	}
	h.FDs = uint32(len(fds))
	size := headerSize + len(im.Ops)*opSize + len(im.Relocs)*8 + 4*(len(slots)+len(im.ForkIn)) + len(im.Arena)
	out := make([]byte, 0, size)
	out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&h)), headerSize)...)
	if len(im.Ops) > 0 {
		out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&im.Ops[0])), len(im.Ops)*opSize)...)
	}
	for _, r := range im.Relocs {
		out = binary.NativeEndian.AppendUint32(out, r.At)
		out = binary.NativeEndian.AppendUint32(out, r.To)
	}
	for _, s := range slots {
		out = binary.NativeEndian.AppendUint32(out, s)
	}
	for _, e := range im.ForkIn {
		// A register's number lies below all flags.
		out = binary.NativeEndian.AppendUint32(out, uint32(e.Reg)|uint32(e.Kind))
	}
	return append(out, im.Arena...), fds
}

// Decode checks and takes apart what Encode gave. fds are the descriptors as
// they are numbered in this process; they are borrowed until the last Fork.
// Nothing in the bytes is trusted: an image that could read or write outside
// its own arena's bounds, or run in circles, is refused.
func Decode(image []byte, fds []int) (*Image, error) {
	im := &Image{}
	if err := im.Decode(image, fds); err != nil {
		return nil, err
	}
	return im, nil
}

// Decode is Decode into the memory of an image that is not needed any more, so
// that a process which forks one after the other makes no garbage: what it has
// in memory is what a fork costs. After an error im is not to be forked.
func (im *Image) Decode(image []byte, fds []int) error {
	if err := im.decode(image, fds); err != nil {
		return fmt.Errorf("cannot decode the image of a start: %w", err)
	}
	return nil
}

func (im *Image) decode(image []byte, fds []int) error {
	if len(image) < headerSize || len(image) > MaxImage {
		return fmt.Errorf("%d bytes, want %d to %d", len(image), headerSize, MaxImage)
	}
	var h header
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), headerSize), image)
	image = image[headerSize:]
	switch {
	case h.Magic != magic || h.Version != version:
		return errors.New("not an image of this version")
	case h.Ops == 0 || h.Ops > MaxSteps || h.Regs > MaxRegs || h.FDs > MaxFDs || h.ForkIn > 8 || h.Relocs > MaxImage/8 || h.Arena > MaxImage:
		return errors.New("a count is out of range")
	case int(h.FDs) != len(fds):
		return fmt.Errorf("%d descriptors came, %d are needed", len(fds), h.FDs)
	}
	if want := int(h.Ops)*opSize + int(h.Relocs)*8 + 4*int(h.FDs+h.ForkIn) + int(h.Arena); want != len(image) {
		return fmt.Errorf("%d bytes follow the header, want %d", len(image), want)
	}
	*im = Image{
		CloneFlags: h.CloneFlags, Expendable: h.Properties&isExpendable != 0, Sealed: h.Properties&isSealed != 0, BornIn: int(h.BornIn), Status: int(h.Status), Gate: int(h.Gate),
		Ops: resized(im.Ops, int(h.Ops)), Regs: resized(im.Regs, int(h.Regs)),
		Relocs: im.Relocs[:0], ForkIn: im.ForkIn[:0], words: im.words, run: run{gaps: im.run.gaps},
	}
	n := copy(unsafe.Slice((*byte)(unsafe.Pointer(&im.Ops[0])), len(im.Ops)*opSize), image)
	image = image[n:]
	for range h.Relocs {
		im.Relocs = append(im.Relocs, Reloc{u32(image, 0), u32(image, 4)})
		image = image[8:]
	}
	for r := range im.Regs {
		im.Regs[r] = -1
	}
	for _, fd := range fds {
		r := u32(image, 0)
		image = image[4:]
		if r >= h.Regs || im.Regs[r] != -1 || fd < 0 {
			return errors.New("a descriptor's register is wrong")
		}
		im.Regs[r] = int32(fd)
	}
	for range h.ForkIn {
		v := u32(image, 0)
		im.ForkIn = append(im.ForkIn, Enter{int(v & (MaxRegs - 1)), uint64(v &^ (MaxRegs - 1))})
		image = image[4:]
	}
	// The arena is made of words, so that structures in it are aligned.
	im.words = resized(im.words, (len(image)+7)/8+1)
	im.Arena = unsafe.Slice((*byte)(unsafe.Pointer(&im.words[0])), len(image))
	copy(im.Arena, image)
	if err := im.check(); err != nil {
		return err
	}
	im.relocate()
	return nil
}

// Complete makes an image ready to be forked by the process that has linked it,
// which needs neither Encode nor Decode. It is called once. The arena must be
// aligned to eight bytes.
func (im *Image) Complete() error {
	if err := im.check(); err != nil {
		return fmt.Errorf("cannot start from this image: %w", err)
	}
	im.relocate()
	return nil
}

// Forget wipes what the image has in memory of arguments, environment and paths:
// who forks one image after the other does not give them to the next child. It
// is not to be forked afterwards.
func (im *Image) Forget() { clear(im.Arena) }

// resized gives a slice of n elements, in the memory of s if there is enough.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// nsFlags are the flags of clone3 that an image may ask for.
const nsFlags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER

// forkInFlags are the kinds of namespaces that one thread alone can enter and leave.
const forkInFlags = syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | unix.CLONE_NEWCGROUP

func (im *Image) check() error {
	hasFD := func(r int) bool { return r >= 0 && r < len(im.Regs) && im.Regs[r] >= 0 }
	switch {
	case im.CloneFlags&^nsFlags != 0:
		return fmt.Errorf("clone flags %#x", im.CloneFlags)
	case im.BornIn != None && !hasFD(im.BornIn):
		return errors.New("no descriptor of the group to be born in")
	case !hasFD(im.Status) || !hasFD(im.Gate):
		return errors.New("no status pipe or gate")
	}
	for _, e := range im.ForkIn {
		switch {
		case e.Kind&^(forkInFlags|unix.CLONE_NEWUSER) != 0 || e.Kind&(e.Kind-1) != 0 || e.Kind == 0:
			return fmt.Errorf("namespace %#x to fork in", e.Kind)
		case !hasFD(e.Reg):
			return errors.New("no descriptor of the namespace to fork in")
		}
	}
	for _, r := range im.Relocs {
		if r.At%8 != 0 || int64(r.At)+8 > int64(len(im.Arena)) || int64(r.To) >= int64(len(im.Arena)) {
			return errors.New("an address is out of range")
		}
	}
	for i := range im.Ops {
		if err := im.checkOp(i); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// isWord tells whether the first argument points to 32 bits of the arena, aligned.
func (im *Image) isWord(op *Op) bool {
	return op.Kinds[0] == Ptr && op.Vals[0]%4 == 0 && op.Vals[0] < uint64(len(im.Arena)) && op.Vals[0]+4 <= uint64(len(im.Arena))
}

// inArena tells whether an operation of our own works on the arena by offset.
func inArena(nr uint32) bool {
	return nr == pseudo+2 || nr >= pseudo+5 && nr <= pseudo+7 || nr == pseudo+9
}

func (im *Image) checkOp(i int) error {
	op := &im.Ops[i]
	switch {
	case op.Args > maxArgs || op.Flags&^flagsAll != 0:
		return errors.New("malformed")
	case op.Nr >= pseudo && (op.Nr < pseudo+1 || op.Nr > pseudo+9):
		return errors.New("unknown operation")
	case op.Jump != 0 && (int(op.Jump) <= i || int(op.Jump) > len(im.Ops)):
		return errors.New("jump out of range")
	case op.Dst < None || int(op.Dst) >= len(im.Regs):
		return errors.New("register out of range")
	case op.Nr == pseudo+2 && (op.Args != 1 || !im.isWord(op)):
		return errors.New("no status to look at")
	case op.Nr == pseudo+5 && (op.Args != 2 || !im.isWord(op) || op.Kinds[1] != Reg):
		return errors.New("nowhere to store to")
	case op.Nr == pseudo+4 && (op.Args != 1 || op.Kinds[0] != Reg):
		return errors.New("nothing to wait for")
	case op.Nr == pseudo+9 && (op.Args != 3 || op.Kinds[0] != Reg || op.Kinds[1] != Ptr || op.Kinds[2] != Imm):
		return errors.New("no path to make")
	case (op.Nr == pseudo+6 || op.Nr == pseudo+7) && (op.Args != 4 || !im.isWord(op) || op.Kinds[1] != Imm || op.Kinds[2] != Imm || op.Kinds[3] != Imm):
		return errors.New("nothing to compare")
	}
	for a := range int(op.Args) {
		switch v := op.Vals[a]; op.Kinds[a] {
		case Imm:
		case Bit:
			if op.Flags&flagLoop == 0 {
				return errors.New("a loop's argument outside of a loop")
			}
		case Ptr:
			if v >= uint64(len(im.Arena)) {
				return errors.New("address out of range")
			}
		case Reg:
			if v >= uint64(len(im.Regs)) {
				return errors.New("register out of range")
			}
		default:
			return errors.New("unknown kind of argument")
		}
	}
	return nil
}

// relocate turns offsets into addresses. The arena is on the heap, which Go
// does not move, and the child has it at the same address.
func (im *Image) relocate() {
	if len(im.Arena) == 0 {
		return
	}
	base := uint64(uintptr(unsafe.Pointer(&im.Arena[0])))
	for _, r := range im.Relocs {
		binary.NativeEndian.PutUint64(im.Arena[r.At:], base+uint64(r.To))
	}
	for i := range im.Ops {
		op := &im.Ops[i]
		for a := range int(op.Args) {
			if op.Kinds[a] == Ptr && !inArena(op.Nr) {
				op.Kinds[a] = Imm
				op.Vals[a] += base
			}
		}
	}
}
