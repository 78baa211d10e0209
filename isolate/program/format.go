package program

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Fmt is how an argument prints.
type Fmt uint8

// The formats. Those up to FmtStrs are general, the rest belong to certain
// system calls and are described in names.go.
const (
	FmtDec Fmt = iota
	FmtHex
	FmtOct
	FmtFD
	FmtPtr
	FmtStr  // a quoted string
	FmtStrs // an array of strings
	FmtBuf  // memory the kernel writes to
	FmtMode // a file's type and permissions
	FmtDev  // a device number

	FmtOpenHow
	FmtMountAttr
	FmtRlimit
	FmtCapData
	FmtCapHeader
	FmtFilter
	FmtIfreq
	FmtLandlock     // struct landlock_ruleset_attr
	FmtLandlockPath // struct landlock_path_beneath_attr
	FmtLandlockPort // struct landlock_net_port_attr
	FmtSignals
	FmtDisposition
	FmtInts // 32-bit values, by the next argument's count

	FmtAt
	FmtCloneFlags
	FmtCloseRange
	FmtExecAt
	FmtFcntl
	FmtFsconfig
	FmtFsmount
	FmtFsmountAttr
	FmtFsopen
	FmtFspick
	FmtIoctl
	FmtLandlockFS
	FmtLandlockNet
	FmtLandlockScope
	FmtLandlockRule
	FmtKeyctl
	FmtMessage
	FmtMount
	FmtMoveMount
	FmtOpenFlags
	FmtOpenTree
	FmtPrctl
	FmtAmbient
	FmtProt
	FmtResource
	FmtSeccomp
	FmtSeccompFlags
	FmtSigHow
	FmtSocket
	FmtSocketType
	FmtUmount
	FmtErrno
	FmtMake

	fmtCount
)

// Format prints the program, one commented line a step. Steps of the outside
// list come first; numbers go on in the inside list and then in that beside, and
// a StepError tells the same number.
func (p *Program) Format(w io.Writer) error {
	f := formatter{p: p, w: w}
	f.printf("# %s: outside, in the process that prepares the start\n", p.Name)
	for i := range p.Outside {
		f.step(i, 0, &p.Outside[i])
	}
	f.printf("# the launcher forks\n")
	for _, e := range p.ForkIn {
		f.printf("     setns(%s, %s)   # %s\n", p.Regs[e.Reg], FlagNames(FmtCloneFlags, e.Kind), who(e))
	}
	flags := FlagNames(FmtCloneFlags, p.CloneFlags|cloneClearSighand|clonePidfd)
	if p.BornIn != None {
		flags += "|CLONE_INTO_CGROUP, cgroup=" + p.Regs[p.BornIn]
	}
	f.printf("     clone3({flags=%s})\n# inside, in the child\n", flags)
	for i := range p.Inside {
		if p.Tail != nil && i == p.Tail.First {
			f.printf("# in a sealed image of its own\n")
		}
		f.step(len(p.Outside)+i, len(p.Outside), &p.Inside[i])
	}
	if len(p.Beside) > 0 {
		f.printf("# beside, in the process that starts it, while the child waits at sync\n")
	}
	for i := range p.Beside {
		n := len(p.Outside) + len(p.Inside)
		f.step(n+i, n, &p.Beside[i])
	}
	return f.err
}

// who tells who enters a namespace for the fork.
func who(e Enter) string {
	if e.Kind == unix.CLONE_NEWUSER {
		return "a process in between, which clones the child and ends"
	}
	return "the forking thread only, for the length of the fork"
}

type formatter struct {
	p   *Program
	w   io.Writer
	err error
}

func (f *formatter) printf(format string, args ...any) {
	if f.err == nil {
		_, f.err = fmt.Fprintf(f.w, format, args...)
	}
}

func (f *formatter) step(n, base int, s *Step) {
	var b strings.Builder
	fmt.Fprintf(&b, "%4d ", n)
	if s.Each != 0 {
		fmt.Fprintf(&b, "each %s: ", f.p.Each[s.Each-1])
	}
	if s.If != 0 {
		not := ""
		if s.Unless {
			not = "not "
		}
		fmt.Fprintf(&b, "if %s%s: ", not, f.p.Late[s.If-1])
	}
	if s.Dst != None {
		fmt.Fprintf(&b, "%s = ", f.p.Regs[s.Dst])
	}
	b.WriteString(s.Sys.String())
	b.WriteByte('(')
	for i, a := range s.Args {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.p.argText(s, i, a))
	}
	b.WriteByte(')')
	if s.Loop != nil {
		fmt.Fprintf(&b, " for each of %s", f.loopText(*s.Loop))
	}
	f.policy(&b, base, s)
	fmt.Fprintf(&b, "   # %s", s.Why)
	f.printf("%s\n", b.String())
}

func (f *formatter) loopText(a Arg) string {
	if a.Kind != Imm {
		return f.p.argText(nil, 0, a)
	}
	var bits []string
	for i := 0; i < 64; {
		if a.Val>>i&1 == 0 {
			i++
			continue
		}
		from := i
		for i < 64 && a.Val>>i&1 == 1 {
			i++
		}
		if i-from > 1 {
			bits = append(bits, fmt.Sprintf("%d-%d", from, i-1))
		} else {
			bits = append(bits, strconv.Itoa(from))
		}
	}
	return strings.Join(bits, ",")
}

func (f *formatter) policy(b *strings.Builder, base int, s *Step) {
	if s.Check {
		fmt.Fprintf(b, " = %d", s.Want)
	}
	if s.Jump != 0 {
		when := [...]string{"if it succeeds", "on " + errnoNames(s), "in the parent"}[s.When]
		fmt.Fprintf(b, " [%s go to %d]", when, s.Jump+base)
	}
	switch {
	case s.IgnoreAll:
		b.WriteString(" [errors are passed over]")
	case len(s.Ignore) > 0 && (s.Jump == 0 || s.When != OnIgnored):
		fmt.Fprintf(b, " [%s is passed over]", errnoNames(s))
	}
}

func errnoNames(s *Step) string {
	if s.IgnoreAll {
		return "any error"
	}
	names := make([]string, len(s.Ignore))
	for i, e := range s.Ignore {
		names[i] = errnoName(e)
	}
	return strings.Join(names, "|")
}

func (p *Program) argText(s *Step, i int, a Arg) string {
	switch a.Kind {
	case Reg:
		return p.Regs[a.Val]
	case Late:
		return "<" + p.Late[a.Val] + ">"
	case Item:
		return "<path>"
	case ItemReg:
		return "<mount>"
	case ItemData:
		return "<data>"
	case Bit:
		return "<n>"
	case FDPath:
		return `"/proc/self/fd/<` + p.Regs[a.Val] + `>"`
	case Ptr:
		return p.memText(s, i, a)
	}
	switch a.Fmt {
	case FmtDec:
		return strconv.FormatInt(int64(a.Val), 10)
	case FmtHex:
		return "0x" + strconv.FormatUint(a.Val, 16)
	case FmtOct:
		return "0" + strconv.FormatUint(a.Val, 8)
	case FmtFD:
		if a.Val == atFDCWD {
			return "AT_FDCWD"
		}
		return strconv.FormatInt(int64(a.Val), 10)
	case FmtPtr:
		return "NULL"
	case FmtErrno:
		return errnoName(syscall.Errno(a.Val))
	case FmtMode:
		return FlagNames(FmtMode, a.Val&^0o7777) + "|0" + strconv.FormatUint(a.Val&0o7777, 8)
	case FmtDev:
		return fmt.Sprintf("%d:%d", a.Val>>8&0xfff, a.Val&0xff)
	}
	return FlagNames(a.Fmt, a.Val)
}

// memText prints what a pointer argument points to.
func (p *Program) memText(s *Step, i int, a Arg) string {
	mem := p.Arena[a.Val:]
	switch a.Fmt {
	case FmtStr:
		return strconv.Quote(p.str(a.Val))
	case FmtStrs:
		return p.strsText(a.Val)
	case FmtOpenHow:
		t := "{flags=" + FlagNames(FmtOpenFlags, u64(mem, 0))
		if mode := u64(mem, 8); mode != 0 {
			t += ", mode=0" + strconv.FormatUint(mode, 8)
		}
		return t + ", resolve=" + FlagNames(FmtOpenHow, u64(mem, 16)) + "}"
	case FmtMountAttr:
		return mountAttrText(mem)
	case FmtRlimit:
		return "{" + limitText(u64(mem, 0)) + ", " + limitText(u64(mem, 8)) + "}"
	case FmtCapHeader:
		return "{version=3}"
	case FmtCapData:
		return fmt.Sprintf("{effective=%#x, permitted=%#x, inheritable=%#x}",
			uint64(u32(mem, 0))|uint64(u32(mem, 12))<<32,
			uint64(u32(mem, 4))|uint64(u32(mem, 16))<<32,
			uint64(u32(mem, 8))|uint64(u32(mem, 20))<<32)
	case FmtFilter:
		return fmt.Sprintf("{%d instructions}", binary.NativeEndian.Uint16(mem))
	case FmtIfreq:
		return fmt.Sprintf("{%q, IFF_UP|IFF_RUNNING}", p.str(a.Val))
	case FmtLandlock:
		return "{fs=" + FlagNames(FmtLandlockFS, u64(mem, 0)) + ", net=" + FlagNames(FmtLandlockNet, u64(mem, 8)) + ", scoped=" + FlagNames(FmtLandlockScope, u64(mem, 16)) + "}"
	case FmtLandlockPath:
		return "{" + FlagNames(FmtLandlockFS, u64(mem, 0)) + "}"
	case FmtLandlockPort:
		return fmt.Sprintf("{%s, port=%d}", FlagNames(FmtLandlockNet, u64(mem, 0)), u64(mem, 8))
	case FmtSignals:
		if u64(mem, 0) == 0 {
			return "[]"
		}
		return "~[]"
	case FmtDisposition:
		return "{SIG_DFL}"
	}
	return "<memory>"
}

func (p *Program) str(off uint64) string {
	mem := p.Arena[off:]
	for n, c := range mem {
		if c == 0 {
			return string(mem[:n])
		}
	}
	return string(mem)
}

func (p *Program) strsText(off uint64) string {
	to := make(map[uint32]uint32)
	for _, r := range p.Relocs {
		to[r.At] = r.To
	}
	var list []string
	for at := uint32(off); ; at += 8 {
		str, ok := to[at]
		if !ok {
			break
		}
		list = append(list, strconv.Quote(p.str(uint64(str))))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func mountAttrText(mem []byte) string {
	var parts []string
	if v := u64(mem, 0); v != 0 {
		parts = append(parts, "set="+FlagNames(FmtFsmountAttr, v))
	}
	if v := u64(mem, 8); v != 0 {
		parts = append(parts, "clear="+FlagNames(FmtFsmountAttr, v))
	}
	if v := u64(mem, 16); v != 0 {
		parts = append(parts, "propagation="+FlagNames(FmtMount, v))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func limitText(v uint64) string {
	if v == ^uint64(0) {
		return "unlimited"
	}
	return strconv.FormatUint(v, 10)
}

func u64(mem []byte, at int) uint64 { return binary.NativeEndian.Uint64(mem[at:]) }
func u32(mem []byte, at int) uint32 { return binary.NativeEndian.Uint32(mem[at:]) }
