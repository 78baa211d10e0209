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
	jobs chan func()
	made uint64 // CLONE_NEW* flags; for jobs
}

// maxJobs is what a start has: namespaces, groups, fork.
const maxJobs = 3

// newAhead begins the thread, before there is anything to do: that takes its time
// too. The caller calls close.
func newAhead() *ahead {
	a := &ahead{jobs: make(chan func(), maxJobs)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for job := range a.jobs {
			job()
		}
	}()
	return a
}

// aheadFlags are the namespaces that can be: a PID namespace begins with its
// first process, a cgroup namespace in its group, and a mount namespace is
// cloned when the sources of mounts have been opened.
var aheadFlags = map[specs.LinuxNamespaceType]uint64{
	specs.NetworkNamespace: unix.CLONE_NEWNET, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS,
}

// namespaces begins to make them. Nothing is made ahead in a user namespace, since
// the others must be its own.
func (a *ahead) namespaces(config *specs.Spec) {
	if config.Linux == nil {
		return
	}
	var flags uint64
	for _, ns := range config.Linux.Namespaces {
		if ns.Type == specs.UserNamespace {
			return
		}
		if ns.Path == "" {
			flags |= aheadFlags[ns.Type]
		}
	}
	if flags&unix.CLONE_NEWNET == 0 {
		return // the others are made in no time
	}
	a.jobs <- func() {
		if unix.Unshare(int(flags)) == nil { // else the fork tells why not
			a.made = flags
		}
	}
}

// doAhead has something done in the thread, when it comes to it.
func doAhead[T any](a *ahead, do func() (T, error)) *async[T] {
	result := &async[T]{done: make(chan struct{})}
	a.jobs <- func() {
		defer close(result.done)
		result.value, result.err = do()
	}
	return result
}

// close ends the thread. A nil ahead has none.
func (a *ahead) close() {
	if a != nil {
		close(a.jobs)
	}
}

// async is something that is done meanwhile.
type async[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// wait gives the result, as often as it is wanted. Of what was never begun it is
// zero.
func (a *async[T]) wait() (value T, err error) {
	if a == nil {
		return value, nil
	}
	<-a.done
	return a.value, a.err
}
