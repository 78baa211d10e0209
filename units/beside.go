package units

import (
	"path"
	"strings"
)

// besideFile tells whether s is a path beside the unit file, "./nginx.conf",
// where such a path may stand: in the keys that name something on the host.
// Package config puts the directory of the unit file in place of the dot.
func besideFile(key, s string) bool {
	switch key {
	case "mount[].source", "rootfs.path", "rootfs.layers", "service.environment-files", "security.seccomp", "path.changed":
		return strings.HasPrefix(s, "./")
	}
	return false
}

// shortest gives a path in its shortest form; the leading "./" of a path beside
// the unit file stays.
func shortest(s string) string {
	if rest, ok := strings.CutPrefix(s, "./"); ok {
		return "./" + path.Clean(rest)
	}
	return path.Clean(s)
}
