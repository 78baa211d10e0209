package seccomp

import (
	"runtime"
	"slices"
	"strings"
)

// builtInCaps are the capabilities that rules of the default profile ask for:
// without any of them, and without lists, its filter is the one in builtIn. The
// profile asks for no kernel that is newer than what berth needs (5.15). Tests
// hold both to the profile; go test -update writes the filters anew.
var builtInCaps = []string{
	"CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT",
	"CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG",
}

// CompileDefault is Compile of Default. The filter that most services get is
// part of the program: reading and compiling the profile takes longer than
// starting a service.
func (c *Cache) CompileDefault(o Options) (filter []byte, flags uint32, err error) {
	if o.isBuiltIn() {
		return builtIn, 0, nil
	}
	return c.Compile(Default(), o)
}

// isBuiltIn tells whether builtIn is the default profile's filter for o.
func (o Options) isBuiltIn() bool {
	if o.Arch != "" && o.Arch != runtime.GOARCH || o.Kernel != (KernelVersion{}) || len(o.Deny)+len(o.Allow) > 0 {
		return false
	}
	return !slices.ContainsFunc(o.Caps, func(c string) bool {
		return slices.Contains(builtInCaps, "CAP_"+strings.TrimPrefix(strings.ToUpper(c), "CAP_"))
	})
}
