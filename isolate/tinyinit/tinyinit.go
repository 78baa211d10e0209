// Package tinyinit is the minimal init that stays at PID 1 of a container whose
// unit asks for one (service.init, isolate.Spec.Init): a static executable of
// about 300 bytes, made here of machine instructions, and the sealed memory
// file it is executed from. Nothing of berth's own executable is then mapped or
// reachable inside the container.
//
// # Contract
//
// The image is executed as PID 1 of a new PID namespace by a process
//   - that has all signals blocked; the mask survives the execution. Blocked
//     signals reach even PID 1 of a namespace, which otherwise loses those
//     without a handler (sig_task_ignored in kernel/signal.c);
//   - that does not ignore SIGCHLD, which would survive too, and have the kernel
//     discard exit statuses;
//   - whose only child so far is the service, with PID 2 and SIGCHLD as its
//     exit signal.
//
// It reaps every child; hands every signal but SIGCHLD on to PID 2; and when
// PID 2 has ended, exits, upon which the kernel kills what is left in the
// namespace. Its exit status is that of PID 2, or 128 + n if signal n killed it,
// or StatusLost if it finds that it has no child at all. It needs no file,
// no environment and, beside its stack, no writable memory.
package tinyinit

import (
	"fmt"
	"os"
	"runtime"

	"berth/isolate/tinyelf"
)

// StatusLost is the exit status of an init that has no child and has not seen
// PID 2 end: the contract was broken.
const StatusLost = 255

// SignalBase is what is added to the number of the signal that ended PID 2.
const SignalBase = 128

// fileName is what /proc/1/exe shows, as "/memfd:berth-init (deleted)".
const fileName = "berth-init"

// images are the executables by GOARCH.
var images = map[string]func() []byte{
	"amd64": func() []byte { return tinyelf.X86_64.Executable(tinyelf.X86_64.Link(instructionsX86_64), 0) },
	"arm64": func() []byte { return tinyelf.AArch64.Executable(tinyelf.AArch64.Link(instructionsAArch64), 0) },
}

// Image gives the executable for this program's architecture, amd64 or arm64;
// nil for others. The slice is the caller's.
func Image() []byte {
	if image, ok := images[runtime.GOARCH]; ok {
		return image()
	}
	return nil
}

// MemFD makes a memory file that holds the image, executable, close-on-exec and
// sealed: nobody, root in the container included, can write, grow or shrink it,
// or undo that (fcntl(2), F_ADD_SEALS). One such file serves any number of
// containers; the caller owns it and closes it. It is executed by
// execveat(fd, "", AT_EMPTY_PATH).
func MemFD() (*os.File, error) {
	image := Image()
	if image == nil {
		return nil, fmt.Errorf("cannot make the container's init: not supported on %s", runtime.GOARCH)
	}
	fd, err := tinyelf.MemFD(fileName, image, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot make the container's init: %w", err)
	}
	return os.NewFile(uintptr(fd), fileName), nil
}
