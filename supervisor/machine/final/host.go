package final

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"berth/isolate/octal"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Host is what is mounted and in use on a machine.
type Host struct {
	Mounts  []Mount  // in the order of /proc/self/mountinfo
	Swaps   []string // device or file
	Devices []Device // those that can be detached
}

// Mount is a line of proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent int
	Device     string // "8:1", of the block device where it has one
	Point      string
	Type       string
	Super      string // options of the file system, as in "rw,errors=remount-ro"
}

// Device is a block device that is made of something else.
type Device struct {
	Name    string   // as in /sys/block: loop0, dm-0, md127
	Label   string   // of a dm device: its name for device-mapper
	Numbers []string // "7:0", its own first, then those of its partitions
	Parts   []string // names of its partitions
	Under   []string // names of the devices or partitions that it is made of
	File    string   // of a loop device: the file that it is made of
}

// The kinds of devices that can be detached.
func isLoop(name string) bool { return numbered(name, "loop") }
func isDM(name string) bool   { return numbered(name, "dm-") }
func isMD(name string) bool   { return strings.HasPrefix(name, "md") }

func numbered(name, prefix string) bool {
	n, ok := strings.CutPrefix(name, prefix)
	_, err := strconv.Atoi(n)
	return ok && err == nil
}

// look tells what there is. What cannot be read is missing in the answer, and
// told by the error.
func look() (Host, error) {
	var h Host
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil {
		h.Mounts, err = parseMounts(text)
	}
	for i := range h.Mounts {
		h.Mounts[i].resolve()
	}
	if text, swapErr := os.ReadFile("/proc/swaps"); swapErr == nil {
		h.Swaps = parseSwaps(string(text))
	}
	h.Devices = devices("/sys/block")
	return h, err
}

// parseMounts reads a mountinfo.
func parseMounts(text []byte) ([]Mount, error) {
	infos, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), nil)
	out := make([]Mount, 0, len(infos))
	for _, m := range infos {
		device := strconv.Itoa(m.Major) + ":" + strconv.Itoa(m.Minor)
		if m.Major == 0 && strings.HasPrefix(m.Source, "/dev/") {
			device = m.Source // of a file system on several devices: resolve looks
		}
		out = append(out, Mount{ID: m.ID, Parent: m.Parent, Device: device, Point: m.Mountpoint, Type: m.FSType, Super: m.VFSOptions})
	}
	return out, err
}

// resolve turns the path of a device to its number.
func (m *Mount) resolve() {
	if !strings.HasPrefix(m.Device, "/") {
		return
	}
	var st unix.Stat_t
	if err := unix.Stat(m.Device, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		m.Device = strconv.Itoa(int(unix.Major(st.Rdev))) + ":" + strconv.Itoa(int(unix.Minor(st.Rdev)))
	}
}

// parseSwaps reads /proc/swaps: a header, and lines that begin with a path in
// which spaces are written as \040.
func parseSwaps(text string) []string {
	var out []string
	for i, line := range strings.Split(text, "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) > 0 {
			out = append(out, octal.Unescape(fields[0]))
		}
	}
	return out
}

// devices reads a directory like /sys/block (Documentation/ABI/testing/sysfs-block
// and sysfs-block-loop, -dm of the kernel).
func devices(dir string) []Device {
	entries, _ := os.ReadDir(dir) // without sysfs there are none to be found
	var out []Device
	for _, e := range entries {
		d := Device{Name: e.Name()}
		at := filepath.Join(dir, d.Name)
		switch {
		case isLoop(d.Name):
			if d.File = word(filepath.Join(at, "loop/backing_file")); d.File == "" {
				continue // not in use
			}
		case isDM(d.Name):
			d.Label = word(filepath.Join(at, "dm/name"))
		case isMD(d.Name):
			if state := word(filepath.Join(at, "md/array_state")); state == "" || state == "clear" {
				continue
			}
		default:
			continue
		}
		d.Numbers = []string{word(filepath.Join(at, "dev"))}
		if list, err := os.ReadDir(at); err == nil {
			for _, p := range list {
				if number := word(filepath.Join(at, p.Name(), "dev")); p.IsDir() && number != "" {
					d.Numbers, d.Parts = append(d.Numbers, number), append(d.Parts, p.Name())
				}
			}
		}
		if list, err := os.ReadDir(filepath.Join(at, "slaves")); err == nil {
			for _, under := range list {
				d.Under = append(d.Under, under.Name())
			}
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Device) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// word gives a file's text without the end of line; "": it cannot be read.
func word(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}
