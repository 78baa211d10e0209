package ocigroup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	noWeights  = "the kernel has neither a cost model for block devices nor the BFQ scheduler"
	noLeaf     = "only the CFQ scheduler has it, which ended with Linux 5.0"
	noThrottle = "the kernel cannot throttle block devices (CONFIG_BLK_DEV_THROTTLING)"
)

func (s *settings) blockIO(b *specs.LinuxBlockIO) {
	if v, _ := s.host.Version("blkio"); v == 1 {
		s.blockIO1(b)
	} else if s.version("blockIO", "io") == 2 {
		s.blockIO2(b)
	}
}

func (s *settings) blockIO1(b *specs.LinuxBlockIO) {
	const c = "blkio"
	// BFQ's file stands in place of that of CFQ and has its range.
	pick := func(bfq, cfq string) string {
		if s.host.Has(c, bfq) {
			return bfq
		}
		return cfq
	}
	if b.Weight != nil && *b.Weight != 0 {
		s.addIfThere("blockIO.weight", c, pick("blkio.bfq.weight", "blkio.weight"), fmt.Sprint(*b.Weight), noWeights)
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		s.addIfThere("blockIO.leafWeight", c, "blkio.leaf_weight", fmt.Sprint(*b.LeafWeight), noLeaf)
	}
	for _, d := range b.WeightDevice {
		if s.checkWeights(d); d.Weight != nil {
			s.addIfThere("blockIO.weightDevice", c, pick("blkio.bfq.weight_device", "blkio.weight_device"), device(d.LinuxBlockIODevice, *d.Weight), noWeights)
		}
		if d.LeafWeight != nil {
			s.addIfThere("blockIO.weightDevice", c, "blkio.leaf_weight_device", device(d.LinuxBlockIODevice, *d.LeafWeight), noLeaf)
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			s.addIfThere("blockIO."+t.key, c, t.file1, device(d.LinuxBlockIODevice, d.Rate), noThrottle)
		}
	}
}

func (s *settings) blockIO2(b *specs.LinuxBlockIO) {
	const c = "io"
	file, convert := "io.bfq.weight", func(w uint16) uint16 { return w }
	if !s.host.Has(c, file) {
		file, convert = "io.weight", ioWeight
	}
	if b.Weight != nil && *b.Weight != 0 {
		s.addIfThere("blockIO.weight", c, file, fmt.Sprintf("default %d", convert(*b.Weight)), noWeights)
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		s.refuse("blockIO.leafWeight", noLeaf)
	}
	for _, d := range b.WeightDevice {
		if s.checkWeights(d); d.Weight != nil {
			s.addIfThere("blockIO.weightDevice", c, file, device(d.LinuxBlockIODevice, convert(*d.Weight)), noWeights)
		}
		if d.LeafWeight != nil {
			s.refuse("blockIO.weightDevice", "leafWeight: "+noLeaf)
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			rate := "max"
			if d.Rate != 0 { // 0 lifts the limit on v1, and so here
				rate = fmt.Sprint(d.Rate)
			}
			s.addIfThere("blockIO."+t.key, c, "io.max", device(d.LinuxBlockIODevice, t.word2+"="+rate), noThrottle)
		}
	}
}

// ioWeight takes v1's range of 10 to 1000 to v2's of 1 to 10000.
func ioWeight(w uint16) uint16 {
	return uint16(1 + (int(min(max(w, 10), 1000))-10)*9999/990)
}

func (s *settings) checkWeights(d specs.LinuxWeightDevice) {
	if d.Weight == nil && d.LeafWeight == nil {
		s.invalid("blockIO.weightDevice", "%d:%d has neither weight nor leafWeight", d.Major, d.Minor)
	}
}

// device writes the line of one device.
func device(d specs.LinuxBlockIODevice, value any) string {
	return fmt.Sprintf("%d:%d %v", d.Major, d.Minor, value)
}

type throttle struct {
	key     string
	file1   string // of v1
	word2   string // in v2's io.max
	devices []specs.LinuxThrottleDevice
}

func throttles(b *specs.LinuxBlockIO) []throttle {
	return []throttle{
		{"throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	}
}
