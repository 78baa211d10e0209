package tinyinit

import "berth/isolate/tinyelf"

// The stack holds, from its top: the status that wait4 writes (4 bytes, 4 of
// padding) and the set of all signals (8 bytes). System calls take their number
// in eax and arguments in rdi, rsi, rdx, r10, give the result in rax, and
// destroy rcx and r11 only (syscall(2)). Numbers: wait4 61, kill 62,
// rt_sigtimedwait 128, exit_group 231.
var instructionsX86_64 = []tinyelf.Instruction{
	// Room for the status and the set; the set is all ones.
	tinyelf.In("", "\x48\x83\xec\x10", "", "sub rsp, 0x10"),
	tinyelf.In("", "\x48\x83\x4c\x24\x08\xff", "", "or qword ptr [rsp+0x8], -0x1"),

	// wait4(-1, &status, WNOHANG, NULL). First of all too: the service may have
	// ended before this program began, and its SIGCHLD may be gone.
	tinyelf.In("sweep", "\x83\xcf\xff", "", "or edi, -0x1"),
	tinyelf.In("", "\x48\x89\xe6", "", "mov rsi, rsp"),
	tinyelf.In("", "\xba\x01\x00\x00\x00", "", "mov edx, 0x1"),
	tinyelf.In("", "\x45\x31\xd2", "", "xor r10d, r10d"),
	tinyelf.In("", "\xb8\x3d\x00\x00\x00", "", "mov eax, 0x3d"),
	tinyelf.In("", "\x0f\x05", "", "syscall"),
	tinyelf.In("", "\x83\xf8\x02", "", "cmp eax, 0x2"), // the service
	tinyelf.In("", "\x74", "ended", "jz"),
	tinyelf.In("", "\x85\xc0", "", "test eax, eax"), // another child: look for more
	tinyelf.In("", "\x7f", "sweep", "jnle"),
	tinyelf.In("", "\x83\xf8\xf6", "", "cmp eax, -0xa"), // ECHILD
	tinyelf.In("", "\x74", "lost", "jz"),

	// rt_sigtimedwait(&set, NULL, NULL, 8): until there is a signal.
	tinyelf.In("wait", "\x48\x8d\x7c\x24\x08", "", "lea rdi, ptr [rsp+0x8]"),
	tinyelf.In("", "\x31\xf6", "", "xor esi, esi"),
	tinyelf.In("", "\x31\xd2", "", "xor edx, edx"),
	tinyelf.In("", "\x41\xba\x08\x00\x00\x00", "", "mov r10d, 0x8"),
	tinyelf.In("", "\xb8\x80\x00\x00\x00", "", "mov eax, 0x80"),
	tinyelf.In("", "\x0f\x05", "", "syscall"),
	tinyelf.In("", "\x83\xf8\x11", "", "cmp eax, 0x11"), // SIGCHLD
	tinyelf.In("", "\x74", "sweep", "jz"),
	tinyelf.In("", "\x85\xc0", "", "test eax, eax"), // EINTR after a stop or a freeze
	tinyelf.In("", "\x7e", "wait", "jle"),

	// kill(2, signal). It fails only if the service is ending, which SIGCHLD will tell.
	tinyelf.In("", "\x89\xc6", "", "mov esi, eax"),
	tinyelf.In("", "\xbf\x02\x00\x00\x00", "", "mov edi, 0x2"),
	tinyelf.In("", "\xb8\x3e\x00\x00\x00", "", "mov eax, 0x3e"),
	tinyelf.In("", "\x0f\x05", "", "syscall"),
	tinyelf.In("", "\xeb", "wait", "jmp"),

	// The low seven bits of the status are the signal, those from 8 up the exit status.
	tinyelf.In("ended", "\x8b\x3c\x24", "", "mov edi, dword ptr [rsp]"),
	tinyelf.In("", "\x89\xf8", "", "mov eax, edi"),
	tinyelf.In("", "\x83\xe0\x7f", "", "and eax, 0x7f"),
	tinyelf.In("", "\x75", "killed", "jnz"),
	tinyelf.In("", "\xc1\xef\x08", "", "shr edi, 0x8"),
	tinyelf.In("", "\xeb", "exit", "jmp"),
	tinyelf.In("killed", "\x8d\xb8\x80\x00\x00\x00", "", "lea edi, ptr [rax+0x80]"), // SignalBase
	tinyelf.In("", "\xeb", "exit", "jmp"),
	tinyelf.In("lost", "\xbf\xff\x00\x00\x00", "", "mov edi, 0xff"), // StatusLost

	// exit_group(edi), of which the kernel takes the low eight bits.
	tinyelf.In("exit", "\xb8\xe7\x00\x00\x00", "", "mov eax, 0xe7"),
	tinyelf.In("", "\x0f\x05", "", "syscall"),
	tinyelf.In("", "\x0f\x0b", "", "ud2"), // not reached
}
