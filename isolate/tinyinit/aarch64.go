package tinyinit

import "encoding/binary"

// The stack holds, from its top: the status that wait4 writes (4 bytes, 4 of
// padding) and the set of all signals (8 bytes). System calls take their number
// in x8 and arguments in x0 to x3, give the result in x0, and keep all other
// registers (syscall(2)). Numbers: exit_group 94, kill 129, rt_sigtimedwait 137,
// wait4 260.
var instructionsAArch64 = []instruction{
	// Room for the status and the set; the set is all ones.
	{"", word(0xd10043ff), "", "sub sp, sp, #0x10"},
	{"", word(0x92800009), "", "mov x9, #0xffffffffffffffff"},
	{"", word(0xf90007e9), "", "str x9, [sp,#8]"},

	// wait4(-1, &status, WNOHANG, NULL). First of all too: the service may have
	// ended before this program began, and its SIGCHLD may be gone.
	{"sweep", word(0x92800000), "", "mov x0, #0xffffffffffffffff"},
	{"", word(0x910003e1), "", "mov x1, sp"},
	{"", word(0xd2800022), "", "mov x2, #0x1"},
	{"", word(0xd2800003), "", "mov x3, #0x0"},
	{"", word(0xd2802088), "", "mov x8, #0x104"},
	{"", word(0xd4000001), "", "svc #0x0"},
	{"", word(0xf100081f), "", "cmp x0, #0x2"}, // the service
	{"", word(0x54000000), "ended", "b.eq"},
	{"", word(0xf100001f), "", "cmp x0, #0x0"}, // another child: look for more
	{"", word(0x5400000c), "sweep", "b.gt"},
	{"", word(0xb100281f), "", "cmn x0, #0xa"}, // ECHILD
	{"", word(0x54000000), "lost", "b.eq"},

	// rt_sigtimedwait(&set, NULL, NULL, 8): until there is a signal.
	{"wait", word(0x910023e0), "", "add x0, sp, #0x8"},
	{"", word(0xd2800001), "", "mov x1, #0x0"},
	{"", word(0xd2800002), "", "mov x2, #0x0"},
	{"", word(0xd2800103), "", "mov x3, #0x8"},
	{"", word(0xd2801128), "", "mov x8, #0x89"},
	{"", word(0xd4000001), "", "svc #0x0"},
	{"", word(0xf100441f), "", "cmp x0, #0x11"}, // SIGCHLD
	{"", word(0x54000000), "sweep", "b.eq"},
	{"", word(0xf100001f), "", "cmp x0, #0x0"}, // EINTR after a stop or a freeze
	{"", word(0x5400000d), "wait", "b.le"},

	// kill(2, signal). It fails only if the service is ending, which SIGCHLD will tell.
	{"", word(0xaa0003e1), "", "mov x1, x0"},
	{"", word(0xd2800040), "", "mov x0, #0x2"},
	{"", word(0xd2801028), "", "mov x8, #0x81"},
	{"", word(0xd4000001), "", "svc #0x0"},
	{"", word(0x14000000), "wait", "b"},

	// The low seven bits of the status are the signal, those from 8 up the exit status.
	{"ended", word(0xb94003e0), "", "ldr w0, [sp]"},
	{"", word(0x12001801), "", "and w1, w0, #0x7f"},
	{"", word(0x35000001), "killed", "cbnz w1"},
	{"", word(0x53087c00), "", "lsr w0, w0, #8"},
	{"", word(0x14000000), "exit", "b"},
	{"killed", word(0x11020020), "", "add w0, w1, #0x80"}, // SignalBase
	{"", word(0x14000000), "exit", "b"},
	{"lost", word(0xd2801fe0), "", "mov x0, #0xff"}, // StatusLost

	// exit_group(x0), of which the kernel takes the low eight bits.
	{"exit", word(0xd2800bc8), "", "mov x8, #0x5e"},
	{"", word(0xd4000001), "", "svc #0x0"},
	{"", word(0xd4200000), "", "brk #0x0"}, // not reached
}

func word(w uint32) []byte { return binary.LittleEndian.AppendUint32(nil, w) }

// patchAArch64 fills in the distance, counted in instructions from the jump:
// 26 bits from bit 0 in b, 19 bits from bit 5 in conditional jumps (Arm
// Architecture Reference Manual, C6.2).
func patchAArch64(code []byte, distance int) []byte {
	w := binary.LittleEndian.Uint32(code)
	steps := uint32(int32(distance / 4))
	if w == 0x14000000 {
		return word(w | steps&(1<<26-1))
	}
	return word(w | steps&(1<<19-1)<<5)
}
