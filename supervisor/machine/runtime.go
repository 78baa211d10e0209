package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"berth/config"

	"golang.org/x/sys/unix"
)

// RuntimeDir gives the directory for the control socket and what else is gone at
// the next boot, as PID 1 of a container, which may have nothing that can be
// written where it is looked for: wanted, made if it is missing; or else the
// first of instead that can be made or is this user's own (config.InsteadDirs).
// why tells why it is not wanted; "": it is. Once it is another one it stays so:
// a supervisor that takes over has to find what the one before has kept.
func RuntimeDir(wanted string, instead []string) (dir, why string, err error) {
	why = "it was so when berthd was started"
	for _, dir := range instead {
		if config.OwnDir(dir) && exists(filepath.Join(dir, "berth.sock")) && !exists(filepath.Join(wanted, "berth.sock")) {
			return dir, why, nil
		}
	}
	err = os.MkdirAll(wanted, 0o755)
	if err == nil {
		if err = unix.Access(wanted, unix.W_OK); err == nil {
			return wanted, "", nil
		}
	}
	why = err.Error()
	for _, dir := range instead {
		if err := os.Mkdir(dir, 0o700); (err == nil || errors.Is(err, fs.ErrExist)) && config.OwnDir(dir) && unix.Access(dir, unix.W_OK) == nil {
			return dir, why, nil
		}
	}
	return "", "", fmt.Errorf("cannot make the runtime directory %s (%s), nor one of %q: give the container a tmpfs on /run or /tmp, or name one that it can write with --runtime-dir", wanted, why, instead)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
