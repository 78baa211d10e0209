package isolate

// This file is the seam between isolate and those that start containers. Its
// bodies are filled in by compile.go, prepare.go and spawn.go.

import "os"

// Files are the descriptors that a caller hands to Prepare. Prepare duplicates
// nothing and takes ownership of nothing: the caller keeps them open until the
// spawn has returned, and closes them.
type Files struct {
	Stdin, Stdout, Stderr *os.File            // nil: /dev/null
	Extra                 []*os.File          // as many as Process.ExtraFiles
	CgroupDir             *os.File            // v2 directory; with Cgroup.Unified
	CgroupProcs           map[string]*os.File // v1, by controller; with Cgroup.Legacy
	Processes             map[string]*os.File // pidfds for NSJoin, and "target" for an exec
}

// StepError is the failure of a start, told by the step that failed.
type StepError struct {
	Step  int    // number in the program as printed, from 0
	Op    string // the system call: "mount", "openat2"
	Path  string // what it was done to, if anything
	Why   string // what the step is for: "attach the root file system"
	Errno error  // a syscall.Errno, or nil
	Text  string // where there is no errno: "pre-start command 1 exited with status 3"
}
