package runtime

import (
	"errors"
	"fmt"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate"
	"berth/isolate/oci"
)

// Start lets the process of a created container execute its program, and waits
// until it has. Where that fails the container is stopped; where a hook fails it
// is stopped and deleted, as the runtime-spec demands.
func (rt *Runtime) Start(id string) error {
	if err := CheckID(id); err != nil {
		return ErrNotExist
	}
	r, n, err := rt.pass(id)
	defer n.close()
	if err != nil {
		if failedHook(err) != "" {
			err = both(err, rt.Delete(id, true))
		}
		return err
	}
	// The lock is free again: hooks may use it.
	if err := rt.poststart(r); err != nil {
		return both(err, rt.Delete(id, true))
	}
	if n == nil {
		return nil
	}
	pidfd, err := r.Process.open()
	if err == errGone {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFD(pidfd)
	return n.wait(r.Process.PID, pidfd)
}

// poststart runs the hooks after the start. One that fails ends the container;
// before runtime-spec 1.3 it is a warning, and the others run.
func (rt *Runtime) poststart(r *Record) error {
	state := r.hookState(Running, r.Process.PID)
	if oci.Minor(r.Version) >= 3 {
		return runHooks("poststart", r.Poststart, state)
	}
	rt.runAll("poststart", r.Poststart, state)
	return nil
}

// runAll runs all hooks; what fails is a warning.
func (rt *Runtime) runAll(kind string, hooks []specs.Hook, state specs.State) {
	for i := range hooks {
		if err := runHooks(kind, hooks[i:i+1], state); err != nil {
			rt.warn(err.Error())
		}
	}
}

// pass opens the gate, under the lock. The caller closes the notifier.
func (rt *Runtime) pass(id string) (*Record, *notifier, error) {
	l, err := rt.store.lock(id, lockWait)
	if err != nil {
		return nil, nil, err
	}
	defer l.unlock()
	r, status, pidfd, err := rt.look(id)
	if err != nil {
		return nil, nil, err
	}
	defer closeFD(pidfd)
	switch status {
	case Created:
		if len(r.Args) == 0 {
			return nil, nil, errors.New("cannot start a container whose configuration has no process; delete it, or execute in it")
		}
	case Stopped:
		return nil, nil, errors.New("cannot start a container that has stopped")
	case Running:
		return nil, nil, errors.New("cannot start an already running container")
	default:
		return nil, nil, fmt.Errorf("cannot start a container in the %s state", status)
	}
	reports, err := l.openStatus()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the status of container %q: %w", id, err)
	}
	defer reports.Close()
	n, err := l.newNotifier()
	if err != nil {
		return nil, nil, err
	}
	output := r.hookOutput(pidfd)
	if output != nil {
		defer output.Close()
	}
	gate, err := rt.openGate(id)
	if err == nil {
		_, err = gate.Write([]byte{1})
		gate.Close()
	}
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EPIPE):
		return nil, n, errors.New("cannot start a container that has stopped")
	case err != nil:
		return nil, n, fmt.Errorf("cannot open the gate of container %q: %w", id, err)
	}
	err = isolate.NewStatusReader(reports, programOf(id, r.Steps)).Until(isolate.AtProgram, time.Time{})
	if err != nil {
		err = withOutput(rt.wanted(r).failure(err), output)
	}
	return r, n, err
}

// wanted is the program of a container that was created.
func (rt *Runtime) wanted(r *Record) wanted {
	w := wanted{root: r.Rootfs, process: &specs.Process{Args: r.Args}, found: true}
	var config specs.Spec
	if _, err := oci.DecodeFile(rt.store.dir(r.ID)+"/"+configFile, &config); err == nil && config.Process != nil {
		w.process = config.Process
	}
	return w
}

// failedHook names the hook that failed, of those that run in the container; "" is none.
func failedHook(err error) string {
	step, ok := errors.AsType[*isolate.StepError](err)
	if !ok || !strings.Contains(step.Why, "Container hook #") {
		return ""
	}
	return step.Why
}
