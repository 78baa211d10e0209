package isolate

import "os"

// Files are the descriptors that a caller hands to Prepare. Prepare duplicates
// nothing and takes ownership of nothing: the caller keeps them open until the
// spawn has returned, and closes them.
type Files struct {
	Stdin, Stdout, Stderr *os.File            // nil: /dev/null
	Extra                 []*os.File          // as many as Process.ExtraFiles
	CgroupDir             *os.File            // v2 directory; with Cgroup.Unified
	CgroupProcs           map[string]*os.File // v1, by controller; with Cgroup.Legacy and Cgroup.Optional
	Processes             map[string]*os.File // pidfds for NSJoin, and TargetProcess for an exec

	// Groups, if set, gives CgroupDir and CgroupProcs. Prepare calls it once, while
	// another goroutine does all else: making the groups there takes less time of
	// the start. What Groups has opened or made stays the caller's, also when
	// Prepare fails.
	Groups func() (dir *os.File, procs map[string]*os.File, err error)

	// GroupsLater: CgroupDir and CgroupProcs come with Prepared.Enter, before the
	// child is forked.
	GroupsLater bool

	// CgroupMounts are the control group file systems that are mounted, of a caller
	// who has just looked; none: Prepare looks when it needs to know.
	CgroupMounts []CgroupMount

	HookState  *os.File // with hooks: a file (best a sealed memfd) read from its beginning by each of them
	HookOutput *os.File // with hooks: their standard output and error; nil: /dev/null
	Console    *os.File // with Process.Console: a connected unix stream socket that takes the master and its name
	Listener   *os.File // with Process.SeccompListener: a connected unix socket that takes the listener
	// Status, if set, is the child's end of the status pipe, for a caller that
	// reads the other end itself (StatusReader): a pipe, or a FIFO that lets another
	// process read it later. Prepared.Wait is then an error. nil: Prepare makes a pipe.
	Status *os.File

	// Gate is what the child waits at before it executes anything; one byte lets
	// it pass. nil: Prepare makes a pipe, whose other end Prepared.Proceed writes to.
	// A FIFO opened for reading and writing keeps the child waiting when its starter
	// has ended; then only a signal ends it, also when a step has failed.
	Gate *os.File
}

// CgroupMount is a mounted control group file system.
type CgroupMount struct {
	Unified bool // it is v2
	Dir     string
	Options []string // of the superblock: for v1 they name the controllers
}
