package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hookOutput is how much of a failing hook's output its error tells, in bytes.
const hookOutput = 4096

// stateMemory gives a file in memory that holds the state as JSON.
func stateMemory(state specs.State) (*os.File, error) {
	file, err := memory("state", nil)
	if err != nil {
		return nil, fmt.Errorf("cannot keep the state for hooks: %w", err)
	}
	if err := rewriteState(file, state); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// rewriteState replaces what the file holds.
func rewriteState(file *os.File, state specs.State) error {
	text, err := json.Marshal(state)
	if err == nil {
		_, err = file.WriteAt(text, 0)
	}
	if err == nil {
		err = file.Truncate(int64(len(text)))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the state for hooks: %w", err)
	}
	return nil
}

// runHooks runs hooks one after the other in this process' namespaces; kind
// names them for messages. The first that fails ends it.
func runHooks(kind string, hooks []specs.Hook, state specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("cannot tell %s hooks the state: %w", kind, err)
	}
	for i := range hooks {
		if err := runHook(&hooks[i], text, state.Bundle); err != nil {
			return fmt.Errorf("error running %s hook #%d: %s: %w", kind, i, hooks[i].Path, err)
		}
	}
	return nil
}

// runHook runs one hook to its end. Output goes to a file in memory: through a
// pipe, a process that the hook leaves running would keep this one waiting.
func runHook(hook *specs.Hook, state []byte, dir string) error {
	if !filepath.IsAbs(hook.Path) {
		return errors.New("its path is not absolute")
	}
	ctx := context.Background()
	if hook.Timeout != nil {
		if *hook.Timeout <= 0 {
			return fmt.Errorf("its timeout of %d s is not more than 0", *hook.Timeout)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*hook.Timeout)*time.Second)
		defer cancel()
	}
	input, err := memory("state", state)
	if err != nil {
		return err
	}
	defer input.Close()
	output, err := memory("output", nil)
	if err != nil {
		return err
	}
	defer output.Close()

	cmd := exec.CommandContext(ctx, hook.Path)
	if len(hook.Args) > 0 {
		cmd.Args = hook.Args
	}
	cmd.Env = append([]string{}, hook.Env...)
	cmd.Dir = dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, output, output
	err = cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %d s", *hook.Timeout)
	}
	if text := tail(output); len(text) > 0 {
		err = fmt.Errorf("%w; its output: %s", err, text)
	}
	return err
}

// memory gives an unlinked file with data in it, read and written from its beginning.
func memory(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.WriteAt(data, 0); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// outputName names the file in memory that hooks in the container write to.
const outputName = "hook output"

// hookOutput opens what startContainer hooks of a created container will write
// to. The command that has made it is gone, but the process at the gate, of which
// pidfd is, holds it. nil where there is none, or this user may not see it: only
// an error then says less.
func (r *Record) hookOutput(pidfd int) *os.File {
	if !slices.ContainsFunc(r.Steps, func(s Step) bool { return strings.HasPrefix(s.Why, "startContainer hook #") }) {
		return nil
	}
	dir := fmt.Sprintf("/proc/%d/fd", r.Process.PID)
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range all {
		path := filepath.Join(dir, e.Name())
		if target, err := os.Readlink(path); err != nil || target != "/memfd:"+outputName+" (deleted)" {
			continue
		}
		file, err := os.Open(path)
		if err == nil && unix.PidfdSendSignal(pidfd, 0, nil, 0) != nil {
			file.Close() // the pid may be another process' by now
			return nil
		}
		return file
	}
	return nil
}

// withOutput adds to the failure of a hook in the container what it has written;
// output may be nil.
func withOutput(err error, output *os.File) error {
	if output == nil || failedHook(err) == "" {
		return err
	}
	if text := tail(output); len(text) > 0 {
		return fmt.Errorf("%w; its output: %s", err, text)
	}
	return err
}

// tail gives the end of what was written to a file.
func tail(file *os.File) []byte {
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	text := make([]byte, min(info.Size(), hookOutput))
	n, _ := file.ReadAt(text, max(0, info.Size()-hookOutput))
	return bytes.TrimSpace(text[:n])
}
