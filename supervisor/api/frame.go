package api

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// An exec session's connection carries frames after its upgrade: one byte of
// kind, four bytes of length (big endian), and so many bytes. The client sends
// Stdin, StdinEnd, Resize (rows and cols, two bytes each, big endian) and
// SignalFrame (the name without SIG); the server Stdout, Stderr and at last Exit
// (four bytes, the exit code) or Failure (text).

// FrameKind is the kind of a frame.
type FrameKind byte

// The kinds of frames.
const (
	StdinFrame FrameKind = iota + 1
	StdinEndFrame
	ResizeFrame
	SignalFrame
	StdoutFrame
	StderrFrame
	ExitFrame
	FailureFrame
)

// MaxFrame is the largest payload of a frame in bytes.
const MaxFrame = 32 << 10

// upgradeProtocol is the name in the Upgrade header.
const upgradeProtocol = "berth-exec/1"

// frameWriter writes whole frames; safe for concurrent use.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) frame(kind FrameKind, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		n := min(len(data), MaxFrame)
		buf := make([]byte, 5, 5+n)
		buf[0] = byte(kind)
		binary.BigEndian.PutUint32(buf[1:], uint32(n))
		if _, err := f.w.Write(append(buf, data[:n]...)); err != nil {
			return err
		}
		if data = data[n:]; len(data) == 0 {
			return nil
		}
	}
}

// stream is an io.Writer that writes frames of one kind.
type stream struct {
	to   *frameWriter
	kind FrameKind
}

func (s stream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return len(p), s.to.frame(s.kind, p)
}

// ReadFrame reads one frame into buf, which must hold MaxFrame bytes. io.EOF
// comes only between frames.
func ReadFrame(r io.Reader, buf []byte) (FrameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	kind, n := FrameKind(head[0]), binary.BigEndian.Uint32(head[1:])
	if kind < StdinFrame || kind > FailureFrame || n > MaxFrame {
		return 0, nil, fmt.Errorf("cannot read a frame: kind %d with %d bytes", kind, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, nil, fmt.Errorf("cannot read a frame: %w", io.ErrUnexpectedEOF)
	}
	return kind, buf[:n], nil
}
