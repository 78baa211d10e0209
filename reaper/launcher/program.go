package launcher

import "berth/isolate/program"

// ForkProgram is the Forker of programs compiled by package isolate.
func ForkProgram(image []byte, fds []int) (pid, pidfd int, err error) {
	im, err := program.Decode(image, fds)
	if err != nil {
		return 0, -1, err
	}
	return im.Fork(true)
}
