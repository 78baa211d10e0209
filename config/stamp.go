package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// stamp writes one line about the file that path leads to: its identity and
// what the kernel changes on every write.
func stamp(b *strings.Builder, path string) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		fmt.Fprintf(b, "%q %v\n", path, err)
		return
	}
	fmt.Fprintf(b, "%q %d:%d %o %d:%d %d %d.%d %d.%d\n", path, st.Dev, st.Ino, st.Mode, st.Uid, st.Gid, st.Size,
		st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
}

func sortLines(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// gone tells whether a path vanished, or stopped being a directory, while it was
// looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
