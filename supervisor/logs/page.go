package logs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/units"
)

const (
	pageSize    = 4096
	pageMagic   = 0x3167_6f4c_6874_7242 // changes with the layout of page
	maxMessages = 32                    // in one batch
	maxUnitName = 160
	notSent     = ^uint32(0) // in mmsghdr.len: the kernel has not sent it
)

// phase is where the delivery of a batch is.
type phase uint32

const (
	// idle: no batch; page.base is the state; B is empty.
	idle phase = iota
	// delivering: the sink's witness tells how many messages have gone.
	delivering
	// consuming: states[k] is the outcome; its src bytes move from A to B.
	consuming
	// draining: they are all in B, which is being emptied; base becomes states[k].
	draining
)

// state is what must be remembered between batches, and within one after each
// message. Source and output positions count from the start of the batch.
type state struct {
	src     uint32 // bytes of the stream that are done with
	out     uint32 // bytes in the file
	used    uint32 // lines in the current rate period
	dropped uint32 // lines dropped in it and not yet told
	window  int64  // start of the rate period, ns since 1970; 0: none
	cont    [2]uint8
	full    uint8 // 1: some of the dropped lines were so for want of room
	_       [5]byte
}

// Bits of state.cont, per stream: what became of the begin of a line whose rest
// is still to come. Zero: the stream is at the start of a line. The low bits are
// the priority of the line.
const (
	contOpen uint8 = 0x80
	contDrop uint8 = 0x40 // and the whole line is dropped
	contPrio uint8 = 0x07
)

// mmsghdr is the kernel's struct mmsghdr (sendmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// page is the shared memory of one unit's streams. It holds everything that a
// new supervisor needs to go on. The memory of a killed process is what its
// instructions had written, in their order, so ordered (atomic) stores of word
// are all the protocol there is.
type page struct {
	magic uint64
	word  uint64 // phase | k<<8, atomic

	// Who and how; written while idle or without regard to a batch.
	unitLen     uint32
	target      uint32 // sink, resolved
	unit        [maxUnitName]byte
	incarnation uint64
	pid         int64
	maxSize     int64
	keep        int64
	rateLines   int64
	ratePer     int64

	// The batch; valid in delivering and after.
	stream uint32
	sink   uint32
	count  uint32 // messages
	_      uint32
	dev    uint64 // file sink: the file, and its size before the batch
	ino    uint64
	offset int64

	base   state
	states [maxMessages + 1]state
	msgs   [maxMessages]mmsghdr
}

// The page must hold it all; a negative array length stops the compiler.
var _ [pageSize - unsafe.Sizeof(page{})]byte

func (p *page) phase() (phase, int) {
	w := atomic.LoadUint64(&p.word)
	return phase(w & 0xff), int(w >> 8)
}

func (p *page) setPhase(ph phase, k int) {
	atomic.StoreUint64(&p.word, uint64(ph)|uint64(k)<<8)
}

func (p *page) unitName() string { return string(p.unit[:p.unitLen]) }

// configure writes down the configuration.
func (p *page) configure(target Target, cfg units.Log) {
	p.target = uint32(target)
	p.maxSize = int64(cfg.MaxSize)
	p.keep = int64(cfg.Keep)
	p.rateLines = int64(cfg.Rate.Lines)
	p.ratePer = int64(cfg.Rate.Per)
}

func (p *page) rate() rate {
	return rate{lines: p.rateLines, per: time.Duration(p.ratePer)}
}

// check refuses a page that this version cannot go on from.
func (p *page) check() error {
	switch ph, k := p.phase(); {
	case p.magic != pageMagic:
		return errors.New("its state page is of another version")
	case p.unitLen == 0 || p.unitLen > maxUnitName:
		return fmt.Errorf("its state page has a unit name of %d bytes", p.unitLen)
	case ph > draining || k > maxMessages || p.count > maxMessages || p.stream > 1:
		return fmt.Errorf("its state page is damaged (phase %d, message %d of %d)", ph, k, p.count)
	}
	return nil
}

// newPage makes the memfd and maps it. The file is the caller's.
func newPage() (*os.File, []byte, error) {
	const noexecSeal = 0x8 // MFD_NOEXEC_SEAL, since Linux 6.3
	fd, err := unix.MemfdCreate("berth-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|noexecSeal)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("berth-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memfd:berth-log")
	if err := f.Truncate(pageSize); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("ftruncate of memfd: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("sealing of memfd: %w", err)
	}
	mem, err := mapPage(f)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, mem, nil
}

// mapPage maps an existing page. It is locked in memory where that is allowed:
// the kernel could otherwise fail to note a sent datagram in it when the page is
// swapped out and a SIGKILL arrives at that moment.
func mapPage(f *os.File) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("fstat of memfd: %w", err)
	}
	if st.Size != pageSize {
		return nil, fmt.Errorf("the state page has %d bytes, not %d", st.Size, pageSize)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap of memfd: %w", err)
	}
	_ = unix.Mlock(mem)
	p := pageOf(mem)
	atomic.StoreUint64(&p.word, atomic.LoadUint64(&p.word)) // a write fault now, not in the kernel later
	return mem, nil
}

func pageOf(mem []byte) *page { return (*page)(unsafe.Pointer(&mem[0])) }
