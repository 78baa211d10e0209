package vmtest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Bare is a machine that has an initramfs and nothing else: no tests run in it,
// and what its init says on the serial line is all that is heard of it.
type Bare struct {
	kernel, initrd string
}

// NewBare writes the files into an initramfs in dir, for the kernel that every
// machine has, see findKernel. One Bare boots any number of times.
func NewBare(dir string, files []File) (*Bare, error) {
	k, err := findKernel()
	if err != nil {
		return nil, err
	}
	b := &Bare{kernel: k.image, initrd: filepath.Join(dir, "initrd")}
	return b, writeInitramfs(b.initrd, files)
}

// Boot runs the machine until it powers itself off or ctx ends, and gives what
// was said on its serial line. Cmdline is added to the kernel's command line,
// options to QEMU's: -smp and -accel are among them.
func (b *Bare) Boot(ctx context.Context, cmdline string, options ...string) (string, error) {
	machine := exec.CommandContext(ctx, qemu, append([]string{
		"-cpu", "max,-cx16", "-machine", "q35", "-m", "512", "-no-reboot", "-nodefaults", "-display", "none", "-serial", "stdio",
		"-kernel", b.kernel, "-initrd", b.initrd, "-append", strings.TrimSpace("console=ttyS0 quiet panic=-1 " + cmdline)}, options...)...)
	out, err := machine.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("the machine did not power off: %w", ctx.Err())
	}
	return strings.ReplaceAll(string(out), "\r", ""), err
}

// KernelRelease names the kernel that the machines boot, as uname -r does.
func KernelRelease() (string, error) {
	k, err := findKernel()
	return filepath.Base(k.modules), err
}
