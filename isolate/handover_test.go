package isolate

import (
	"io"
	"os"
	"testing"

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
