package switchroot

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/supervisor/machine/blkid"
)

type found = blkid.Device

// deviceName gives a source as package blkid looks for it: a path or a tag, or
// MAJOR:MINOR as a path. What is no block device is refused.
func deviceName(source string) (string, error) {
	if strings.Contains(source, "/PARTNROFF=") {
		return "", fmt.Errorf("PARTNROFF= is not covered; name the partition itself")
	}
	if _, ok := blkid.ParseTag(source); ok {
		return source, nil
	}
	if strings.HasPrefix(source, "/dev/") && source != "/dev/nfs" {
		return source, nil
	}
	major, minor, ok := strings.Cut(source, ":")
	_, err := strconv.ParseUint(major, 10, 12)
	_, err2 := strconv.ParseUint(minor, 10, 20)
	if ok && err == nil && err2 == nil {
		link, err := os.Readlink("/sys/dev/block/" + source)
		if err != nil {
			return "", fmt.Errorf("there is no such device: %w", err)
		}
		return "/dev/" + strings.ReplaceAll(filepath.Base(link), "!", "/"), nil
	}
	return "", fmt.Errorf("it is no block device; write /dev/…, UUID=, LABEL=, PARTUUID=, PARTLABEL= or MAJOR:MINOR, or add rootfstype=virtiofs or 9p")
}
