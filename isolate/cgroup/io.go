package cgroup

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

type ioField struct {
	key    string // as in the unit file
	v2     string // in io.max
	v1     string // the control file of blkio
	value  *int64
	target func(*IOMax) **int64
}

// fields are the four limits of one device.
func (m *IOMax) fields() []ioField {
	return []ioField{
		{"read-bps", "rbps", "blkio.throttle.read_bps_device", m.ReadBPS, func(m *IOMax) **int64 { return &m.ReadBPS }},
		{"write-bps", "wbps", "blkio.throttle.write_bps_device", m.WriteBPS, func(m *IOMax) **int64 { return &m.WriteBPS }},
		{"read-iops", "riops", "blkio.throttle.read_iops_device", m.ReadIOPS, func(m *IOMax) **int64 { return &m.ReadIOPS }},
		{"write-iops", "wiops", "blkio.throttle.write_iops_device", m.WriteIOPS, func(m *IOMax) **int64 { return &m.WriteIOPS }},
	}
}

func (s *settingList) io(l *Limits) error {
	if l.IOWeight != nil {
		s.ioWeight(*l.IOWeight)
	}
	if len(l.IOMax) == 0 {
		return nil
	}
	controller := "io"
	if s.tree.by["blkio"] != nil {
		controller = "blkio"
	}
	h := s.need("io-max", controller, false)
	if h == nil {
		return nil
	}
	file := "io.max"
	if !h.unified {
		file = "blkio.throttle.read_bps_device"
	}
	if !existsAt(h.slice, file) {
		s.refuse("io-max", false, "the kernel cannot throttle block devices (CONFIG_BLK_DEV_THROTTLING)")
		return nil
	}
	for _, m := range l.IOMax {
		device, err := wholeDisk(m.Device)
		if err != nil {
			return fmt.Errorf("cannot set io-max: %w", err)
		}
		if h.unified {
			line := device
			for _, f := range m.fields() {
				if f.value != nil {
					line += " " + f.v2 + "=" + maxOr(*f.value)
				}
			}
			if line != device {
				s.add("io-max", device, controller, controlWrite{"io.max", line})
			}
			continue
		}
		for _, f := range m.fields() {
			if f.value != nil {
				value := max(0, *f.value) // v1 writes 0 for no limit
				s.add("io-max", device+" "+f.key, controller, controlWrite{f.v1, fmt.Sprintf("%s %d", device, value)})
			}
		}
	}
	return nil
}

// ioWeight picks the file that the kernel has: the weight of the io.cost
// controller, or of the BFQ scheduler, which takes 1 to 1000 around the same
// default.
func (s *settingList) ioWeight(weight int) {
	controller := "io"
	if s.tree.by["blkio"] != nil {
		controller = "blkio"
	}
	h := s.need("io-weight", controller, true)
	if h == nil {
		return
	}
	bfq := weight
	if weight > 100 {
		bfq = 100 + (weight-100)*900/9900
	}
	choices := []controlWrite{{"io.weight", "default " + strconv.Itoa(weight)}, {"io.bfq.weight", strconv.Itoa(bfq)}}
	if !h.unified {
		choices = []controlWrite{{"blkio.bfq.weight", strconv.Itoa(bfq)}, {"blkio.weight", strconv.Itoa(min(1000, max(10, weight*5)))}}
	}
	for _, w := range choices {
		if existsAt(h.slice, w.file) {
			s.add("io-weight", "", controller, w)
			return
		}
	}
	s.refuse("io-weight", true, "the kernel has neither io.cost nor the BFQ scheduler")
}

// wholeDisk gives the "major:minor" of a block device; for a partition those of
// its disk, which is what the kernel limits.
func wholeDisk(node string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: node, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is not a block device", node)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	sys := "/sys/dev/block/" + device
	if _, err := os.Stat(sys + "/partition"); err != nil {
		return device, nil
	}
	disk, err := os.ReadFile(sys + "/../dev")
	if err != nil {
		return "", fmt.Errorf("cannot find the disk of the partition %s: %w", node, err)
	}
	return strings.TrimSpace(string(disk)), nil
}
