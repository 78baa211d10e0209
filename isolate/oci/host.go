package oci

import (
	"bytes"
	"fmt"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
)

// Host is what a machine and the starter can grant. The capabilities are bit
// masks over the numbers of capability(7).
type Host struct {
	Capabilities        uint64      // those that the kernel has
	Bounding, Permitted uint64      // those of the starter
	SELinux             func() bool // tells whether the kernel runs with SELinux; nil: it does not
}

// ThisHost asks the kernel.
func ThisHost() (*Host, error) {
	h := &Host{}
	last, err := capability.LastCap()
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the kernel's capabilities: %w", err)
	}
	h.Capabilities = 1<<(uint(last)+1) - 1
	for n := range uint(last) + 1 {
		if set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && set == 1 {
			h.Bounding |= 1 << n
		}
	}
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return nil, fmt.Errorf("cannot ask for this process's capabilities: %w", err)
	}
	h.Permitted = uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	h.SELinux = hasSELinux
	return h, nil
}

// hasSELinux tells whether the kernel has registered its file system, which it does
// only when SELinux was not disabled at boot.
func hasSELinux() bool {
	types, err := rawfile.Read("/proc/filesystems")
	return err == nil && bytes.Contains(types, []byte("\tselinuxfs\n"))
}
