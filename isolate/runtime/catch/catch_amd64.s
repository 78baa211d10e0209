#include "textflag.h"

// The kernel calls this with the signal in DI, on the signal stack of a thread, and
// saves and restores all registers (arch/x86/kernel/signal_64.c).
TEXT handler(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	PUSHQ	DI
	MOVL	·fd(SB), DI
	MOVQ	SP, SI
	MOVL	$1, DX
	MOVL	$1, AX // write
	SYSCALL
	POPQ	DI
	RET

TEXT restorer(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL	$15, AX // rt_sigreturn
	SYSCALL
	INT	$3

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVQ	$handler(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	MOVQ	$restorer(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
