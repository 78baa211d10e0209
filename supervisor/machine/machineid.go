package machine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	machineIDFile = "/etc/machine-id"
	transientID   = "/run/machine-id" // until the next boot
	busID         = "/var/lib/dbus/machine-id"
)

// setMachineID sees that /etc/machine-id has an ID (machine-id(5)). Missing,
// empty and "uninitialized" are as good as none. Where the file cannot be written,
// one for this boot is made in /run, unless an initramfs did, and mounted over it.
func setMachineID(_ context.Context, b *Boot) error {
	if readID(machineIDFile) != "" {
		return nil
	}
	b.FreshIdentity = true
	id := readID(busID)
	if id == "" {
		id = readID(transientID)
	}
	if id == "" {
		id = newID()
	}
	err := writeID(machineIDFile, id)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EROFS) {
		b.Note("cannot write " + machineIDFile + ": " + err.Error())
	}
	if err := writeID(transientID, id); err != nil {
		return err
	}
	if err := unix.Mount(transientID, machineIDFile, "", unix.MS_BIND, ""); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot give %s an ID for this boot: it is not there, and the file system cannot be written: make it an empty file in the image", machineIDFile)
		}
		return fmt.Errorf("cannot mount %s over %s: %w", transientID, machineIDFile, err)
	}
	err = unix.Mount("", machineIDFile, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return os.NewSyscallError("mount "+machineIDFile+" read-only", err)
}

// readID gives the ID in a file, "" where there is none.
func readID(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(text))
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 || id != strings.ToLower(id) || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// newID makes a random UUID, version 4, without dashes.
func newID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	return hex.EncodeToString(raw[:])
}

// writeID writes in place: the file may be a mount of its own.
func writeID(path, id string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return err
	}
	_, err = f.WriteString(id + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
