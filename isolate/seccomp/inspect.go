package seccomp

import (
	"encoding/binary"
	"runtime"

	"golang.org/x/sys/unix"
)

// Notifies tells whether a compiled filter hands any call to a listener. Such a
// filter is of use only with one: without, the calls fail with ENOSYS.
func Notifies(filter []byte) bool {
	for ; len(filter) >= 8; filter = filter[8:] {
		if opcode(filter) == unix.BPF_RET|unix.BPF_K && operand(filter) == unix.SECCOMP_RET_USER_NOTIF {
			return true
		}
	}
	return false
}

// Passes tells whether a compiled filter lets the call with a number of this
// machine's native ABI be executed whatever its arguments are. It is false too
// where that depends on them.
func Passes(filter []byte, number uint32) bool {
	audit := machines[runtime.GOARCH].native.audit
	var a uint32
	for pc := 0; 8*pc+8 <= len(filter); pc++ {
		in := filter[8*pc:]
		k, jump := operand(in), false
		switch opcode(in) {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch k {
			case offsetNumber:
				a = number
			case offsetArch:
				a = audit
			default:
				return false
			}
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= k
			continue
		case unix.BPF_RET | unix.BPF_K:
			return k == unix.SECCOMP_RET_ALLOW || k == unix.SECCOMP_RET_LOG
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(k)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump = a == k
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump = a >= k
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump = a > k
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump = a&k != 0
		default:
			return false
		}
		if jump {
			pc += int(in[2])
		} else {
			pc += int(in[3])
		}
	}
	return false
}

func opcode(in []byte) uint16  { return binary.NativeEndian.Uint16(in) }
func operand(in []byte) uint32 { return binary.NativeEndian.Uint32(in[4:]) }
