package isolate

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tracer lets a container's processes trace each other whatever they are.
const tracer = 1 << unix.CAP_SYS_PTRACE

func tracing(spec *Spec) *Spec {
	spec.Process.Capabilities = Capabilities{Bounding: tracer, Permitted: tracer, Effective: tracer, Inheritable: tracer, Ambient: tracer}
	return spec
}

// A command that runs before the program goes for the process that waits to
// execute it. All it finds there is memory made for this start: no executable, no
// environment and no descriptor of the starter's.
func TestWaitingProcessHasNothingOfTheStarter(t *testing.T) {
	needRoot(t)
	t.Setenv("BERTH_TEST_MARK", "of-the-starter")
	const look = `
		readlink $P/exe
		for fd in $P/fd/*; do readlink $fd; done | sed 's/\[.*//' | sort | uniq -c | sed 's/  *//'
		cat $P/environ
		grep -c . $P/maps
		grep -q BERTH_TEST_MARK $P/mem 2>/dev/null && echo marked
		for how in "exec 9>$P/exe" "exec 9<>$P/exe" "exec 9>>$P/exe" "printf x | dd of=$P/exe conv=notrunc"; do
			(eval "$how" && printf x >&9) 2>/dev/null && echo "written by $how"
		done
		exit 0`
	for name, init := range map[string]bool{"the init": false, "below an init": true} {
		t.Run(name, func(t *testing.T) {
			spec := tracing(hostSpec("/bin/true"))
			spec.Init = init
			who := "1"
			if init {
				who = "2"
			}
			spec.PreStart = [][]string{{"/bin/sh", "-c", "P=/proc/" + who + look}}
			out := run(t, spec)
			lines := strings.Split(out, "\n")
			if len(lines) < 3 || !strings.HasPrefix(lines[0], "/memfd:berth-start") {
				t.Fatalf("it is\n%s", out)
			}
			// Standard streams, the status pipe, the gate and, with an init, what it was waited for with.
			for _, l := range lines[1 : len(lines)-1] {
				if f := strings.Fields(l); len(f) < 2 || f[1] != "pipe:" && f[1] != "/dev/null" && f[1] != "/memfd:berth-init" {
					t.Errorf("it has %s", l)
				}
			}
			if n := lines[len(lines)-1]; len(n) > 1 { // mappings: code, data, stack and what the kernel adds
				t.Errorf("it has %s mappings, or something was written:\n%s", n, out)
			}
		})
	}
}

// sum is what a file holds.
func sum(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// An image whose entry point is a script for /proc/self/exe has the kernel
// execute whatever executed it, inside the container and with the image's
// libraries (CVE-2019-5736). That is never this program's own file.
func TestEntryPointIsTheRuntime(t *testing.T) {
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := sum(t, self)
	for name, script := range map[string]string{"exe": "#!/proc/self/exe\n", "fd": "#!/proc/self/fd/3\n", "thread": "#!/proc/thread-self/exe --role=launcher\n", "mounted": "#!/proc/self/exe\n"} {
		t.Run(name, func(t *testing.T) {
			spec := pathSpec(t, "")
			root := spec.RootFS.Path
			spec.Process.Args = []string{"/entry"}
			if name == "mounted" { // on the host's root
				root = t.TempDir()
				spec = hostSpec("/run/image/entry")
				spec.Mounts = []Mount{{Type: Bind, Source: root, Target: "/run/image"}}
			}
			file := filepath.Join(root, "entry")
			write(t, file, script)
			if err := os.Chmod(file, 0o755); err != nil {
				t.Fatal(err)
			}
			// A library that would be loaded into a runtime that uses any.
			spec.Process.Env = []string{"LD_PRELOAD=/entry.so"}
			write(t, filepath.Join(root, "entry.so"), "not a library")
			out, ws, err := start(t, spec, Files{})
			// Either it cannot be executed, or what is executed finds no gate and leaves.
			if err == nil && ws.ExitStatus() != ExitGateClosed || out != "" {
				t.Errorf("it wrote %q and ended with %#x, %v", out, uint32(ws), err)
			}
		})
	}
	if sum(t, self) != before {
		t.Error("the starter's own file has changed")
	}
}

// A program finds itself, and no other file, behind /proc/self/exe; and of the
// process that waited to execute it nothing stays behind that could be opened.
func TestProgramIsItself(t *testing.T) {
	needRoot(t)
	cat, err := exec.LookPath("readlink")
	if err != nil {
		t.Fatal(err)
	}
	if real, err := filepath.EvalSymlinks(cat); err == nil {
		cat = real
	}
	equal(t, "itself", run(t, hostSpec("readlink", "/proc/self/exe", "/proc/1/exe")), cat+"\n"+cat)
}
