package tinyinit

// The stack holds, from its top: the status that wait4 writes (4 bytes, 4 of
// padding) and the set of all signals (8 bytes). System calls take their number
// in eax and arguments in rdi, rsi, rdx, r10, give the result in rax, and
// destroy rcx and r11 only (syscall(2)). Numbers: wait4 61, kill 62,
// rt_sigtimedwait 128, exit_group 231.
var instructionsX86_64 = []instruction{
	// Room for the status and the set; the set is all ones.
	{"", []byte{0x48, 0x83, 0xec, 0x10}, "", "sub rsp, 0x10"},
	{"", []byte{0x48, 0x83, 0x4c, 0x24, 0x08, 0xff}, "", "or qword ptr [rsp+0x8], -0x1"},

	// wait4(-1, &status, WNOHANG, NULL). First of all too: the service may have
	// ended before this program began, and its SIGCHLD may be gone.
	{"sweep", []byte{0x83, 0xcf, 0xff}, "", "or edi, -0x1"},
	{"", []byte{0x48, 0x89, 0xe6}, "", "mov rsi, rsp"},
	{"", []byte{0xba, 0x01, 0x00, 0x00, 0x00}, "", "mov edx, 0x1"},
	{"", []byte{0x45, 0x31, 0xd2}, "", "xor r10d, r10d"},
	{"", []byte{0xb8, 0x3d, 0x00, 0x00, 0x00}, "", "mov eax, 0x3d"},
	{"", []byte{0x0f, 0x05}, "", "syscall"},
	{"", []byte{0x83, 0xf8, 0x02}, "", "cmp eax, 0x2"}, // the service
	{"", []byte{0x74}, "ended", "jz"},
	{"", []byte{0x85, 0xc0}, "", "test eax, eax"}, // another child: look for more
	{"", []byte{0x7f}, "sweep", "jnle"},
	{"", []byte{0x83, 0xf8, 0xf6}, "", "cmp eax, -0xa"}, // ECHILD
	{"", []byte{0x74}, "lost", "jz"},

	// rt_sigtimedwait(&set, NULL, NULL, 8): until there is a signal.
	{"wait", []byte{0x48, 0x8d, 0x7c, 0x24, 0x08}, "", "lea rdi, ptr [rsp+0x8]"},
	{"", []byte{0x31, 0xf6}, "", "xor esi, esi"},
	{"", []byte{0x31, 0xd2}, "", "xor edx, edx"},
	{"", []byte{0x41, 0xba, 0x08, 0x00, 0x00, 0x00}, "", "mov r10d, 0x8"},
	{"", []byte{0xb8, 0x80, 0x00, 0x00, 0x00}, "", "mov eax, 0x80"},
	{"", []byte{0x0f, 0x05}, "", "syscall"},
	{"", []byte{0x83, 0xf8, 0x11}, "", "cmp eax, 0x11"}, // SIGCHLD
	{"", []byte{0x74}, "sweep", "jz"},
	{"", []byte{0x85, 0xc0}, "", "test eax, eax"}, // EINTR after a stop or a freeze
	{"", []byte{0x7e}, "wait", "jle"},

	// kill(2, signal). It fails only if the service is ending, which SIGCHLD will tell.
	{"", []byte{0x89, 0xc6}, "", "mov esi, eax"},
	{"", []byte{0xbf, 0x02, 0x00, 0x00, 0x00}, "", "mov edi, 0x2"},
	{"", []byte{0xb8, 0x3e, 0x00, 0x00, 0x00}, "", "mov eax, 0x3e"},
	{"", []byte{0x0f, 0x05}, "", "syscall"},
	{"", []byte{0xeb}, "wait", "jmp"},

	// The low seven bits of the status are the signal, those from 8 up the exit status.
	{"ended", []byte{0x8b, 0x3c, 0x24}, "", "mov edi, dword ptr [rsp]"},
	{"", []byte{0x89, 0xf8}, "", "mov eax, edi"},
	{"", []byte{0x83, 0xe0, 0x7f}, "", "and eax, 0x7f"},
	{"", []byte{0x75}, "killed", "jnz"},
	{"", []byte{0xc1, 0xef, 0x08}, "", "shr edi, 0x8"},
	{"", []byte{0xeb}, "exit", "jmp"},
	{"killed", []byte{0x8d, 0xb8, 0x80, 0x00, 0x00, 0x00}, "", "lea edi, ptr [rax+0x80]"}, // SignalBase
	{"", []byte{0xeb}, "exit", "jmp"},
	{"lost", []byte{0xbf, 0xff, 0x00, 0x00, 0x00}, "", "mov edi, 0xff"}, // StatusLost

	// exit_group(edi), of which the kernel takes the low eight bits.
	{"exit", []byte{0xb8, 0xe7, 0x00, 0x00, 0x00}, "", "mov eax, 0xe7"},
	{"", []byte{0x0f, 0x05}, "", "syscall"},
	{"", []byte{0x0f, 0x0b}, "", "ud2"}, // not reached
}

// patchX86_64 adds the distance, in one byte, counted from the end of the jump.
// The whole program is shorter than a short jump's reach either way.
func patchX86_64(code []byte, distance int) []byte {
	return []byte{code[0], byte(int8(distance - 2))}
}
