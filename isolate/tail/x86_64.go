package tail

import "berth/isolate/tinyelf"

// rbx holds the address of the operation, whose fields are named in comments.
// A system call takes its number in rax and arguments in rdi, rsi, rdx, r10, r8
// and r9, gives the result in rax, and destroys rcx and r11 only (syscall(2)).
var instructionsX86_64 = []tinyelf.Instruction{
	// The address of the first operation.
	tinyelf.In("", "\xbb\x10\x00\x41\x00", "", "mov ebx, 0x410010"),

	// Operation.Nr: less than zero is a look at a wait status.
	tinyelf.In("run", "\x48\x8b\x03", "", "mov rax, qword ptr [rbx]"),
	tinyelf.In("", "\x48\x85\xc0", "", "test rax, rax"),
	tinyelf.In("", "\x78", "status", "js"),

	// Its six arguments.
	tinyelf.In("", "\x48\x8b\x7b\x08", "", "mov rdi, qword ptr [rbx+0x8]"),
	tinyelf.In("", "\x48\x8b\x73\x10", "", "mov rsi, qword ptr [rbx+0x10]"),
	tinyelf.In("", "\x48\x8b\x53\x18", "", "mov rdx, qword ptr [rbx+0x18]"),
	tinyelf.In("", "\x4c\x8b\x53\x20", "", "mov r10, qword ptr [rbx+0x20]"),
	tinyelf.In("", "\x4c\x8b\x43\x28", "", "mov r8, qword ptr [rbx+0x28]"),
	tinyelf.In("", "\x4c\x8b\x4b\x30", "", "mov r9, qword ptr [rbx+0x30]"),

	// Of the first three, those with a bit in Cells are where the argument lies.
	tinyelf.In("", "\x48\x8b\x4b\x38", "", "mov rcx, qword ptr [rbx+0x38]"),
	tinyelf.In("", "\xf6\xc1\x01", "", "test cl, 0x1"),
	tinyelf.In("", "\x74", "second", "jz"),
	tinyelf.In("", "\x8b\x3f", "", "mov edi, dword ptr [rdi]"),
	tinyelf.In("second", "\xf6\xc1\x02", "", "test cl, 0x2"),
	tinyelf.In("", "\x74", "third", "jz"),
	tinyelf.In("", "\x8b\x36", "", "mov esi, dword ptr [rsi]"),
	tinyelf.In("third", "\xf6\xc1\x04", "", "test cl, 0x4"),
	tinyelf.In("", "\x74", "call", "jz"),
	tinyelf.In("", "\x8b\x12", "", "mov edx, dword ptr [rdx]"),
	tinyelf.In("call", "\x0f\x05", "", "syscall"),
	tinyelf.In("", "\x48\x83\xf8\xfc", "", "cmp rax, -0x4"),
	tinyelf.In("", "\x74", "run", "jz"),
	tinyelf.In("", "\x48\x3d\x01\xf0\xff\xff", "", "cmp rax, -0xfff"),
	tinyelf.In("", "\x73", "error", "jnb"),

	// Store takes the result, if it is set.
	tinyelf.In("", "\x48\x8b\x4b\x60", "", "mov rcx, qword ptr [rbx+0x60]"),
	tinyelf.In("", "\x48\x85\xc9", "", "test rcx, rcx"),
	tinyelf.In("", "\x74", "stored", "jz"),
	tinyelf.In("", "\x89\x01", "", "mov dword ptr [rcx], eax"),

	// Go on with More or Zero.
	tinyelf.In("stored", "\x48\x85\xc0", "", "test rax, rax"),
	tinyelf.In("", "\x74", "zero", "jz"),
	tinyelf.In("", "\x48\x8b\x5b\x48", "", "mov rbx, qword ptr [rbx+0x48]"),
	tinyelf.In("", "\xeb", "run", "jmp"),

	// The wait status must be zero.
	tinyelf.In("status", "\x48\x8b\x4b\x08", "", "mov rcx, qword ptr [rbx+0x8]"),
	tinyelf.In("", "\x8b\x01", "", "mov eax, dword ptr [rcx]"),
	tinyelf.In("", "\x85\xc0", "", "test eax, eax"),
	tinyelf.In("", "\x75", "report", "jnz"),
	tinyelf.In("zero", "\x48\x8b\x5b\x40", "", "mov rbx, qword ptr [rbx+0x40]"),
	tinyelf.In("again", "\xeb", "run", "jmp"),

	// An errno with a bit in Ignore: go on with Ignored.
	tinyelf.In("error", "\xf7\xd8", "", "neg eax"),
	tinyelf.In("", "\x83\xf8\x3f", "", "cmp eax, 0x3f"),
	tinyelf.In("", "\x77", "report", "jnbe"),
	tinyelf.In("", "\x48\x8b\x4b\x58", "", "mov rcx, qword ptr [rbx+0x58]"),
	tinyelf.In("", "\x48\x0f\xa3\xc1", "", "bt rcx, rax"),
	tinyelf.In("", "\x73", "report", "jnb"),
	tinyelf.In("", "\x48\x8b\x5b\x50", "", "mov rbx, qword ptr [rbx+0x50]"),
	tinyelf.In("", "\xeb", "again", "jmp"),

	// Any other completes the record, whose address the report's cell is given; go on with Failed.
	tinyelf.In("report", "\x89\x43\x7c", "", "mov dword ptr [rbx+0x7c], eax"),
	tinyelf.In("", "\x48\x8d\x4b\x70", "", "lea rcx, ptr [rbx+0x70]"),
	tinyelf.In("", "\x89\x0c\x25\x00\x00\x41\x00", "", "mov dword ptr [0x410000], ecx"),
	tinyelf.In("", "\x48\x8b\x5b\x68", "", "mov rbx, qword ptr [rbx+0x68]"),
	tinyelf.In("", "\xeb", "again", "jmp"),
}
