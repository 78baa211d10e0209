package isolate

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// On a kernel that cannot be told which PID namespace a /proc is to show, a
// helper in that namespace makes it.
func TestJoinedPIDNamespaceOnOlderKernels(t *testing.T) {
	needRoot(t)
	_, pidfd := background(t, hostSpec("sleep", "1000"))
	for name, option := range map[string]string{"this one": "pidns", "an older one": "pidnx"} { // as unknown as the other is there
		t.Run(name, func(t *testing.T) {
			spec := shell("cat /proc/1/comm; test -e /proc/self/stat && echo in it; set -- /proc/[0-9]*; echo $#")
			spec.Namespaces.PID = Namespace{Mode: NSJoin, Process: "web"}
			p, err := Compile(spec)
			if err != nil {
				t.Fatal(err)
			}
			p.Arena = bytes.ReplaceAll(p.Arena, []byte("\x00pidns\x00"), []byte("\x00"+option+"\x00"))
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			prep, err := Prepare(p, Files{Stdout: w, Stderr: w, Processes: map[string]*os.File{"web": pidfd}})
			if err != nil {
				t.Fatal(err)
			}
			child, err := Spawn(prep)
			w.Close()
			prep.Close()
			if err != nil {
				t.Fatal(err)
			}
			out, _ := io.ReadAll(r)
			if ws, err := child.Wait(); err != nil || ws != 0 {
				t.Errorf("%#x, %v", uint32(ws), err)
			}
			equal(t, "/proc", string(out), "sleep\nin it\n2\n") // the init and the shell
		})
	}
}
