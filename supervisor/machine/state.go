package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StateDir gives the directory that PID 1 keeps its state in: stateDir, made if
// it is missing; or, where that cannot be made or written, one in
// the runtime directory, which is gone at the next boot. Once it is the latter it
// stays so for this boot, whatever is mounted later: a supervisor that takes over
// has to find what the one before has kept. why tells why it is; "": it is not.
func StateDir(runtimeDir, stateDir string) (dir, why string, err error) {
	instead := filepath.Join(runtimeDir, "state")
	if _, err := os.Stat(instead); err == nil {
		return instead, "it was so when the machine was started", nil
	}
	err = os.MkdirAll(stateDir, 0o711)
	if err == nil {
		if err = unix.Access(stateDir, unix.W_OK); err == nil {
			return stateDir, "", nil
		}
	}
	why = err.Error()
	if err := os.MkdirAll(instead, 0o711); err != nil {
		return "", "", fmt.Errorf("cannot make a state directory in place of %s, which cannot be written (%s): %w", stateDir, why, err)
	}
	return instead, why, nil
}

// findState is the duty. An error is left to whoever needs the directory next,
// and tells it.
func findState(_ context.Context, b *Boot) error {
	dir, why, err := StateDir(b.RuntimeDir, b.StateDir)
	if err != nil {
		return err
	}
	if why != "" {
		b.Note(fmt.Sprintf("the state directory %s cannot be written (%s): what is to be kept is in %s, and gone at the next boot", b.StateDir, why, dir))
	}
	b.StateDir = dir
	return nil
}
