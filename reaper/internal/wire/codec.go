package wire

import "encoding/binary"

// Encoder appends fields in little-endian order to Bytes.
type Encoder struct{ Bytes []byte }

// U8 appends one byte.
func (e *Encoder) U8(v uint8) { e.Bytes = append(e.Bytes, v) }

// U16 appends two bytes.
func (e *Encoder) U16(v uint16) { e.Bytes = binary.LittleEndian.AppendUint16(e.Bytes, v) }

// U32 appends four bytes.
func (e *Encoder) U32(v uint32) { e.Bytes = binary.LittleEndian.AppendUint32(e.Bytes, v) }

// U64 appends eight bytes.
func (e *Encoder) U64(v uint64) { e.Bytes = binary.LittleEndian.AppendUint64(e.Bytes, v) }

// Bool appends one byte, 0 or 1.
func (e *Encoder) Bool(v bool) {
	if v {
		e.U8(1)
	} else {
		e.U8(0)
	}
}

// String appends the length in two bytes and the text, cut off at 65535 bytes.
func (e *Encoder) String(s string) {
	s = s[:min(len(s), 0xffff)]
	e.U16(uint16(len(s)))
	e.Bytes = append(e.Bytes, s...)
}

// Decoder takes fields off the front of Bytes. The first one that is not there,
// or not valid, makes it and all later ones zero and Complete false.
type Decoder struct {
	Bytes  []byte
	failed bool
}

// take gives the next n bytes, or nil.
func (d *Decoder) take(n int) []byte {
	if d.failed || len(d.Bytes) < n {
		d.failed = true
		return nil
	}
	p := d.Bytes[:n]
	d.Bytes = d.Bytes[n:]
	return p
}

// U8 takes one byte.
func (d *Decoder) U8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

// U16 takes two bytes.
func (d *Decoder) U16() uint16 {
	if p := d.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

// U32 takes four bytes.
func (d *Decoder) U32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

// U64 takes eight bytes.
func (d *Decoder) U64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// Bool takes one byte, which must be 0 or 1.
func (d *Decoder) Bool() bool {
	v := d.U8()
	if v > 1 {
		d.failed = true
	}
	return v == 1
}

// String takes what Encoder.String wrote.
func (d *Decoder) String() string { return string(d.take(int(d.U16()))) }

// Raw takes n bytes, within the buffer.
func (d *Decoder) Raw(n int) []byte { return d.take(n) }

// Rest takes all that is left, within the buffer.
func (d *Decoder) Rest() []byte { return d.take(len(d.Bytes)) }

// OK reports whether every field so far was there and valid.
func (d *Decoder) OK() bool { return !d.failed }

// Complete reports whether every field was there and valid and nothing is left.
func (d *Decoder) Complete() bool { return !d.failed && len(d.Bytes) == 0 }
