package isolate

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// lookUpProgram sees before the gate that the program is there, for a container
// that is created by one command and started by another: the first is to tell.
// Whether the user may execute it is seen when it is executed. A path that begins
// in the working directory, or with a link of /proc, is not looked up.
func (c *compiler) lookUpProgram() {
	if c.spec == nil || !c.spec.Bare {
		return
	}
	arg0 := c.proc.Args[0]
	why := "execute " + arg0
	file := c.b.Register("program file")
	files := c.candidates(arg0)
	if len(files) == 1 {
		if !path.IsAbs(files[0]) {
			return
		}
		s := ignoring(because(c.open(c.rootFD, files[0], file, pathOnly, inRoot), why), unix.ELOOP)
		s.Hint, s.Jump, s.When = "it must exist inside the root", 1, program.OnIgnored
		link := c.in(s)
		c.refuseType(file, unix.S_IFDIR, unix.EACCES, files[0], why)
		c.compare(program.OpRefuse, statxMode, 0o111, 0, unix.EACCES, files[0], why)
		c.b.Land(link)
		return
	}
	if slices.ContainsFunc(files, func(f string) bool { return !path.IsAbs(f) }) {
		return
	}
	var found []int
	for _, f := range files {
		s := ignoring(because(c.open(c.rootFD, f, file, pathOnly, inRoot), why), unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		s.Jump = 1
		found = append(found, c.in(s))
	}
	c.in(program.Step{Sys: program.OpFail, Dst: program.None, Path: arg0, Why: why, Args: []program.Arg{program.Flag(program.FmtErrno, uint64(unix.ENOENT))},
		Hint: "no directory of PATH has a program of that name"})
	for _, at := range found {
		c.b.Land(at)
	}
}
