package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ModprobeName is what berthd is called when the kernel starts it for a module.
const ModprobeName = "modprobe"

// modprobeSetting is the program that the kernel starts when it needs a module by
// itself: for a file system that is mounted, a protocol, a kind of interface
// (Documentation/admin-guide/sysctl/kernel.rst, modprobe).
const modprobeSetting = "/proc/sys/kernel/modprobe"

// answerKernel has the kernel start berthd for modules where the program that it
// would start is not there: an image without kmod, whose containers would have no
// virtual network otherwise. A link in the runtime directory tells it apart.
func (b *Boot) answerKernel() error {
	now, err := os.ReadFile(modprobeSetting)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without modules
	}
	if err != nil {
		return err
	}
	link := filepath.Join(b.RuntimeDir, ModprobeName)
	program := strings.TrimSpace(string(now))
	if program == "" || program != link && unix.Access(program, unix.X_OK) == nil {
		return nil // switched off, or there
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	_ = os.Remove(link) // of a berthd in an initramfs
	if err := os.Symlink(self, link); err != nil {
		return fmt.Errorf("cannot answer the kernel when it asks for modules: %w", err)
	}
	return os.WriteFile(modprobeSetting, []byte(link), 0)
}
