package logs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// writev is writev(2) with vectors that lie outside the Go heap.
func writev(fd int, iovs []unix.Iovec) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iovs))), uintptr(len(iovs)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// advance drops the first n bytes of vectors.
func advance(iovs []unix.Iovec, n int) []unix.Iovec {
	for len(iovs) > 0 && n >= int(iovs[0].Len) {
		n -= int(iovs[0].Len)
		iovs = iovs[1:]
	}
	if n > 0 {
		skipBytes(&iovs[0], n)
	}
	return iovs
}

// skipBytes drops the first n bytes of a vector, which has as many.
func skipBytes(v *unix.Iovec, n int) {
	v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
	v.SetLen(int(v.Len) - n)
}
