package machine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"berth/supervisor/durable"

	"golang.org/x/sys/unix"
)

const (
	seedFile = "random-seed"
	seedSize = sha256.Size // as much as the generator holds, since Linux 5.18
)

// loadSeed gives the kernel's generator (random(4)) the seed of the last shutdown
// and puts another in its place. The old one is gone from the disk before it
// counts: a machine that loses its power in between has none, and none counts
// twice. It does not count at all, but is mixed in, where the machine's identity
// is new: then the file may be a copy that others have too.
func loadSeed(_ context.Context, b *Boot) error {
	path := filepath.Join(b.StateDir, seedFile)
	seed, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		err := forgetSeed(path)
		if fault := addEntropy(seed, err == nil && !b.FreshIdentity && len(seed) == seedSize); fault != nil {
			return fault
		}
		if err != nil && !errors.Is(err, unix.EROFS) {
			b.Note("the random seed does not count, since it cannot be removed: " + err.Error())
		}
	}
	if err := saveSeed(b.StateDir, seed); err != nil && !errors.Is(err, unix.EROFS) && !errors.Is(err, fs.ErrNotExist) {
		b.Note(err.Error())
	}
	return nil
}

// SaveSeed writes a seed for the next boot into the state directory, at an
// orderly shutdown. It does nothing while the kernel's generator is not ready.
func SaveSeed(stateDir string) error { return saveSeed(stateDir, nil) }

// saveSeed makes a seed of what the generator gives and of an older one, so that
// what that knew is not lost even if the generator knows little.
func saveSeed(stateDir string, older []byte) error {
	fresh := make([]byte, seedSize)
	n, err := unix.Getrandom(fresh, unix.GRND_NONBLOCK)
	if err != nil || n != seedSize {
		return nil
	}
	seed := sha256.Sum256(append(fresh, older...))
	path := filepath.Join(stateDir, seedFile)
	if err := durable.Replace(path, path+".new", seed[:], 0o600); err != nil {
		return fmt.Errorf("cannot keep a random seed for the next boot: %w", err)
	}
	return nil
}

func forgetSeed(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// addEntropy mixes a seed into the generator, and has it count as its own length
// where credit is set: then the kernel waits for nothing else before it gives
// random numbers.
func addEntropy(seed []byte, credit bool) error {
	if len(seed) == 0 {
		return nil
	}
	f, err := os.OpenFile("/dev/urandom", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if !credit {
		_, err := f.Write(seed)
		return err
	}
	// struct rand_pool_info of linux/random.h
	info := struct {
		bits, size int32
		data       [seedSize]byte
	}{bits: seedSize * 8, size: seedSize}
	copy(info.data[:], seed)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return os.NewSyscallError("RNDADDENTROPY", errno)
	}
	return nil
}
