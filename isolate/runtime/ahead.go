package runtime

import (
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ahead makes those namespaces of a container that can be made before its first
// process, and then its groups, in a thread of its own, while all else is
// prepared: a network namespace takes a third of the time of a start. The thread
// then forks the process, which inherits them, and ends. What is to be done there
// is done in its order, so that nothing needs to wake the thread in between.
type ahead struct {
	jobs chan func(made uint64)
}

// maxJobs is more than a start has.
const maxJobs = 4

// aheadFlags are the namespaces that can be: a PID namespace begins with its
// first process, a cgroup namespace in its group, and a mount namespace is
// cloned when the sources of mounts have been opened.
var aheadFlags = map[specs.LinuxNamespaceType]uint64{
	specs.NetworkNamespace: unix.CLONE_NEWNET, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS,
}

// newAhead begins. The caller calls close. It is nil, which does everything
// elsewhere, where nothing can be made ahead: in a user namespace the others must be its own.
func newAhead(config *specs.Spec) *ahead {
	if config.Linux == nil {
		return nil
	}
	var flags uint64
	for _, ns := range config.Linux.Namespaces {
		if ns.Type == specs.UserNamespace {
			return nil
		}
		if ns.Path == "" {
			flags |= aheadFlags[ns.Type]
		}
	}
	if flags&unix.CLONE_NEWNET == 0 {
		return nil // the others are made in no time
	}
	a := &ahead{make(chan func(uint64), maxJobs)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Unshare(int(flags)) != nil {
			flags = 0 // the fork tells why not
		}
		for job := range a.jobs {
			job(flags)
		}
	}()
	return a
}

// meanwhileIn does something in the thread, when it comes to it.
func meanwhileIn[T any](a *ahead, do func(made uint64) (T, error)) *async[T] {
	if a == nil {
		return meanwhile(func() (T, error) { return do(0) })
	}
	result := newAsync[T]()
	a.jobs <- func(made uint64) { result.run(func() (T, error) { return do(made) }) }
	return result
}

// close ends the thread.
func (a *ahead) close() {
	if a != nil {
		close(a.jobs)
	}
}
