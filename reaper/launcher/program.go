package launcher

import (
	"errors"

	"berth/isolate/program"

	"golang.org/x/sys/unix"
)

// sealed tells whether the file that this process runs from can be written by
// nobody: the reaper has put it on a read-only mount that no namespace has.
func sealed() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/proc/self/exe", &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}

// ProgramForker forks programs compiled by package isolate. It is for one
// goroutine, locked to its thread: it uses its memory again.
type ProgramForker struct {
	image  *program.Image
	ahead  ahead
	sealed bool
}

// NewProgramForker gives a ProgramForker.
func NewProgramForker() *ProgramForker {
	f := &ProgramForker{image: &program.Image{}, sealed: sealed()}
	f.ahead.open()
	return f
}

// Ahead makes namespaces of the next child, which asks for the given flags of clone.
func (f *ProgramForker) Ahead(flags uint64) { f.ahead.make(flags) }

// Settle gives up the namespaces made ahead, if there are any. After an error
// nothing may be forked any more.
func (f *ProgramForker) Settle() error { return f.ahead.leave() }

// Waiting tells whether there is something to Settle.
func (f *ProgramForker) Waiting() bool { return f.ahead.made.Flags != 0 }

// Fork forks the program in image.
func (f *ProgramForker) Fork(image []byte, fds []int) (pid, pidfd int, err error) {
	im := f.image
	if len(image) > maxInline {
		im = &program.Image{} // rare, and not to be kept
	}
	if err := im.Decode(image, fds); err != nil {
		return 0, -1, err
	}
	if im.Sealed && !f.sealed {
		return 0, -1, errors.New("cannot fork: the program needs a launcher whose executable nobody can write, which this one is not")
	}
	if im.EntersUser() || !f.ahead.fits(im.CloneFlags) {
		if err := f.Settle(); err != nil {
			return 0, -1, err
		}
	}
	im.Inherit(f.ahead.made)
	defer im.Forget()
	return im.Fork(true)
}
