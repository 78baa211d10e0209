package program

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sample is a program that writes to a descriptor it is given and executes nothing.
func sample(t testing.TB) *Image {
	t.Helper()
	b := NewBuilder("sample")
	out := b.Register("out")
	flags := b.U64s(FmtOpenHow, 0, 0, 0)
	list := b.Strs([]string{"one", "two"})
	b.In(Step{Sys: SysWrite, Dst: None, Args: []Arg{R(out), b.Str("hello"), N(5)}, Check: true, Want: 5, Why: "greet"})
	skip := b.In(Step{Sys: SysClose, Dst: None, Args: []Arg{N(-1)}, Ignore: []syscall.Errno{unix.EBADF}, When: OnIgnored, Why: "skip"})
	b.In(Step{Sys: OpFail, Dst: None, Args: []Arg{N(1)}, Why: "never"})
	b.Land(skip)
	mask := Flag(FmtHex, 0b101)
	b.In(Step{Sys: SysWrite, Dst: None, Args: []Arg{R(out), b.Str("x"), N(1)}, Loop: &mask, Why: "twice"})
	b.In(Step{Sys: SysFcntl, Dst: out, Args: []Arg{R(out), Flag(FmtFcntl, unix.F_DUPFD_CLOEXEC), N(100)}, Why: "move"})
	b.In(Step{Sys: SysWrite, Dst: None, Args: []Arg{R(out), b.Str("y"), N(1)}, Why: "moved"})
	b.In(Step{Sys: OpFail, Dst: None, Args: []Arg{N(int(unix.EUCLEAN))}, Why: "end"})
	_, _ = flags, list
	l := NewLinker(b.P.Arena, b.P.Relocs, len(b.P.Inside))
	first := make([]int, len(b.P.Inside)+1)
	for i := range b.P.Inside {
		first[i] = l.Len()
		l.Add(&b.P.Inside[i], i, func(a Arg) Arg { return a })
	}
	first[len(b.P.Inside)] = l.Len()
	return l.Link(b.P, first, []int32{-1, -1, -1})
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestForkRunsTheSteps(t *testing.T) {
	im := sample(t)
	statusR, statusW := pipe(t)
	gateR, gateW := pipe(t)
	outR, outW := pipe(t)
	im.Regs = []int32{int32(statusW.Fd()), int32(gateR.Fd()), int32(outW.Fd())}
	decoded, err := Decode(im.Encode())
	if err != nil {
		t.Fatal(err)
	}
	pid, pidfd, err := decoded.Fork(false)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pidfd)
	statusW.Close()
	outW.Close()
	gateW.Close()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil || ws.ExitStatus() != ExitFailed {
		t.Errorf("ended with %#x, %v", uint32(ws), err)
	}
	var out, status bytes.Buffer
	out.ReadFrom(outR)
	status.ReadFrom(statusR)
	if out.String() != "helloxxy" {
		t.Errorf("wrote %q", out.String())
	}
	if status.Len() != RecordSize || u32(status.Bytes(), 4) != 6 || u32(status.Bytes(), 12) != uint32(unix.EUCLEAN) {
		t.Errorf("status % x", status.Bytes())
	}
}

func TestDecodeRefuses(t *testing.T) {
	im := sample(t)
	im.Regs = []int32{3, 4, 5}
	good, fds := im.Encode()
	if _, err := Decode(good, fds); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*Image)) []byte {
		im := sample(t)
		im.Regs = []int32{3, 4, 5}
		f(im)
		b, _ := im.Encode()
		return b
	}
	for _, c := range []struct {
		name, want string
		image      []byte
		fds        []int
	}{
		{"empty", "0 bytes", nil, nil},
		{"cut", "follow the header", good[:len(good)-1], fds},
		{"longer", "follow the header", append(bytes.Clone(good), 0), fds},
		{"version", "this version", append([]byte{1}, good[1:]...), fds},
		{"descriptors", "are needed", good, fds[:2]},
		{"clone flags", "clone flags", change(func(im *Image) { im.CloneFlags = unix.CLONE_VM }), fds},
		{"no gate", "status pipe or gate", change(func(im *Image) { im.Gate = 77 }), fds},
		{"group", "born in", change(func(im *Image) { im.BornIn = 77 }), fds},
		{"namespace", "to fork in", change(func(im *Image) { im.ForkIn = []Enter{{77, unix.CLONE_NEWPID}} }), fds},
		{"back", "jump", change(func(im *Image) { im.Ops[2].Jump = 1 }), fds},
		{"far", "jump", change(func(im *Image) { im.Ops[2].Jump = 1000 }), fds},
		{"pointer", "address", change(func(im *Image) { im.Ops[0].Vals[1] = 1 << 30 }), fds},
		{"register", "register", change(func(im *Image) { im.Ops[0].Vals[0] = 3 }), fds},
		{"result", "register", change(func(im *Image) { im.Ops[0].Dst = 3 }), fds},
		{"kind", "kind", change(func(im *Image) { im.Ops[0].Kinds[0] = Late }), fds},
		{"operation", "operation", change(func(im *Image) { im.Ops[0].Nr = pseudo + 15 }), fds},
		{"comparison without memory", "compare", change(func(im *Image) {
			im.Ops[0] = Op{Nr: pseudo + 6, Dst: None, Args: 4, Kinds: [maxArgs]Kind{Ptr, Imm, Imm, Imm}, Vals: [maxArgs]uint64{1 << 30}}
		}), fds},
		{"comparison across a word", "compare", change(func(im *Image) {
			im.Ops[0] = Op{Nr: pseudo + 7, Dst: None, Args: 4, Kinds: [maxArgs]Kind{Ptr, Imm, Imm, Imm}, Vals: [maxArgs]uint64{2}}
		}), fds},
		{"comparison with a register", "compare", change(func(im *Image) {
			im.Ops[0] = Op{Nr: pseudo + 6, Dst: None, Args: 4, Kinds: [maxArgs]Kind{Ptr, Imm, Reg, Imm}}
		}), fds},
		{"path", "path to make", change(func(im *Image) {
			im.Ops[0] = Op{Nr: pseudo + 9, Dst: None, Args: 3, Kinds: [maxArgs]Kind{Reg, Imm, Imm}, Vals: [maxArgs]uint64{0, 1 << 30}}
		}), fds},
		{"path out of range", "address", change(func(im *Image) {
			im.Ops[0] = Op{Nr: pseudo + 9, Dst: None, Args: 3, Kinds: [maxArgs]Kind{Reg, Ptr, Imm}, Vals: [maxArgs]uint64{0, 1 << 30}}
		}), fds},
		{"address", "address", change(func(im *Image) { im.Relocs[0].At = 1 << 30 }), fds},
	} {
		if _, err := Decode(c.image, c.fds); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	im := sample(f)
	im.Regs = []int32{3, 4, 5}
	good, fds := im.Encode()
	f.Add(good)
	f.Fuzz(func(t *testing.T, image []byte) {
		if im, err := Decode(image, fds); err == nil {
			for i := range im.Ops {
				if op := &im.Ops[i]; op.Jump != 0 && int(op.Jump) <= i {
					t.Fatal("a jump goes back")
				}
			}
		}
	})
}

// What an image held before does not show after another was decoded into it.
func TestDecodeAgain(t *testing.T) {
	long := sample(t)
	long.Regs = []int32{3, 4, 5}
	short := sample(t)
	short.Regs, short.Ops, short.Arena, short.Relocs = []int32{6, 7, -1}, short.Ops[4:5], short.Arena[:64], nil
	var im Image
	for _, from := range []*Image{long, short, long} {
		image, fds := from.Encode()
		if err := im.Decode(image, fds); err != nil {
			t.Fatal(err)
		}
		fresh, err := Decode(image, fds)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(im.Regs, fresh.Regs) || !slices.Equal(im.Relocs, fresh.Relocs) || len(im.Arena) != len(fresh.Arena) || len(im.Ops) != len(fresh.Ops) {
			t.Errorf("decoded again: %v, %v", im.Regs, im.Relocs)
		}
		for i := range im.Ops { // addresses differ
			a, b := im.Ops[i], fresh.Ops[i]
			a.Vals, b.Vals = [maxArgs]uint64{}, [maxArgs]uint64{}
			if a != b {
				t.Errorf("step %d is %+v, not %+v", i, a, b)
			}
		}
	}
}
