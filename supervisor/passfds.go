package supervisor

import (
	"context"
	"fmt"
	"os"

	"berth/isolate"
	"berth/supervisor/container"
)

// firstPassed is the number of the first descriptor that a program is given beside
// its standard streams; SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstPassed = 3

// passDescriptors gives a start what it is to find beyond its standard streams:
// first those of LISTEN_FDS, the unit's sockets before those that its programs have
// handed over, then the one that it tells its readiness with.
func (s *Supervisor) passDescriptors(ctx context.Context, r *run, spec *isolate.Spec, files *fileSet) error {
	names, err := s.passSockets(ctx, r, files)
	if err != nil {
		return err
	}
	var kept []*os.File
	var keptNames []string
	if err := s.ask(ctx, func() { kept, keptNames = s.storedFDs(r.unit) }); err != nil {
		return err
	}
	files.toClose = append(files.toClose, kept...)
	files.Extra = append(files.Extra, kept...)
	container.Listen(spec, append(names, keptNames...))
	if at := r.cfg.Ready.FD; at != nil {
		if err := s.makeReadyPipe(r); err != nil {
			return err
		}
		if err := files.passAt(*at, r.readyFar); err != nil {
			return err
		}
		r.readyFar = nil
	}
	spec.Process.ExtraFiles = len(files.Extra)
	return nil
}

// passAt has the program find a descriptor, which the set takes over, under that
// number. Those between it and the last before it are /dev/null.
func (f *fileSet) passAt(number int, file *os.File) error {
	f.toClose = append(f.toClose, file)
	gap := number - firstPassed - len(f.Extra)
	if gap < 0 {
		return fmt.Errorf("cannot pass descriptor %d for [ready]: the numbers from %d to %d are those of LISTEN_FDS", number, firstPassed, firstPassed+len(f.Extra)-1)
	}
	if gap > 0 {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.toClose = append(f.toClose, null)
		for range gap {
			f.Extra = append(f.Extra, null)
		}
	}
	f.Extra = append(f.Extra, file)
	return nil
}
