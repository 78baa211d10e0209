package supervisor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"berth/reaper"
	"berth/supervisor/api"
)

// Reexec looks at the new program, and runs it once, before it is trusted with
// everything: one that does not execute would be the end of the reaper.
func (b backend) Reexec(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the program on disk: %w", err)
	}
	exe = strings.TrimSuffix(exe, " (deleted)") // replaced since it was started
	if err := checkProgram(ctx, exe); err != nil {
		return &api.Error{Code: "failed", Message: fmt.Sprintf("nothing was changed: cannot execute %s in place of this berthd: %v", exe, err)}
	}
	// Once the reaper is heard no more it has worked: the execve has closed its
	// end, and this supervisor is about to be killed.
	if err := b.reaper.Reexec(); !errors.Is(err, reaper.ErrLost) {
		return err
	}
	return nil
}

// checkProgram tells what is wrong with a file that is to be executed as berthd.
func checkProgram(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case info.Mode()&0o111 == 0:
		return errors.New("it is not executable (chmod +x)")
	}
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer own.Close()
	if err := checkELF(f, info.Size(), own); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("it does not run: %w: %s", err, bytes.TrimSpace(out))
	}
	if !bytes.HasPrefix(out, []byte("berthd ")) {
		return fmt.Errorf("it is not berthd: asked for its version it says %q", bytes.TrimSpace(out[:min(len(out), 100)]))
	}
	return nil
}

// The fields of an ELF file that are looked at, elf(5): 64 bits, little endian,
// as all machines have it that berthd runs on.
const (
	elfHeader     = 64
	elfMachine    = 18
	elfProgramsAt = 32 // e_phoff
	elfEntrySize  = 54 // e_phentsize
	elfEntries    = 56 // e_phnum
	programHeader = 56
	programOffset = 8  // p_offset
	programSize   = 32 // p_filesz
	loadSegment   = 1  // PT_LOAD
)

// checkELF tells whether a program is for this machine and all there. A copy that
// was cut short may run for a while.
func checkELF(f io.ReaderAt, size int64, own io.ReaderAt) error {
	var header, ours [elfHeader]byte
	if _, err := own.ReadAt(ours[:], 0); err != nil {
		return fmt.Errorf("cannot read this berthd's own program: %w", err)
	}
	if _, err := f.ReadAt(header[:], 0); err != nil || !bytes.Equal(header[:6], ours[:6]) {
		return errors.New("it is not an ELF program for this machine")
	}
	le := binary.LittleEndian
	if got, want := le.Uint16(header[elfMachine:]), le.Uint16(ours[elfMachine:]); got != want {
		return fmt.Errorf("it is for another kind of processor (ELF machine %d, this one is %d)", got, want)
	}
	if le.Uint16(header[elfEntrySize:]) != programHeader {
		return errors.New("it is damaged: its program headers have a size of their own")
	}
	table := make([]byte, programHeader*int(le.Uint16(header[elfEntries:])))
	if _, err := f.ReadAt(table, int64(le.Uint64(header[elfProgramsAt:]))); err != nil {
		return errors.New("it is cut short: its program headers are not all there")
	}
	for ; len(table) > 0; table = table[programHeader:] {
		offset, length := le.Uint64(table[programOffset:]), le.Uint64(table[programSize:])
		if le.Uint32(table) == loadSegment && (offset > uint64(size) || length > uint64(size)-offset) {
			return fmt.Errorf("it is cut short: %d bytes are there, and it reaches to %d", size, offset+length)
		}
	}
	return nil
}
