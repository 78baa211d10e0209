package tmpfiles

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"berth/supervisor/machine/conf"

	"golang.org/x/sys/unix"
)

// fixed are specifiers that do not depend on the machine.
var fixed = map[byte]string{
	't': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'T': "/tmp", 'V': "/var/tmp",
	'h': "/root", 'u': "root", 'U': "0", 'g': "root", 'G': "0",
}

// release are those that stand for a key of os-release(5).
var release = map[byte]string{'o': "ID", 'w': "VERSION_ID", 'B': "BUILD_ID", 'W': "VARIANT_ID", 'A': "IMAGE_VERSION", 'M': "IMAGE_ID"}

// architectures are systemd's names (systemd.unit(5), ConditionArchitecture=)
// where they differ from Go's.
var architectures = map[string]string{"amd64": "x86-64", "386": "x86", "loong64": "loongarch64", "ppc64le": "ppc64-le"}

// specifiers gives what stands for a letter after "%" on a machine.
func specifiers(root *conf.Root) func(byte) (string, error) {
	file := func(path, what string) (string, error) {
		text, err := root.ReadFile(path, 64<<10)
		if text = strings.TrimSpace(text); err == nil && text == "" {
			err = fmt.Errorf("%s is empty", path)
		}
		if err != nil {
			return "", fmt.Errorf("cannot tell %s: %w", what, err)
		}
		return text, nil
	}
	return func(letter byte) (string, error) {
		if text, ok := fixed[letter]; ok {
			return text, nil
		}
		if key, ok := release[letter]; ok {
			return osRelease(root, key), nil
		}
		switch letter {
		case 'm':
			return file("/etc/machine-id", "the machine's id")
		case 'b':
			id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
			return strings.ReplaceAll(strings.TrimSpace(string(id)), "-", ""), err
		case 'H', 'l', 'v':
			var u unix.Utsname
			if err := unix.Uname(&u); err != nil {
				return "", err
			}
			name := unix.ByteSliceToString(u.Nodename[:])
			switch letter {
			case 'v':
				return unix.ByteSliceToString(u.Release[:]), nil
			case 'l':
				name, _, _ = strings.Cut(name, ".")
			}
			return name, nil
		case 'a':
			if name := architectures[runtime.GOARCH]; name != "" {
				return name, nil
			}
			return runtime.GOARCH, nil
		}
		return "", fmt.Errorf("nothing stands for %%%c; write a percent sign as %%%%", letter)
	}
}

// osRelease gives a key of os-release(5), "" if it is not there.
func osRelease(root *conf.Root, key string) string {
	text, err := root.ReadFile("/etc/os-release", 64<<10)
	if err != nil {
		text, _ = root.ReadFile("/usr/lib/os-release", 64<<10) // one of them
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return strings.Trim(value, "\"'")
		}
	}
	return ""
}
