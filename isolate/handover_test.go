package isolate

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Over the handover socket the forked process is believed and nobody else: a
// process of the container can have got hold of the other end.
func TestHandoverIsBelievedFromTheForkedOnly(t *testing.T) {
	pr := &Prepared{}
	defer pr.Close()
	far, err := pr.makeHandover()
	if err != nil {
		t.Fatal(err)
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(self)
	for _, c := range []struct {
		from  int
		fds   []int
		taken bool
	}{{os.Getpid(), []int{self}, true}, {os.Getpid() + 1, []int{self}, false}, {os.Getpid(), nil, false}, {os.Getpid(), []int{self, self}, false}} {
		var rights []byte
		if len(c.fds) > 0 {
			rights = unix.UnixRights(c.fds...)
		}
		if err := unix.Sendmsg(far, []byte{0}, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		fd, err := receiveProcess(pr.handover, c.from)
		if (err == nil) != c.taken {
			t.Errorf("%d descriptors as from %d: %d, %v", len(c.fds), c.from, fd, err)
		}
		if err == nil {
			if pid, err := pidOf(fd); err != nil || pid != os.Getpid() {
				t.Errorf("pid %d, %v", pid, err)
			}
			unix.Close(fd)
		}
	}
	unix.Close(far)
	if _, err := receiveProcess(pr.handover, os.Getpid()); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

// A process of a container that has got hold of the other end hands over what is
// its own, as its own and as the forked process, whose number outside it knows.
func TestHandoverIsNotForged(t *testing.T) {
	const forged = "BERTH_TEST_FORGED"
	if as, err := strconv.Atoi(os.Getenv(forged)); err == nil {
		forge(t, 3, int32(as))
		return
	}
	needRoot(t)
	pr := &Prepared{}
	defer pr.Close()
	end, err := pr.makeHandover()
	if err != nil {
		t.Fatal(err)
	}
	far := os.NewFile(uintptr(end), "far")
	defer far.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHandoverIsNotForged$")
	cmd.Env = append(os.Environ(), forged+"="+strconv.Itoa(os.Getpid()))
	cmd.ExtraFiles = []*os.File{far}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := pr.handover.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if fd, err := receiveProcess(pr.handover, os.Getpid()); err == nil {
		unix.Close(fd)
		t.Error("a process of the container was taken for the one of the program")
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("nothing was sent: the test tells nothing")
	}
}

// forge sends a pidfd of this process, as the process as and as itself.
func forge(t *testing.T, far int, as int32) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	claim := unix.UnixCredentials(&unix.Ucred{Pid: as})
	if err := unix.Sendmsg(far, []byte{0}, append(unix.UnixRights(self), claim...), nil, 0); err != unix.ESRCH {
		t.Errorf("as process %d: %v, want ESRCH: nobody has that number in here", as, err)
	}
	if err := unix.Sendmsg(far, []byte{0}, unix.UnixRights(self), nil, 0); err != nil {
		t.Error(err)
	}
}
