package tinyinit

import "berth/isolate/tinyelf"

// The stack holds, from its top: the status that wait4 writes (4 bytes, 4 of
// padding) and the set of all signals (8 bytes). System calls take their number
// in eax and arguments in rdi, rsi, rdx, r10, give the result in rax, and
// destroy rcx and r11 only (syscall(2)). Numbers: wait4 61, kill 62,
// rt_sigtimedwait 128, exit_group 231.
var instructionsX86_64 = []tinyelf.Instruction{
	// Room for the status and the set; the set is all ones.
	tinyelf.In("", []byte{0x48, 0x83, 0xec, 0x10}, "", "sub rsp, 0x10"),
	tinyelf.In("", []byte{0x48, 0x83, 0x4c, 0x24, 0x08, 0xff}, "", "or qword ptr [rsp+0x8], -0x1"),

	// wait4(-1, &status, WNOHANG, NULL). First of all too: the service may have
	// ended before this program began, and its SIGCHLD may be gone.
	tinyelf.In("sweep", []byte{0x83, 0xcf, 0xff}, "", "or edi, -0x1"),
	tinyelf.In("", []byte{0x48, 0x89, 0xe6}, "", "mov rsi, rsp"),
	tinyelf.In("", []byte{0xba, 0x01, 0x00, 0x00, 0x00}, "", "mov edx, 0x1"),
	tinyelf.In("", []byte{0x45, 0x31, 0xd2}, "", "xor r10d, r10d"),
	tinyelf.In("", []byte{0xb8, 0x3d, 0x00, 0x00, 0x00}, "", "mov eax, 0x3d"),
	tinyelf.In("", []byte{0x0f, 0x05}, "", "syscall"),
	tinyelf.In("", []byte{0x83, 0xf8, 0x02}, "", "cmp eax, 0x2"), // the service
	tinyelf.In("", []byte{0x74}, "ended", "jz"),
	tinyelf.In("", []byte{0x85, 0xc0}, "", "test eax, eax"), // another child: look for more
	tinyelf.In("", []byte{0x7f}, "sweep", "jnle"),
	tinyelf.In("", []byte{0x83, 0xf8, 0xf6}, "", "cmp eax, -0xa"), // ECHILD
	tinyelf.In("", []byte{0x74}, "lost", "jz"),

	// rt_sigtimedwait(&set, NULL, NULL, 8): until there is a signal.
	tinyelf.In("wait", []byte{0x48, 0x8d, 0x7c, 0x24, 0x08}, "", "lea rdi, ptr [rsp+0x8]"),
	tinyelf.In("", []byte{0x31, 0xf6}, "", "xor esi, esi"),
	tinyelf.In("", []byte{0x31, 0xd2}, "", "xor edx, edx"),
	tinyelf.In("", []byte{0x41, 0xba, 0x08, 0x00, 0x00, 0x00}, "", "mov r10d, 0x8"),
	tinyelf.In("", []byte{0xb8, 0x80, 0x00, 0x00, 0x00}, "", "mov eax, 0x80"),
	tinyelf.In("", []byte{0x0f, 0x05}, "", "syscall"),
	tinyelf.In("", []byte{0x83, 0xf8, 0x11}, "", "cmp eax, 0x11"), // SIGCHLD
	tinyelf.In("", []byte{0x74}, "sweep", "jz"),
	tinyelf.In("", []byte{0x85, 0xc0}, "", "test eax, eax"), // EINTR after a stop or a freeze
	tinyelf.In("", []byte{0x7e}, "wait", "jle"),

	// kill(2, signal). It fails only if the service is ending, which SIGCHLD will tell.
	tinyelf.In("", []byte{0x89, 0xc6}, "", "mov esi, eax"),
	tinyelf.In("", []byte{0xbf, 0x02, 0x00, 0x00, 0x00}, "", "mov edi, 0x2"),
	tinyelf.In("", []byte{0xb8, 0x3e, 0x00, 0x00, 0x00}, "", "mov eax, 0x3e"),
	tinyelf.In("", []byte{0x0f, 0x05}, "", "syscall"),
	tinyelf.In("", []byte{0xeb}, "wait", "jmp"),

	// The low seven bits of the status are the signal, those from 8 up the exit status.
	tinyelf.In("ended", []byte{0x8b, 0x3c, 0x24}, "", "mov edi, dword ptr [rsp]"),
	tinyelf.In("", []byte{0x89, 0xf8}, "", "mov eax, edi"),
	tinyelf.In("", []byte{0x83, 0xe0, 0x7f}, "", "and eax, 0x7f"),
	tinyelf.In("", []byte{0x75}, "killed", "jnz"),
	tinyelf.In("", []byte{0xc1, 0xef, 0x08}, "", "shr edi, 0x8"),
	tinyelf.In("", []byte{0xeb}, "exit", "jmp"),
	tinyelf.In("killed", []byte{0x8d, 0xb8, 0x80, 0x00, 0x00, 0x00}, "", "lea edi, ptr [rax+0x80]"), // SignalBase
	tinyelf.In("", []byte{0xeb}, "exit", "jmp"),
	tinyelf.In("lost", []byte{0xbf, 0xff, 0x00, 0x00, 0x00}, "", "mov edi, 0xff"), // StatusLost

	// exit_group(edi), of which the kernel takes the low eight bits.
	tinyelf.In("exit", []byte{0xb8, 0xe7, 0x00, 0x00, 0x00}, "", "mov eax, 0xe7"),
	tinyelf.In("", []byte{0x0f, 0x05}, "", "syscall"),
	tinyelf.In("", []byte{0x0f, 0x0b}, "", "ud2"), // not reached
}
