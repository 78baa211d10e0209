package isolate

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// cannotMake is the hint for a target that is missing on a root that cannot be written.
const cannotMake = "it is missing, and cannot be made: make it in the root file system"

// targetDir is the kind of a target that is made as a directory when it is
// missing; any other is the late value that tells a directory from a file.
const targetDir = program.None

// bareTarget opens the place of a mount inside the root, and makes it first if it is missing.
func (c *compiler) bareTarget(m *Mount, at int, kind int) {
	target := path.Clean(m.Target)
	flags := uint64(pathOnly)
	if m.NoSymlinks {
		flags |= unix.O_NOFOLLOW
	}
	c.makeTarget(target, at, flags, kind, "where "+target+" is mounted")
	if m.NoSymlinks {
		c.refuseType(at, unix.S_IFLNK, unix.ELOOP, target, target+" must be mounted on ordinary directory, not on a symbolic link")
	}
	if !below(target, "/proc") {
		// The check by name, in checkBare, sees nothing of links that the root file system has.
		c.expectFS(at, unix.PROC_SUPER_MAGIC, false, "no link leads it into /proc")
	}
}

// makeTarget opens a place inside the root with the given flags. What is
// missing is made first; links are followed inside the root only, and below
// /proc and /sys not at all.
func (c *compiler) makeTarget(target string, at int, flags uint64, kind int, why string) {
	resolve, how := uint64(inRoot), uint64(0)
	if below(target, "/proc") || below(target, "/sys") {
		resolve, how = noLinks, program.NoLinks
	}
	s := c.open(c.rootFD, target, at, flags, resolve)
	s.Why, s.Ignore, s.Jump = why, []unix.Errno{unix.ENOENT}, 1
	found := c.in(s)
	mk := program.Step{Sys: program.OpMake, Dst: program.None, Path: target, Why: why, Hint: cannotMake}
	mk.Args = []program.Arg{program.R(c.rootFD), c.b.Str(target), program.Flag(program.FmtMake, how)}
	if kind != targetDir {
		file := mk
		file.Args = []program.Arg{mk.Args[0], mk.Args[1], program.Flag(program.FmtMake, how|program.MakeFile)}
		mk.If, file.If, file.Unless = kind+1, kind+1, true
		c.in(file)
	}
	c.in(mk, hint(because(c.open(c.rootFD, target, at, flags, resolve), why), cannotMake))
	c.b.Land(found)
}

// expectFS checks which file system a descriptor is on: that it is the one of
// the magic number, or that it is not.
func (c *compiler) expectFS(fd int, magic uint64, is bool, why string) {
	if c.statBuf == nil {
		buf := c.b.Data(make([]byte, 256), program.FmtBuf)
		c.statBuf = &buf
	}
	op := program.OpRefuse
	if is {
		op = program.OpExpect
	}
	c.in(program.Step{Sys: program.SysFstatfs, Dst: program.None, Why: why, Args: []program.Arg{program.R(fd), *c.statBuf}},
		program.Step{Sys: op, Dst: program.None, Path: "file system", Why: why, Args: []program.Arg{
			*c.statBuf, program.Flag(program.FmtHex, 0xffffffff), program.Flag(program.FmtHex, magic), program.Flag(program.FmtErrno, uint64(unix.EPERM))}})
}

// The offsets of the fields of struct statx.
const (
	statxMode  = 28
	statxMajor = 128
	statxMinor = 132
)

// stat looks at what a descriptor is.
func (c *compiler) stat(fd int, p, why string) {
	if c.statBuf == nil {
		buf := c.b.Data(make([]byte, 256), program.FmtBuf)
		c.statBuf = &buf
	}
	c.in(program.Step{Sys: program.SysStatx, Dst: program.None, Path: p, Why: why, Args: []program.Arg{
		program.R(fd), c.b.Str(""), program.Flag(program.FmtAt, unix.AT_EMPTY_PATH), program.Flag(program.FmtHex, unix.STATX_BASIC_STATS), *c.statBuf}})
}

// compare compares 32 bits at an offset of what stat found.
func (c *compiler) compare(op program.Sys, offset, mask, value uint64, errno unix.Errno, p, why string) {
	at := *c.statBuf
	at.Val += offset
	c.in(program.Step{Sys: op, Dst: program.None, Path: p, Why: why, Args: []program.Arg{
		at, program.Flag(program.FmtHex, mask), program.Flag(program.FmtHex, value), program.Flag(program.FmtErrno, uint64(errno))}})
}

func (c *compiler) refuseType(fd int, typ uint64, errno unix.Errno, p, why string) {
	c.stat(fd, p, why)
	c.compare(program.OpRefuse, statxMode, unix.S_IFMT, typ, errno, p, why)
}

// bindsDev tells whether the container's /dev is one of the host's.
func (s *Spec) bindsDev() bool {
	return slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Type == Bind && path.Clean(m.Target) == "/dev" })
}
