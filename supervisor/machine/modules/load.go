package modules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"

	"berth/supervisor/machine/conf"

	"golang.org/x/sys/unix"
)

// compressions are the suffixes of module files: how the kernel names each in
// /sys/module/compression (Linux 6.0), and the tool that undoes it.
var compressions = map[string]struct{ kernel, tool string }{
	".gz":  {"gzip", "gzip"},
	".xz":  {"xz", "xz"},
	".zst": {"zstd", "zstd"},
}

// load gives one module file to the kernel. One that is there already is fine.
func load(ctx context.Context, root *conf.Root, file, params string) error {
	f, err := root.Open(file, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	how, compressed := compressions[path.Ext(file)]
	switch {
	case !compressed:
		err = unix.FinitModule(int(f.Fd()), params, 0)
	case kernelDecompresses(how.kernel):
		err = unix.FinitModule(int(f.Fd()), params, unix.MODULE_INIT_COMPRESSED_FILE)
	default:
		var image []byte
		if image, err = decompress(ctx, f, how.tool); err == nil {
			err = unix.InitModule(image, params)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func kernelDecompresses(kind string) bool {
	has, err := os.ReadFile("/sys/module/compression")
	return err == nil && strings.TrimSpace(string(has)) == kind
}

// decompress undoes what the kernel cannot, by the tool for it: the daemon has no
// room for what hardly any machine needs.
func decompress(ctx context.Context, f *os.File, tool string) ([]byte, error) {
	program := ""
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"} {
		if info, err := os.Stat(dir + "/" + tool); err == nil && info.Mode().IsRegular() {
			program = dir + "/" + tool
			break
		}
	}
	if program == "" {
		return nil, &compressedError{tool}
	}
	// The supervisor may run programs itself: it is not the reaper, whose wait for
	// all children must see no others' (reaper's doc.go).
	cmd := exec.CommandContext(ctx, program, "-dc")
	var image, says bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &image, &says
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(says.String()))
	}
	return image.Bytes(), nil
}

// compressedError is a file that neither the kernel nor a program here can read.
type compressedError struct{ tool string }

func (e *compressedError) Error() string {
	return "the kernel cannot decompress it (no CONFIG_MODULE_DECOMPRESS for " + e.tool + "), and there is no program " + e.tool
}

// hint tells what to try after a failure of load.
func hint(err error) string {
	var compressed *compressedError
	switch {
	case errors.As(err, &compressed):
		return "decompress the modules in the image and run depmod, or install " + compressed.tool
	case errors.Is(err, fs.ErrNotExist):
		return "it or one that it needs is missing, or was built for another kernel: run depmod, see dmesg"
	case errors.Is(err, unix.ENOEXEC):
		return "it was built for another kernel, see dmesg"
	case errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.ENOKEY):
		return "the kernel takes signed modules only"
	case errors.Is(err, unix.EINVAL):
		return "look at its parameters, see dmesg"
	case errors.Is(err, unix.EPERM):
		return "the kernel forbids it: module_blacklist=, lockdown or kernel.modules_disabled"
	}
	return ""
}

// loaded tells whether the kernel has a module, built in or loaded.
func loaded(module string) bool {
	dir := "/sys/module/" + module
	state, err := os.ReadFile(dir + "/initstate")
	if err == nil {
		return strings.TrimSpace(string(state)) == "live"
	}
	_, err = os.Stat(dir)
	return err == nil
}
