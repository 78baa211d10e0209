package fsimage

import (
	"fmt"
	"io"
	"math"
)

// chunker cuts what is written to it into pieces of one size; the last is shorter.
type chunker struct {
	size int
	take func([]byte) error
	rest []byte
}

func (c *chunker) Write(data []byte) (int, error) {
	written := len(data)
	for len(data) > 0 {
		if len(c.rest) == 0 && len(data) >= c.size {
			if err := c.take(data[:c.size]); err != nil {
				return 0, err
			}
			data = data[c.size:]
			continue
		}
		n := min(len(data), c.size-len(c.rest))
		c.rest, data = append(c.rest, data[:n]...), data[n:]
		if len(c.rest) == c.size {
			if err := c.take(c.rest); err != nil {
				return 0, err
			}
			c.rest = c.rest[:0]
		}
	}
	return written, nil
}

func (c *chunker) close() error {
	if len(c.rest) == 0 {
		return nil
	}
	return c.take(c.rest)
}

// allZero tells whether a block is a hole.
func allZero(block []byte) bool {
	for _, b := range block {
		if b != 0 {
			return false
		}
	}
	return true
}

// seconds is the modification time as unsigned 32-bit formats have it.
func (n *Inode) seconds() uint32 {
	if n.ModTime.IsZero() {
		return 0
	}
	return uint32(max(0, min(n.ModTime.Unix(), math.MaxUint32)))
}

// contents copies a regular file to a writer and holds it to its size.
func (n *Inode) contents(name string, w io.Writer) error {
	if n.Open == nil {
		_, err := io.CopyN(w, zeros{}, n.Size)
		return err
	}
	in, err := n.Open()
	if err != nil {
		return fmt.Errorf("cannot read /%s: %w", name, err)
	}
	defer in.Close()
	copied, err := io.Copy(w, io.LimitReader(in, n.Size+1))
	if err != nil {
		return fmt.Errorf("cannot copy /%s into the image: %w", name, err)
	}
	if copied != n.Size {
		return fmt.Errorf("cannot copy /%s into the image: its size changed from %d bytes meanwhile", name, n.Size)
	}
	return nil
}

// zeros reads as zero bytes for ever.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
