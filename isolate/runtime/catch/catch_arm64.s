#include "textflag.h"

// The kernel calls this with the signal in R0, on the signal stack of a thread, and
// saves and restores all registers (arch/arm64/kernel/signal.c). The link register
// leads to the vDSO's rt_sigreturn.
TEXT handler(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	SUB	$16, RSP
	MOVB	R0, (RSP)
	MOVW	·fd(SB), R0
	MOVD	RSP, R1
	MOVD	$1, R2
	MOVD	$64, R8 // write
	SVC
	ADD	$16, RSP
	RET

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVD	$handler(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	MOVD	ZR, ret+0(FP)
	RET
