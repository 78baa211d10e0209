package isolate

import "golang.org/x/sys/unix"

var mkdirNumbers = []uint32{unix.SYS_MKDIRAT}
