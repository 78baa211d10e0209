package tail

import "berth/isolate/tinyelf"

// x19 holds the address of the operation, whose fields are named in comments. A
// system call takes its number in x8 and arguments in x0 to x5, gives the result
// in x0, and keeps all other registers (syscall(2)).
var instructionsAArch64 = []tinyelf.Instruction{
	// The address of the first operation.
	tinyelf.In("", tinyelf.Word(0x52a00833), "", "mov w19, #0x410000"),
	tinyelf.In("", tinyelf.Word(0x321c0273), "", "orr w19, w19, #0x10"),

	// Operation.Nr: less than zero is a look at a wait status.
	tinyelf.In("run", tinyelf.Word(0xf9400268), "", "ldr x8, [x19]"),
	tinyelf.In("", tinyelf.Word(0xf100011f), "", "cmp x8, #0x0"),
	tinyelf.In("", tinyelf.Word(0x5400000b), "status", "b.lt"),

	// Its six arguments.
	tinyelf.In("", tinyelf.Word(0xa9408660), "", "ldp x0, x1, [x19,#8]"),
	tinyelf.In("", tinyelf.Word(0xa9418e62), "", "ldp x2, x3, [x19,#24]"),
	tinyelf.In("", tinyelf.Word(0xa9429664), "", "ldp x4, x5, [x19,#40]"),

	// Of the first three, those with a bit in Cells are where the argument lies.
	tinyelf.In("", tinyelf.Word(0xf9401e69), "", "ldr x9, [x19,#56]"),
	tinyelf.In("", tinyelf.Word(0xf240013f), "", "tst x9, #0x1"),
	tinyelf.In("", tinyelf.Word(0x54000000), "second", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xb9400000), "", "ldr w0, [x0]"),
	tinyelf.In("second", tinyelf.Word(0xf27f013f), "", "tst x9, #0x2"),
	tinyelf.In("", tinyelf.Word(0x54000000), "third", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xb9400021), "", "ldr w1, [x1]"),
	tinyelf.In("third", tinyelf.Word(0xf27e013f), "", "tst x9, #0x4"),
	tinyelf.In("", tinyelf.Word(0x54000000), "call", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xb9400042), "", "ldr w2, [x2]"),
	tinyelf.In("call", tinyelf.Word(0xd4000001), "", "svc #0x0"),
	tinyelf.In("", tinyelf.Word(0xb100101f), "", "cmn x0, #0x4"),
	tinyelf.In("", tinyelf.Word(0x54000000), "run", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xb13ffc1f), "", "cmn x0, #0xfff"),
	tinyelf.In("", tinyelf.Word(0x54000002), "error", "b.cs"),

	// Store takes the result, if it is set.
	tinyelf.In("", tinyelf.Word(0xf9403269), "", "ldr x9, [x19,#96]"),
	tinyelf.In("", tinyelf.Word(0xb4000009), "stored", "cbz x9"),
	tinyelf.In("", tinyelf.Word(0xb9000120), "", "str w0, [x9]"),

	// Go on with More or Zero.
	tinyelf.In("stored", tinyelf.Word(0xb4000000), "zero", "cbz x0"),
	tinyelf.In("", tinyelf.Word(0xf9402673), "", "ldr x19, [x19,#72]"),
	tinyelf.In("", tinyelf.Word(0x14000000), "run", "b"),

	// The wait status must be zero.
	tinyelf.In("status", tinyelf.Word(0xf9400669), "", "ldr x9, [x19,#8]"),
	tinyelf.In("", tinyelf.Word(0xb9400120), "", "ldr w0, [x9]"),
	tinyelf.In("", tinyelf.Word(0x35000000), "report", "cbnz w0"),
	tinyelf.In("zero", tinyelf.Word(0xf9402273), "", "ldr x19, [x19,#64]"),
	tinyelf.In("", tinyelf.Word(0x14000000), "run", "b"),

	// An errno with a bit in Ignore: go on with Ignored.
	tinyelf.In("error", tinyelf.Word(0x4b0003e0), "", "neg w0, w0"),
	tinyelf.In("", tinyelf.Word(0x7100fc1f), "", "cmp w0, #0x3f"),
	tinyelf.In("", tinyelf.Word(0x54000008), "report", "b.hi"),
	tinyelf.In("", tinyelf.Word(0xf9402e69), "", "ldr x9, [x19,#88]"),
	tinyelf.In("", tinyelf.Word(0x9ac02529), "", "lsr x9, x9, x0"),
	tinyelf.In("", tinyelf.Word(0xf240013f), "", "tst x9, #0x1"),
	tinyelf.In("", tinyelf.Word(0x54000000), "report", "b.eq"),
	tinyelf.In("", tinyelf.Word(0xf9402a73), "", "ldr x19, [x19,#80]"),
	tinyelf.In("", tinyelf.Word(0x14000000), "run", "b"),

	// Any other completes the record, whose address the report's cell is given; go on with Failed.
	tinyelf.In("report", tinyelf.Word(0xb9007e60), "", "str w0, [x19,#124]"),
	tinyelf.In("", tinyelf.Word(0x9101c269), "", "add x9, x19, #0x70"),
	tinyelf.In("", tinyelf.Word(0x52a0082a), "", "mov w10, #0x410000"),
	tinyelf.In("", tinyelf.Word(0xb9000149), "", "str w9, [x10]"),
	tinyelf.In("", tinyelf.Word(0xf9403673), "", "ldr x19, [x19,#104]"),
	tinyelf.In("", tinyelf.Word(0x14000000), "run", "b"),
}
