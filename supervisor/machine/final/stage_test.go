package final

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/core"
	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// The tests of this file run the stage as init of a PID namespace with a mount
// namespace of its own, where reboot(2) ends that init and nothing else.

const (
	sceneVariable = "BERTH_FINAL_SCENE"
	dirVariable   = "BERTH_FINAL_DIR"
	// freezerVariable names a group of the freezer of cgroup v1.
	freezerVariable = "BERTH_FINAL_FREEZER"
)

// patience bounds every wait.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if name := os.Getenv(sceneVariable); name == "was here" {
		fmt.Printf("again as PID %d: %v\n", os.Getpid(), os.Args)
		os.Exit(3)
	} else if name != "" {
		os.Exit(play(name, os.Getenv(dirVariable)))
	}
	os.Exit(m.Run())
}

// ending is how a stage ended.
type ending struct {
	signal syscall.Signal
	code   int
	out    string // standard error, the console and the kernel's log
	took   time.Duration
}

// stageIn runs a scene as PID 1 and waits for its end.
func stageIn(t *testing.T, scene, dir string) ending {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), sceneVariable+"="+scene, dirVariable+"="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if scene == "container reboot, no capability" {
		runtime.LockOSThread() // and it ends with this goroutine
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_BOOT, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	stop.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	e := ending{took: time.Since(began)}
	if status.Signaled() {
		e.signal = status.Signal()
	} else {
		e.code = status.ExitStatus()
	}
	for _, name := range []string{"console", "kmsg"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			out.Write(text)
		}
	}
	e.out = out.String()
	t.Logf("signal %d, exit code %d, after %v:\n%s", e.signal, e.code, e.took, e.out)
	return e
}

// play is the init of a scene: it makes what the scene needs and runs the stage,
// which may touch only what is below dir, and devices with files from there.
func play(scene, dir string) int {
	s := &stage{Options: Options{Action: core.ActionPowerOff, Place: machine.Machine, Limit: 6 * time.Second}, sys: linux{}}
	s.only = func(step Step) bool {
		switch step.Op {
		case OpLoop:
			return strings.HasPrefix(word("/sys/block/"+step.Target+"/loop/backing_file"), dir)
		case OpUnmount, OpReadOnly, OpLazy:
			return strings.HasPrefix(step.Target, dir+"/")
		}
		return false
	}
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "scene", scene+":", err)
			os.Exit(99)
		}
	}
	if os.Getpid() != 1 {
		must(errors.New("not PID 1"))
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	for _, name := range []string{"console", "kmsg"} { // of the real machine's nothing is touched
		file := filepath.Join(dir, name)
		must(os.WriteFile(file, nil, 0o600))
		must(unix.Mount(file, "/dev/"+name, "", unix.MS_BIND, ""))
	}
	must(scenes[scene](s, dir))
	if polite[scene] {
		s.Limit = patience // on a busy machine processes take longer to end than they would be given
	}
	return s.run()
}

// polite are the scenes in which all processes end when they are asked to.
var polite = map[string]bool{"polite": true, "stopped": true, "layers": true, "container exit": true}

// scenes are what stages are run on.
var scenes = map[string]func(s *stage, dir string) error{
	"empty":    func(*stage, string) error { return nil },
	"polite":   func(*stage, string) error { return spawn(":", "sleep 1000") },
	"stubborn": func(*stage, string) error { return spawn(`trap "" TERM HUP`, `while :; do sleep 1; done`) },
	"stopped":  func(*stage, string) error { return spawn(":", `exec sh -c 'kill -STOP $$; exec sleep 1000'`) },
	"no proc": func(s *stage, _ string) error {
		if err := spawn(`trap "" TERM HUP`, `while :; do sleep 1; done`); err != nil {
			return err
		}
		return unix.Mount("none", "/proc", "tmpfs", 0, "")
	},
	"forks": func(s *stage, _ string) error {
		return spawn(`trap "" TERM HUP`, `f() { sleep 0.01; f & }; f; f; f; while :; do sleep 1; done`)
	},
	"layers": layered,
	"busy": func(s *stage, dir string) error {
		if err := layered(s, dir); err != nil {
			return err
		}
		_, err := unix.Open(dir+"/data/inner/held", unix.O_CREAT|unix.O_RDONLY, 0o600) // by PID 1 itself
		return err
	},
	"written": func(s *stage, dir string) error {
		if err := layered(s, dir); err != nil {
			return err
		}
		_, err := unix.Open(dir+"/data/inner/held", unix.O_CREAT|unix.O_WRONLY, 0o600)
		return err
	},
	"frozen": func(s *stage, dir string) error {
		cmd := exec.Command("/bin/sh", "-c", "exec sleep 1000")
		if err := cmd.Start(); err != nil {
			return err
		}
		if err := os.WriteFile(os.Getenv(freezerVariable)+"/cgroup.procs", []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
			return err
		}
		return os.WriteFile(os.Getenv(freezerVariable)+"/freezer.state", []byte("FROZEN"), 0)
	},
	"hangs": func(s *stage, _ string) error {
		s.sys, s.only = &broken{hang: true}, nil
		return nil
	},
	"panics": func(s *stage, _ string) error {
		s.sys, s.only = &broken{}, nil
		return nil
	},
	"panics early": func(s *stage, _ string) error {
		s.sys, s.only = nil, nil
		return nil
	},
	"reboot": func(s *stage, _ string) error { s.Action = core.ActionReboot; return nil },
	"container exit": func(s *stage, _ string) error {
		s.Action, s.Place, s.Code = core.ActionExit, machine.Container, 7
		return spawn(":", "sleep 1000")
	},
	"container reboot": func(s *stage, _ string) error {
		s.Action, s.Place = core.ActionReboot, machine.Container
		return nil
	},
	"container reboot, no capability": func(s *stage, _ string) error {
		s.Action, s.Place = core.ActionReboot, machine.Container
		return nil
	},
	"again": func(s *stage, dir string) error {
		s.Action, s.Again = core.ActionSoftReboot, []string{"again", "--flag"}
		return os.Setenv(sceneVariable, "was here")
	},
}

// spawn starts a shell script in the background and waits until it has set itself
// up, which it tells by closing a pipe.
func spawn(setUp, script string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", "exec 3>&1 >&2; ( "+setUp+"; exec 3>&-; "+script+" ) & exec 3>&-")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		return err
	}
	w.Close()
	_, err = r.Read(make([]byte, 1)) // the end
	r.Close()
	if err != nil && err.Error() == "EOF" {
		err = nil
	}
	return err
}

// layered makes DIR/data of a file on a tmpfs by a loop device, DIR/data/inner of
// a file on DIR/data, an overlay over both, a bind mount, and a process inside.
func layered(s *stage, dir string) error {
	return shell(fmt.Sprintf(`set -e
cd %s
mkdir -p disk data over bind
mount -t tmpfs none disk
truncate -s 32M disk/a.img
mkfs.ext4 -q -O ^has_journal disk/a.img
mount -o loop disk/a.img data
mkdir data/inner data/low data/up data/work
truncate -s 8M data/b.img
mkfs.ext4 -q -O ^has_journal data/b.img
mount -o loop data/b.img data/inner
mount -t overlay -o lowerdir=%[1]s/data/low:%[1]s/data/inner,upperdir=%[1]s/data/up,workdir=%[1]s/data/work none over
mount --bind data/inner bind
cd over
sleep 1000 &
`, dir))
}

func shell(script string) error {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// broken is a machine on which nothing ends, or everything fails.
type broken struct{ hang bool }

func (b *broken) wait() {
	if b.hang {
		select {}
	}
	panic("broken")
}

func (b *broken) look() (Host, error) {
	return Host{Mounts: []Mount{{ID: 1, Device: "8:1", Point: "/", Type: "ext4", Super: "rw"}, {ID: 2, Parent: 1, Device: "0:9", Point: "/net", Type: "nfs4", Super: "rw"}}}, nil
}
func (b *broken) do(Step) error             { b.wait(); return nil }
func (b *broken) sync()                     { b.wait() }
func (b *broken) unwritten() (uint64, bool) { return 4096, true }

func TestStage(t *testing.T) {
	for _, c := range []struct {
		scene  string
		signal syscall.Signal
		code   int
		says   []string
		longer time.Duration // it takes at least
	}{
		{"empty", unix.SIGINT, 0, []string{"berthd: power off: no process was left; everything is unmounted\r\n", "<7>berthd: power off: "}, 0},
		{"reboot", unix.SIGHUP, 0, []string{"berthd: reboot: no process was left"}, 0},
		{"polite", unix.SIGINT, 0, []string{"power off: no process was left"}, 0},
		{"stopped", unix.SIGINT, 0, []string{"power off: no process was left"}, 0},
		{"stubborn", unix.SIGINT, 0, []string{"power off: killed ", " sh"}, 2 * time.Second},
		{"no proc", unix.SIGINT, 0, []string{"power off: ", "cannot see what is mounted"}, 2 * time.Second},
		{"forks", unix.SIGINT, 0, []string{"power off: killed ", " sh"}, 2 * time.Second},
		{"layers", unix.SIGINT, 0, []string{"power off: no process was left; everything is unmounted"}, 0},
		{"busy", unix.SIGINT, 0, []string{"; still attached: loop", "still mounted and writable: DIR/data (busy)", "still mounted: DIR/data/inner (busy)"}, 0},
		{"written", unix.SIGINT, 0, []string{"still mounted and writable: DIR/data/inner (busy), DIR/data (busy)"}, 0},
		{"hangs", unix.SIGINT, 0, []string{"still mounted and writable: / (hangs)", "still mounted: /net (hangs)", "the disks do not take what is to be written (4 KiB)"}, 0},
		{"panics", unix.SIGINT, 0, []string{"still mounted: /net ("}, 0},
		{"panics early", unix.SIGINT, 0, []string{"berthd panicked: "}, 0},
		{"container exit", 0, 7, nil, 0},
		{"container reboot", unix.SIGHUP, 0, nil, 0},
		{"container reboot, no capability", 0, 129, nil, 0},
	} {
		t.Run(c.scene, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			e := stageIn(t, c.scene, dir)
			if e.signal != c.signal || e.code != c.code {
				t.Errorf("ended with signal %d and exit code %d, want %d and %d", e.signal, e.code, c.signal, c.code)
			}
			for _, text := range c.says {
				if text = strings.ReplaceAll(text, "DIR", dir); !strings.Contains(e.out, text) {
					t.Errorf("nothing of %q", text)
				}
			}
			if e.took < c.longer {
				t.Errorf("over after %v", e.took)
			}
			if left := loops(dir); left != nil && c.scene != "busy" && c.scene != "written" {
				t.Errorf("loop devices are left: %v", left)
			}
		})
	}
}

// loops gives the loop devices with files below dir.
func loops(dir string) (out []string) {
	for _, d := range devices("/sys/block") {
		if strings.HasPrefix(d.File, dir) {
			out = append(out, d.Name)
		}
	}
	return out
}

// The same binary goes on as PID 1, with the arguments that it was told.
func TestSoftReboot(t *testing.T) {
	e := stageIn(t, "again", t.TempDir())
	if e.signal != 0 || e.code != 3 || !strings.Contains(e.out, "again as PID 1: [again --flag]") {
		t.Error("it did not start again")
	}
}

// A process that cannot be killed does not hold it: one in a frozen group of
// cgroup v1 ends when it is thawed, and not before.
func TestUnkillable(t *testing.T) {
	root := "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			return // only cgroup v1 has processes that SIGKILL does not end
		}
		t.Skip("no freezer of cgroup v1 is mounted")
	}
	group, err := os.MkdirTemp(root, "berth-final-")
	if err != nil {
		t.Skip("cannot make a group: ", err)
	}
	thaw := func() { _ = os.WriteFile(group+"/freezer.state", []byte("THAWED"), 0) }
	t.Cleanup(func() {
		thaw()
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	t.Setenv(freezerVariable, group)
	dir := t.TempDir()
	// The end of a PID namespace waits for its processes; that of a machine does not.
	told := make(chan bool)
	go func() {
		defer close(told)
		for range time.Tick(20 * time.Millisecond) {
			if text, _ := os.ReadFile(filepath.Join(dir, "console")); len(text) > 0 {
				thaw()
				return
			}
		}
	}()
	e := stageIn(t, "frozen", dir)
	<-told
	if e.signal != unix.SIGINT || !strings.Contains(e.out, "could not kill 1 process (") || !strings.Contains(e.out, " sleep") {
		t.Error("it does not say what it could not kill")
	}
}
