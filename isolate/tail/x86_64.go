package tail

import "berth/isolate/tinyelf"

// rbx holds the address of the operation, whose fields are named in comments.
// A system call takes its number in rax and arguments in rdi, rsi, rdx, r10, r8
// and r9, gives the result in rax, and destroys rcx and r11 only (syscall(2)).
var instructionsX86_64 = []tinyelf.Instruction{
	// The address of the first operation.
	tinyelf.In("", []byte{0xbb, 0x10, 0x00, 0x41, 0x00}, "", "mov ebx, 0x410010"),

	// Operation.Nr: less than zero is a look at a wait status.
	tinyelf.In("run", []byte{0x48, 0x8b, 0x03}, "", "mov rax, qword ptr [rbx]"),
	tinyelf.In("", []byte{0x48, 0x85, 0xc0}, "", "test rax, rax"),
	tinyelf.In("", []byte{0x78}, "status", "js"),

	// Its six arguments.
	tinyelf.In("", []byte{0x48, 0x8b, 0x7b, 0x08}, "", "mov rdi, qword ptr [rbx+0x8]"),
	tinyelf.In("", []byte{0x48, 0x8b, 0x73, 0x10}, "", "mov rsi, qword ptr [rbx+0x10]"),
	tinyelf.In("", []byte{0x48, 0x8b, 0x53, 0x18}, "", "mov rdx, qword ptr [rbx+0x18]"),
	tinyelf.In("", []byte{0x4c, 0x8b, 0x53, 0x20}, "", "mov r10, qword ptr [rbx+0x20]"),
	tinyelf.In("", []byte{0x4c, 0x8b, 0x43, 0x28}, "", "mov r8, qword ptr [rbx+0x28]"),
	tinyelf.In("", []byte{0x4c, 0x8b, 0x4b, 0x30}, "", "mov r9, qword ptr [rbx+0x30]"),

	// Of the first three, those with a bit in Cells are where the argument lies.
	tinyelf.In("", []byte{0x48, 0x8b, 0x4b, 0x38}, "", "mov rcx, qword ptr [rbx+0x38]"),
	tinyelf.In("", []byte{0xf6, 0xc1, 0x01}, "", "test cl, 0x1"),
	tinyelf.In("", []byte{0x74}, "second", "jz"),
	tinyelf.In("", []byte{0x8b, 0x3f}, "", "mov edi, dword ptr [rdi]"),
	tinyelf.In("second", []byte{0xf6, 0xc1, 0x02}, "", "test cl, 0x2"),
	tinyelf.In("", []byte{0x74}, "third", "jz"),
	tinyelf.In("", []byte{0x8b, 0x36}, "", "mov esi, dword ptr [rsi]"),
	tinyelf.In("third", []byte{0xf6, 0xc1, 0x04}, "", "test cl, 0x4"),
	tinyelf.In("", []byte{0x74}, "call", "jz"),
	tinyelf.In("", []byte{0x8b, 0x12}, "", "mov edx, dword ptr [rdx]"),
	tinyelf.In("call", []byte{0x0f, 0x05}, "", "syscall"),
	tinyelf.In("", []byte{0x48, 0x83, 0xf8, 0xfc}, "", "cmp rax, -0x4"),
	tinyelf.In("", []byte{0x74}, "run", "jz"),
	tinyelf.In("", []byte{0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff}, "", "cmp rax, -0xfff"),
	tinyelf.In("", []byte{0x73}, "error", "jnb"),

	// Store takes the result, if it is set.
	tinyelf.In("", []byte{0x48, 0x8b, 0x4b, 0x60}, "", "mov rcx, qword ptr [rbx+0x60]"),
	tinyelf.In("", []byte{0x48, 0x85, 0xc9}, "", "test rcx, rcx"),
	tinyelf.In("", []byte{0x74}, "stored", "jz"),
	tinyelf.In("", []byte{0x89, 0x01}, "", "mov dword ptr [rcx], eax"),

	// Go on with More or Zero.
	tinyelf.In("stored", []byte{0x48, 0x85, 0xc0}, "", "test rax, rax"),
	tinyelf.In("", []byte{0x74}, "zero", "jz"),
	tinyelf.In("", []byte{0x48, 0x8b, 0x5b, 0x48}, "", "mov rbx, qword ptr [rbx+0x48]"),
	tinyelf.In("", []byte{0xeb}, "run", "jmp"),

	// The wait status must be zero.
	tinyelf.In("status", []byte{0x48, 0x8b, 0x4b, 0x08}, "", "mov rcx, qword ptr [rbx+0x8]"),
	tinyelf.In("", []byte{0x8b, 0x01}, "", "mov eax, dword ptr [rcx]"),
	tinyelf.In("", []byte{0x85, 0xc0}, "", "test eax, eax"),
	tinyelf.In("", []byte{0x75}, "report", "jnz"),
	tinyelf.In("zero", []byte{0x48, 0x8b, 0x5b, 0x40}, "", "mov rbx, qword ptr [rbx+0x40]"),
	tinyelf.In("again", []byte{0xeb}, "run", "jmp"),

	// An errno with a bit in Ignore: go on with Ignored.
	tinyelf.In("error", []byte{0xf7, 0xd8}, "", "neg eax"),
	tinyelf.In("", []byte{0x83, 0xf8, 0x3f}, "", "cmp eax, 0x3f"),
	tinyelf.In("", []byte{0x77}, "report", "jnbe"),
	tinyelf.In("", []byte{0x48, 0x8b, 0x4b, 0x58}, "", "mov rcx, qword ptr [rbx+0x58]"),
	tinyelf.In("", []byte{0x48, 0x0f, 0xa3, 0xc1}, "", "bt rcx, rax"),
	tinyelf.In("", []byte{0x73}, "report", "jnb"),
	tinyelf.In("", []byte{0x48, 0x8b, 0x5b, 0x50}, "", "mov rbx, qword ptr [rbx+0x50]"),
	tinyelf.In("", []byte{0xeb}, "again", "jmp"),

	// Any other completes the record, whose address the report's cell is given; go on with Failed.
	tinyelf.In("report", []byte{0x89, 0x43, 0x7c}, "", "mov dword ptr [rbx+0x7c], eax"),
	tinyelf.In("", []byte{0x48, 0x8d, 0x4b, 0x70}, "", "lea rcx, ptr [rbx+0x70]"),
	tinyelf.In("", []byte{0x89, 0x0c, 0x25, 0x00, 0x00, 0x41, 0x00}, "", "mov dword ptr [0x410000], ecx"),
	tinyelf.In("", []byte{0x48, 0x8b, 0x5b, 0x68}, "", "mov rbx, qword ptr [rbx+0x68]"),
	tinyelf.In("", []byte{0xeb}, "again", "jmp"),
}
