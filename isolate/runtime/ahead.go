package runtime

import (
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate"
)

// ahead makes those namespaces of a container that can be made before its first
// process, in a thread of their own, while all else is prepared: a network
// namespace takes a third of the time of a start. The thread then forks the
// process, which inherits them, and ends.
type ahead struct {
	forks chan func(made uint64)
}

// aheadFlags are the namespaces that can be: a PID namespace begins with its
// first process, a cgroup namespace in its group, and a mount namespace is
// cloned when the sources of mounts have been opened.
var aheadFlags = map[specs.LinuxNamespaceType]uint64{
	specs.NetworkNamespace: unix.CLONE_NEWNET, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS,
}

// newAhead begins. The caller calls fork or close, and it is nil, which does
// neither, where nothing can be made: in a user namespace the others must be its own.
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
	a := &ahead{make(chan func(uint64))}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Unshare(int(flags)) != nil {
			flags = 0 // the fork tells why not
		}
		for fork := range a.forks {
			fork(flags)
		}
	}()
	return a
}

// fork forks a prepared process in the thread.
func (a *ahead) fork(p *isolate.Prepared) (child *isolate.Child, err error) {
	if a == nil {
		return p.Fork()
	}
	done := make(chan struct{})
	a.forks <- func(made uint64) {
		child, err = p.ForkIn(made)
		close(done)
	}
	<-done
	return child, err
}

// close ends the thread.
func (a *ahead) close() {
	if a != nil {
		close(a.forks)
	}
}
