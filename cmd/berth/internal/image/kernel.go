package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
)

// kernelRelease reads the release ("6.1.0-40-cloud-amd64") in the header of an
// x86 kernel image (the kernel's Documentation/arch/x86/boot.rst); "" for an image
// that does not tell, as those of other processors.
func kernelRelease(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the kernel: %w", err)
	}
	defer f.Close()
	// A kernel's set-up part has at most 64 sectors of 512 bytes.
	head, err := io.ReadAll(io.LimitReader(f, 64*512))
	if err != nil {
		return "", fmt.Errorf("cannot read the kernel: %w", err)
	}
	if len(head) < 1024 {
		return "", fmt.Errorf("%s is no kernel: it has %d bytes", path, len(head))
	}
	return releaseIn(head), nil
}

// releaseIn finds the release in the beginning of a kernel image.
func releaseIn(head []byte) string {
	const magic, version = 0x202, 0x20e
	if len(head) < version+2 || string(head[magic:magic+4]) != "HdrS" {
		return ""
	}
	at := int(binary.LittleEndian.Uint16(head[version:])) + 0x200
	if at == 0x200 || at >= len(head) {
		return ""
	}
	text, _, _ := bytes.Cut(head[at:], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	return release
}
