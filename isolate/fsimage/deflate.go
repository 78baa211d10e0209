package fsimage

import (
	"bytes"
	"compress/zlib"
)

// deflater compresses blocks of a squashfs, each by itself.
type deflater struct {
	out bytes.Buffer
	z   *zlib.Writer
}

func newDeflater() (*deflater, error) {
	d := &deflater{}
	var err error
	d.z, err = zlib.NewWriterLevel(&d.out, zlib.BestCompression)
	return d, err
}

// pack gives a block compressed, which is valid until the next call.
func (d *deflater) pack(block []byte) []byte {
	d.out.Reset()
	d.z.Reset(&d.out)
	_, _ = d.z.Write(block) // a buffer takes everything
	_ = d.z.Close()
	return d.out.Bytes()
}
