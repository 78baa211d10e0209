// Command berth-oci runs OCI containers by berth's isolation core, behind the
// command line that containerd, podman and docker expect of an OCI runtime.
// Flags and printing are here; what the commands do is package isolate/runtime.
package main

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/runtime"
)

// version is set by the linker (make build).
var version = "development"

const name = "berth-oci"

// invocation is one command line, taken apart.
type invocation struct {
	global values
	values
	args      []string
	log       *logger
	rt        *runtime.Runtime // nil for commands that need none
	inherited int              // descriptors from 3 on
	code      int              // the exit code if the command does not fail
}

// exitError is a failure with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	touchMetadata()
	program.SlackenMonitor()
	// Nobody may look into this process or a child of it that is not yet the
	// container's program.
	err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	inherited, err2 := runtime.Inherited()
	if err := errors.Join(err, err2); err != nil {
		(&logger{out: os.Stderr}).fail(err)
		os.Exit(1)
	}
	os.Exit(execute(os.Args[1:], inherited))
}

// touchMetadata has the memory there from which the Go runtime takes its lists of
// spans next. It reads a page of them before it writes to it, so that each is two
// faults, of which the second replaces a page: that has to be told to the other
// processor, where the second thread is at work. What is next in that memory lies
// behind the table that the runtime has just made for an interface (persistentalloc
// in runtime/malloc.go takes both from one piece). Where that is not so, and before
// Linux 5.14, it does nothing or touches some memory in vain. And it leaves all that
// out of forks: see keep.go of package program, which does so for the heap.
func touchMetadata() {
	const pages = 24
	found := unlinked.(fmt.Stringer)
	table := *(*uintptr)(unsafe.Pointer(&found)) // the first of an interface's two words
	size := uintptr(os.Getpagesize())
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, (table+size)&^(size-1), pages*size, unix.MADV_POPULATE_WRITE)
	// No child of this process needs anything that is mapped here: all that the runtime
	// has for itself. (There is nothing at some places, of which the kernel complains.)
	const around = 2 << 30
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, table&^(size-1)-around, 2*around, unix.MADV_DONTFORK)
}

// unlinked is of a type for which the linker has no such table.
var unlinked any = stringer{}

type stringer struct{}

func (stringer) String() string { return "" }

func execute(args []string, inherited int) int {
	stderr := &logger{out: os.Stderr}
	if len(args) > maxArgs {
		stderr.fail(fmt.Errorf("%d arguments are more than %d", len(args), maxArgs))
		return 1
	}
	global, rest, err := parse(globalFlags, args, false)
	switch {
	case err == errHelp:
		printHelp(os.Stdout)
		return 0
	case err != nil:
		fmt.Printf("Incorrect Usage: %v\n\n", err)
		printHelp(os.Stdout)
		stderr.fail(err)
		return 1
	case global.bool("version"):
		fmt.Printf("%s version %s\nspec: %s\ngo: %s\n", name, version, specs.Version, goruntime.Version())
		return 0
	}
	log, err := openLog(global.text("log"), global.text("log-format"), global.bool("debug"))
	if err != nil {
		stderr.fail(err)
		return 1
	}
	if len(rest) == 0 || rest[0] == "help" || rest[0] == "h" {
		return help(rest, log)
	}
	c := find(rest[0])
	if c == nil {
		log.fail(noSuchCommand(rest[0]))
		return 3
	}
	return c.invoke(&invocation{global: global, log: log, inherited: inherited}, rest[1:])
}

// invoke parses what follows the command's name, and does it.
func (c *command) invoke(inv *invocation, args []string) int {
	global, log := inv.global, inv.log
	var err error
	inv.values, inv.args, err = parse(c.flags, args, !c.raw)
	if err == errHelp {
		c.help(os.Stdout)
		return 0
	}
	if err != nil {
		fmt.Printf("Incorrect Usage: %v\n\n", err)
		c.help(os.Stdout)
		log.fail(err)
		return 1
	}
	if err := c.count(len(inv.args)); err != nil {
		fmt.Print("Incorrect Usage.\n\n")
		c.help(os.Stdout)
		log.fail(err)
		return 1
	}
	if global.bool("systemd-cgroup") && c.needsRuntime {
		err = errors.New("cannot use --systemd-cgroup: berth-oci makes the control groups itself, by linux.cgroupsPath; set the caller to the cgroupfs driver")
	}
	if err == nil && c.needsRuntime {
		inv.rt, err = inv.open()
	}
	if err == nil {
		err = c.run(inv)
	}
	if err != nil {
		log.fail(err)
		if coded, ok := errors.AsType[*exitError](err); ok {
			return coded.code
		}
		return 1
	}
	return inv.code
}

// count checks the number of arguments.
func (c *command) count(n int) error {
	switch {
	case c.exact && n != c.args:
		return fmt.Errorf("%s: %q requires exactly %d argument(s)", name, c.name, c.args)
	case n < c.args:
		return fmt.Errorf("%s: %q requires a minimum of %d argument(s)", name, c.name, c.args)
	case c.most > 0 && n > c.most:
		return fmt.Errorf("%s: %q takes at most %d argument(s)", name, c.name, c.most)
	}
	return nil
}

// open opens the place of the containers.
func (inv *invocation) open() (*runtime.Runtime, error) {
	o := runtime.Options{Root: inv.global.text("root"), Inherited: inv.inherited, Warn: inv.log.warn}
	switch v := inv.global.text("rootless"); v {
	case "", "auto":
	case "true", "false":
		on := v == "true"
		o.Rootless = &on
	default:
		return nil, fmt.Errorf("invalid value %q for --rootless; it is true, false or auto", v)
	}
	return runtime.New(o)
}

func help(args []string, log *logger) int {
	if len(args) < 2 {
		printHelp(os.Stdout)
		return 0
	}
	if c := find(args[1]); c != nil {
		c.help(os.Stdout)
		return 0
	}
	log.fail(noSuchCommand(args[1]))
	return 3
}

// noSuchCommand is worded as runc's.
type noSuchCommand string

func (c noSuchCommand) Error() string { return fmt.Sprintf("No help topic for '%s'", string(c)) }
