package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate"
	"berth/isolate/program"
)

// wanted is a program that was to be executed, for who explains why it was not.
type wanted struct {
	root    string // where its root is
	process *specs.Process
	found   bool // it was there when the container was made
}

// failure words the failure of a start as callers know it from runc: from the
// text podman and docker see whether a program is missing or may not be executed.
func (w wanted) failure(err error) error {
	if hook := failedHook(err); hook != "" {
		return fmt.Errorf("error running %s: %w", hook, err)
	}
	step, ok := errors.AsType[*isolate.StepError](err)
	if !ok || w.process == nil || len(w.process.Args) == 0 || !isExecution(step) {
		return err
	}
	arg0 := w.process.Args[0]
	quoted := strconv.Quote(arg0)
	if errors.Is(err, unix.ENOENT) {
		if file, interpreter := w.look(); interpreter != "" {
			return fmt.Errorf("exec %s: %w: its interpreter %s is not there", file, unix.ENOENT, strconv.Quote(interpreter))
		} else if file != "" || w.found && strings.Contains(arg0, "/") && step.Op == program.SysExecve.String() {
			return fmt.Errorf("exec %s: %w; is its interpreter there, or its dynamic loader?", arg0, unix.ENOENT)
		}
	}
	switch {
	case !strings.Contains(arg0, "/") && errors.Is(err, unix.ENOENT):
		return fmt.Errorf("exec: %s: executable file not found in $PATH", quoted)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("exec: %s: stat %s: %w", quoted, arg0, unix.ENOENT)
	case step.Errno != nil:
		return fmt.Errorf("exec: %s: %w", quoted, step.Errno)
	}
	return err
}

// isExecution tells whether it was the program itself that could not be executed.
func isExecution(step *isolate.StepError) bool {
	return strings.HasPrefix(step.Why, "execute ")
}

// look finds the program's file, and if that is a script what it asks for as its
// interpreter. Each is "" where that is not known.
func (w wanted) look() (file, interpreter string) {
	root, err := unix.Open(w.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", ""
	}
	defer unix.Close(root)
	for _, file := range w.candidates() {
		if head, ok := executable(root, file); ok {
			return file, scriptInterpreter(head)
		}
	}
	return "", ""
}

// candidates are the files that the program may be.
func (w wanted) candidates() (files []string) {
	arg0 := w.process.Args[0]
	dirs := []string{""}
	if !strings.Contains(arg0, "/") {
		dirs = nil
		for _, v := range w.process.Env {
			if list, is := strings.CutPrefix(v, "PATH="); is {
				dirs = strings.Split(list, ":")
			}
		}
	}
	for _, dir := range dirs {
		file := path.Join(dir, arg0)
		if !path.IsAbs(file) {
			file = path.Join(w.process.Cwd, file)
		}
		files = append(files, file)
	}
	return files
}

// scriptHead is how much of a script the kernel reads for its interpreter
// (BINPRM_BUF_SIZE in include/uapi/linux/binfmts.h).
const scriptHead = 256

// executable gives the beginning of a regular file inside a root that somebody may
// execute. The root is not trusted: nothing but such a file is opened.
func executable(root int, file string) (head []byte, ok bool) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(root, file, &how)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return nil, false
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, true
	}
	defer f.Close()
	head, _ = io.ReadAll(io.LimitReader(f, scriptHead))
	return head, true
}

// scriptInterpreter gives the path after #!, as the kernel takes it: up to a space
// or tab, or the line's end (load_script in fs/binfmt_script.c). "" if there is none.
func scriptInterpreter(head []byte) string {
	line, is := bytes.CutPrefix(head, []byte("#!"))
	if !is {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	line, _, _ = bytes.Cut(line, []byte{0})
	if fields := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }); len(fields) > 0 {
		return string(fields[0])
	}
	return ""
}
