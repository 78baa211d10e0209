package isolate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// hostSystemDirs are the directories that make up the host's system: what is
// mounted on or below them belongs to the root that a container sees.
var hostSystemDirs = []string{"/usr", "/etc", "/opt", "/srv", "/var", "/bin", "/sbin", "/lib"}

// hostFSTypes are the file systems that hold a system's own files. Others below
// the directories above are somebody's: tmpfs with secrets, overlays of other
// containers, automounts.
var hostFSTypes = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "erofs", "squashfs", "nfs", "nfs4", "9p", "virtiofs", "vfat", "iso9660"}

// hostMaskDirs and hostMaskFiles are the private paths of the host that a
// container on the host's root does not see. Files are patterns.
var (
	hostMaskDirs  = []string{"/root", "/home", "/boot", "/lost+found", "/etc/ssl/private", "/var/lib/berth"}
	hostMaskFiles = []string{"/etc/shadow*", "/etc/gshadow*", "/etc/ssh/ssh_host_*_key"}
	hostTmpDirs   = []string{"/tmp", "/var/tmp", "/run", "/var/run"}
)

func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func belowAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return below(p, d) })
}

// cloneHostMounts clones the mounts of the host that belong to its system, read-only.
func (pr *Prepared) cloneHostMounts(d hostMountsData) error {
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		p := m.Mountpoint
		system := belowAny(p, hostSystemDirs) || strings.HasPrefix(p, "/lib")
		top := slices.Contains(hostSystemDirs, p)
		return !system || belowAny(p, hostTmpDirs) || belowAny(p, hostMaskDirs) || !top && !slices.Contains(hostFSTypes, m.FSType), false
	})
	if err != nil {
		return err
	}
	var points []string
	for _, m := range infos {
		points = append(points, m.Mountpoint)
	}
	slices.Sort(points)
	for _, p := range slices.Compact(points) {
		fd, err := unix.OpenTree(unix.AT_FDCWD, p, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err == unix.ENOENT || err == unix.EACCES {
			continue // hidden below another mount, or gone meanwhile
		}
		if fd, err = pr.own(fd, err); err != nil {
			return err
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return err
		}
		if d.userNS != program.None {
			// One that cannot be mapped is read by what its mode allows to others.
			if err := setIDMap(fd, int(pr.regs[d.userNS]), unix.AT_EMPTY_PATH); err != nil && err != unix.EINVAL {
				return err
			}
		}
		list := &pr.lists[d.list-1]
		*list = append(*list, listItem{path: p, fd: int32(fd)})
	}
	return nil
}

// findKernelMounts lists the proc and sysfs file systems that are mounted, what
// is mounted last first.
func (pr *Prepared) findKernelMounts(d kernelMountsData) error {
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "proc" && m.FSType != "sysfs", false
	})
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(infos) {
		pr.lists[d.list-1] = append(pr.lists[d.list-1], listItem{path: m.Mountpoint, fd: -1})
	}
	return nil
}

// otherMounts gives the topmost mount points of the host that are neither its
// system nor covered by what a container has there of its own.
func otherMounts() ([]string, error) {
	covered := append([]string{"/proc", "/sys", "/dev"}, hostTmpDirs...)
	covered = append(covered, hostMaskDirs...)
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		p := m.Mountpoint
		system := (belowAny(p, hostSystemDirs) || strings.HasPrefix(p, "/lib")) && (slices.Contains(hostSystemDirs, p) || slices.Contains(hostFSTypes, m.FSType))
		return p == "/" || system || belowAny(p, covered), false
	})
	if err != nil {
		return nil, err
	}
	var points []string
	for _, m := range infos {
		points = append(points, m.Mountpoint)
	}
	slices.Sort(points)
	var out []string
	for _, p := range slices.Compact(points) {
		if !belowAny(p, out) {
			out = append(out, p)
		}
	}
	return out, nil
}

// findHostMasks sees which of the private paths there are. What the root shows
// is the host's own file system, so links on it are the administrator's.
func (pr *Prepared) findHostMasks(d hostMasksData) error {
	for _, p := range hostMaskDirs {
		if st, err := os.Stat(p); err == nil && st.IsDir() {
			pr.lists[d.dirs-1] = append(pr.lists[d.dirs-1], listItem{path: p, fd: -1})
		}
	}
	for _, pattern := range hostMaskFiles {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, p := range files {
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
				pr.lists[d.files-1] = append(pr.lists[d.files-1], listItem{path: p, fd: -1})
			}
		}
	}
	return nil
}
