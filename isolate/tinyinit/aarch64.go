package tinyinit

import "berth/isolate/tinyelf"

// The stack holds, from its top: the status that wait4 writes (4 bytes, 4 of
// padding) and the set of all signals (8 bytes). System calls take their number
// in x8 and arguments in x0 to x3, give the result in x0, and keep all other
// registers (syscall(2)). Numbers: exit_group 94, kill 129, rt_sigtimedwait 137,
// wait4 260.
var instructionsAArch64 = []tinyelf.Instruction{
	// Room for the status and the set; the set is all ones.
	tinyelf.In("", tinyelf.Word(0xd10043ff), "", "sub sp, sp, #0x10"),
	tinyelf.In("", tinyelf.Word(0x92800009), "", "mov x9, #0xffffffffffffffff"),
	tinyelf.In("", tinyelf.Word(0xf90007e9), "", "str x9, [sp,#8]"),

	// wait4(-1, &status, WNOHANG, NULL). First of all too: the service may have
	// ended before this program began, and its SIGCHLD may be gone.
	tinyelf.In("sweep", tinyelf.Word(0x92800000), "", "mov x0, #0xffffffffffffffff"),
	tinyelf.In("", tinyelf.Word(0x910003e1), "", "mov x1, sp"),
	tinyelf.In("", tinyelf.Word(0xd2800022), "", "mov x2, #0x1"),
	tinyelf.In("", tinyelf.Word(0xd2800003), "", "mov x3, #0x0"),
	tinyelf.In("", tinyelf.Word(0xd2802088), "", "mov x8, #0x104"),
	tinyelf.In("", tinyelf.Word(0xd4000001), "", "svc #0x0"),
	tinyelf.In("", tinyelf.Word(0xf100081f), "", "cmp x0, #0x2"), // the service
	tinyelf.In("", tinyelf.Word(0x54000000), "ended", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xf100001f), "", "cmp x0, #0x0"), // another child: look for more
	tinyelf.In("", tinyelf.Word(0x5400000c), "sweep", "b.gt"),
	tinyelf.In("", tinyelf.Word(0xb100281f), "", "cmn x0, #0xa"), // ECHILD
	tinyelf.In("", tinyelf.Word(0x54000000), "lost", "b.eq"),

	// rt_sigtimedwait(&set, NULL, NULL, 8): until there is a signal.
	tinyelf.In("wait", tinyelf.Word(0x910023e0), "", "add x0, sp, #0x8"),
	tinyelf.In("", tinyelf.Word(0xd2800001), "", "mov x1, #0x0"),
	tinyelf.In("", tinyelf.Word(0xd2800002), "", "mov x2, #0x0"),
	tinyelf.In("", tinyelf.Word(0xd2800103), "", "mov x3, #0x8"),
	tinyelf.In("", tinyelf.Word(0xd2801128), "", "mov x8, #0x89"),
	tinyelf.In("", tinyelf.Word(0xd4000001), "", "svc #0x0"),
	tinyelf.In("", tinyelf.Word(0xf100441f), "", "cmp x0, #0x11"), // SIGCHLD
	tinyelf.In("", tinyelf.Word(0x54000000), "sweep", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xf100001f), "", "cmp x0, #0x0"), // EINTR after a stop or a freeze
	tinyelf.In("", tinyelf.Word(0x5400000d), "wait", "b.le"),

	// kill(2, signal). It fails only if the service is ending, which SIGCHLD will tell.
	tinyelf.In("", tinyelf.Word(0xaa0003e1), "", "mov x1, x0"),
	tinyelf.In("", tinyelf.Word(0xd2800040), "", "mov x0, #0x2"),
	tinyelf.In("", tinyelf.Word(0xd2801028), "", "mov x8, #0x81"),
	tinyelf.In("", tinyelf.Word(0xd4000001), "", "svc #0x0"),
	tinyelf.In("", tinyelf.Word(0x14000000), "wait", "b"),

	// The low seven bits of the status are the signal, those from 8 up the exit status.
	tinyelf.In("ended", tinyelf.Word(0xb94003e0), "", "ldr w0, [sp]"),
	tinyelf.In("", tinyelf.Word(0x12001801), "", "and w1, w0, #0x7f"),
	tinyelf.In("", tinyelf.Word(0x35000001), "killed", "cbnz w1"),
	tinyelf.In("", tinyelf.Word(0x53087c00), "", "lsr w0, w0, #8"),
	tinyelf.In("", tinyelf.Word(0x14000000), "exit", "b"),
	tinyelf.In("killed", tinyelf.Word(0x11020020), "", "add w0, w1, #0x80"), // SignalBase
	tinyelf.In("", tinyelf.Word(0x14000000), "exit", "b"),
	tinyelf.In("lost", tinyelf.Word(0xd2801fe0), "", "mov x0, #0xff"), // StatusLost

	// exit_group(x0), of which the kernel takes the low eight bits.
	tinyelf.In("exit", tinyelf.Word(0xd2800bc8), "", "mov x8, #0x5e"),
	tinyelf.In("", tinyelf.Word(0xd4000001), "", "svc #0x0"),
	tinyelf.In("", tinyelf.Word(0xd4200000), "", "brk #0x0"), // not reached
}
