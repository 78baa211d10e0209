// Package octal undoes how the kernel and fstab(5) write paths in tables whose
// columns are set apart by white space: mountinfo, /proc/swaps, /etc/fstab.
package octal

import (
	"strconv"
	"strings"
)

// Unescape turns each backslash with three octal digits behind it to the byte
// that they name (proc_pid_mountinfo(5), getmntent(3)). All else stays as it is.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
