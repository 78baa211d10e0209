// Package durable writes files that have to survive a crash of the machine.
package durable

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Replace puts a file with that text at path, so that after a crash there is
// either the old file or the new one. It writes to temp, in the same directory,
// which no other writer may use meanwhile; a crash may leave that behind.
func Replace(path, temp string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
