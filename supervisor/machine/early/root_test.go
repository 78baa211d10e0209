package early

import "testing"

func TestIsRootfs(t *testing.T) {
	for text, want := range map[string]bool{
		"1 1 0:2 / / rw - rootfs rootfs rw\n18 1 0:17 / /proc rw,relatime - proc proc rw\n": true,
		"24 1 0:2 / / rw - rootfs rootfs rw\n":                                              false, // after leaveInitramfs
		"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n":                         false,
		"1 1 0:2 / /x rw - rootfs rootfs rw\n":                                              false,
		"1 1":                                                                               false,
		"":                                                                                  false,
		"\x00":                                                                              false,
	} {
		if got := isRootfs([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
