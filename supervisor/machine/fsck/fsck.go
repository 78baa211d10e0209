// Package fsck checks file systems before they are mounted, by the programs
// fsck.TYPE that they come with.
//
// The programs are run with os/exec in the process that asks: the supervisor, or
// PID 1 of an initramfs before it becomes the reaper. Neither is in the process
// that waits for all children, beside which os/exec must not be (package reaper),
// and what these programs leave behind is reaped there as any orphan.
package fsck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are how checks are made.
type Options struct {
	Mode   string // auto, force, skip: the kernel command line's fsck.mode
	Repair string // preen, yes, no: its fsck.repair
	// Locks is a directory, made if it is missing, of a lock for each device: a
	// check that its supervisor did not outlive is waited for.
	Locks string
}

// Result is what a check came to.
type Result struct {
	Checked bool // a program ran
	Fixed   bool // it corrected something
	Reboot  bool // the machine has to be rebooted before the file system is used
	Output  string
}

// Bits of the exit status (fsck(8)).
const (
	corrected   = 1
	reboot      = 2
	uncorrected = 4
	failed      = 8
	usage       = 16
	canceled    = 32
)

// Error is that a file system cannot be used as it is.
type Error struct {
	Device string
	Status int
	Output string // the program's last lines
}

func (e *Error) Error() string {
	what := fmt.Sprintf("status %d", e.Status)
	switch {
	case e.Status&uncorrected != 0:
		what = "it has errors that were not corrected"
	case e.Status&canceled != 0:
		what = "it was ended before it was done"
	case e.Status&failed != 0:
		what = "the check itself failed"
	case e.Status&usage != 0:
		what = "it does not know its options"
	}
	s := fmt.Sprintf("cannot use the file system on %s: %s", e.Device, what)
	if e.Output != "" {
		s += ":\n" + e.Output
	}
	return s
}

// Args are the arguments for a file system's type: what all fsck.TYPE take alike,
// and -f, which means another thing to those of FAT.
func (o Options) Args(kind string) []string {
	args := []string{"-a"}
	switch o.Repair {
	case "yes":
		args = []string{"-y"}
	case "no":
		args = []string{"-n"}
	}
	if o.Mode == "force" && !strings.HasSuffix(kind, "fat") && kind != "msdos" {
		args = append(args, "-f")
	}
	return args
}

// places are where the programs are, as mount(8) has them.
var places = []string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"}

// Program gives the path of fsck.TYPE, "" if there is none.
func Program(kind string) string {
	if strings.ContainsAny(kind, "/\x00") {
		return ""
	}
	for _, dir := range places {
		p := dir + "/fsck." + kind
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// Run checks the file system of a type on a device, however long that takes. With
// ctx the program is asked to end (SIGTERM), which it does when it safely can. It
// gives no error and Checked false where no check is to be made or there is no
// program for it.
func Run(ctx context.Context, device, kind string, o Options) (Result, error) {
	program := Program(kind)
	if o.Mode == "skip" || program == "" {
		return Result{}, nil
	}
	lock, err := o.lock(device)
	if err != nil {
		return Result{}, err
	}
	defer lock.Close()
	cmd := exec.CommandContext(ctx, program, append(o.Args(kind), device)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.Env = []string{"PATH=" + strings.Join(places, ":"), "LANG=C.UTF-8"}
	cmd.ExtraFiles = []*os.File{lock} // held as long as the program runs
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Result{}, fmt.Errorf("cannot run %s: %w", program, err)
	}
	return judge(device, cmd.ProcessState.ExitCode(), out.String())
}

// judge tells what an exit status means; one by a signal is -1.
func judge(device string, status int, output string) (Result, error) {
	r := Result{Checked: true, Output: output}
	if status < 0 || status&^(corrected|reboot) != 0 {
		if status < 0 {
			status = canceled
		}
		return r, &Error{Device: device, Status: status, Output: output}
	}
	r.Fixed, r.Reboot = status&corrected != 0, status&reboot != 0
	return r, nil
}

// lock waits until no check of the device is under way.
func (o Options) lock(device string) (*os.File, error) {
	if err := os.MkdirAll(o.Locks, 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock the check of %s: %w", device, err)
	}
	name := o.Locks + "/" + strings.ReplaceAll(strings.TrimPrefix(device, "/dev/"), "/", "!")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	for err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the check of %s: %w", device, err)
	}
	return f, nil
}

// tail keeps the end of what a program writes.
type tail struct{ b []byte }

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

// String gives the lines, without what terminals are told.
func (t *tail) String() string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, string(t.b))
	return strings.TrimSpace(strings.ToValidUTF8(clean, "\ufffd"))
}
