package launcher

import "berth/isolate/program"

// NewProgramForker gives a Forker of programs compiled by package isolate. It is
// for one goroutine: it uses its memory again.
func NewProgramForker() Forker {
	im := &program.Image{}
	return func(image []byte, fds []int) (pid, pidfd int, err error) {
		if len(image) > maxInline {
			im = &program.Image{} // rare, and not to be kept
			defer func() { im = &program.Image{} }()
		}
		if err := im.Decode(image, fds); err != nil {
			return 0, -1, err
		}
		return im.Fork(true)
	}
}
