package reaper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const deadline = 30 * time.Second

// world is a running reaper with its supervisor and launcher, as the test sees it.
type world struct {
	t           *testing.T
	cmd         *exec.Cmd
	supervisors chan *link
	others      chan *link // of the emergency role and of the last stage
	now         *link      // the current supervisor
	logFile     string
}

// link is the test's connection to one supervisor.
type link struct {
	hello   *hello
	first   report // of another process
	conn    net.Conn
	out     *json.Encoder
	answers chan report
	events  chan report
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: supervisor and launcher are processes of their own that the reaper kills")
	}
}

// newWorld starts a reaper and waits for its first supervisor.
func newWorld(t *testing.T) *world {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return newWorldWith(t, exe, exe, "role-reaper")
}

// newWorldWith starts a reaper, by the command given, that re-executes itself
// from the path given.
func newWorldWith(t *testing.T, reexec string, command ...string) *world {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("", "reaper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, supervisors: make(chan *link, 1000), others: make(chan *link, 100)}
	w.cmd = exec.Command(command[0], command[1:]...)
	w.cmd.Env = append(os.Environ(), socketVariable+"="+filepath.Join(dir, "s"), "BERTH_TEST_EXE="+reexec)
	stderr, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	w.cmd.Stderr, w.logFile = stderr, stderr.Name()
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.cmd.Process.Kill()
		w.cmd.Wait()
		listener.Close()
		stderr.Close()
		endChildren(t)
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			if len(log) > 8192 {
				log = log[len(log)-8192:]
			}
			t.Logf("reaper's log:\n%s", log)
		}
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.listen(conn)
		}
	}()
	w.next()
	return w
}

// endChildren ends what a killed reaper has left to this process.
func endChildren(t *testing.T) {
	for _, pid := range listed(children(nil)) {
		unix.Kill(pid, unix.SIGKILL)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, child := range listed(children(nil)) {
			unix.Kill(child, unix.SIGKILL)
		}
		_ = pid
	}
}

func (w *world) listen(conn net.Conn) {
	l := &link{conn: conn, out: json.NewEncoder(conn), answers: make(chan report, 16), events: make(chan report, 1<<16)}
	in := json.NewDecoder(conn)
	for {
		var r report
		if err := in.Decode(&r); err != nil {
			close(l.answers)
			close(l.events)
			conn.Close()
			return
		}
		switch {
		case r.Hello != nil:
			l.hello = r.Hello
			w.supervisors <- l
		case r.Emergency != "" || r.Final != nil:
			l.first = r
			w.others <- l
		case r.Answer:
			l.answers <- r
		default:
			l.events <- r
		}
	}
}

// next waits for the next supervisor.
func (w *world) next() *hello {
	w.t.Helper()
	select {
	case l := <-w.supervisors:
		w.now = l
		return l.hello
	case <-time.After(deadline):
		w.t.Fatal("no supervisor has come")
	}
	return nil
}

// other waits for the emergency role or the last stage.
func (w *world) other() *link {
	w.t.Helper()
	select {
	case l := <-w.others:
		return l
	case <-time.After(deadline):
		w.t.Fatal("no other role has come")
	}
	return nil
}

// log gives what the reaper and its processes have said.
func (w *world) log() string {
	text, _ := os.ReadFile(w.logFile)
	return string(text)
}

// tell gives an order and its answer; false: the supervisor has died over it.
func (w *world) tell(o order) (report, bool) {
	if err := w.now.out.Encode(o); err != nil {
		return report{}, false
	}
	select {
	case r, ok := <-w.now.answers:
		return r, ok
	case <-time.After(deadline):
		w.t.Fatalf("no answer to %+v", o)
	}
	return report{}, false
}

// must is tell where nothing may go wrong.
func (w *world) must(o order) report {
	w.t.Helper()
	r, ok := w.tell(o)
	if !ok {
		w.t.Fatalf("the supervisor died over %+v", o)
	}
	if r.Err != "" {
		w.t.Fatalf("%+v: %s", o, r.Err)
	}
	return r
}

// refused is tell where the reaper has to say no.
func (w *world) refused(o order, want syscall.Errno) {
	w.t.Helper()
	r, ok := w.tell(o)
	if !ok {
		w.t.Fatalf("the supervisor died over %+v", o)
	}
	if syscall.Errno(r.Errno) != want || r.Err == "" {
		w.t.Errorf("%+v: got %q (%d), want %v", o, r.Err, r.Errno, want)
	}
}

// event waits for the next event.
func (w *world) event() report {
	w.t.Helper()
	select {
	case r, ok := <-w.now.events:
		if !ok {
			w.t.Fatal("the supervisor has died")
		}
		return r
	case <-time.After(deadline):
		w.t.Fatal("no event has come")
	}
	return report{}
}

// exit waits for the next event, which must be an exit.
func (w *world) exit() Exit {
	w.t.Helper()
	r := w.event()
	if r.Exit == nil {
		w.t.Fatalf("got %+v, want an exit", r)
	}
	return *r.Exit
}

func (w *world) stats() Stats {
	w.t.Helper()
	return w.must(order{Do: "stats"}).Stats
}

// until asks for the counts until they satisfy.
func (w *world) until(what string, satisfied func(Stats) bool) Stats {
	w.t.Helper()
	for end := time.Now().Add(deadline); ; {
		s := w.stats()
		if satisfied(s) {
			return s
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: still %+v", what, s)
		}
	}
}

// crash kills the supervisor and gives what its successor is told.
func (w *world) crash() *hello {
	w.t.Helper()
	unix.Kill(w.now.hello.PID, unix.SIGKILL)
	return w.next()
}

// launcherPID finds the newest launcher among the reaper's children; 0: none.
func (w *world) launcherPID() int {
	found := 0
	for _, pid := range w.children() {
		cmdline, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if strings.HasPrefix(string(cmdline), "test-launcher") {
			found = pid
		}
	}
	return found
}

// launcher waits until there is one other than old.
func (w *world) launcher(old int) int {
	w.t.Helper()
	for end := time.Now().Add(deadline); ; {
		if pid := w.launcherPID(); pid != 0 && pid != old {
			return pid
		}
		if time.Now().After(end) {
			w.t.Fatal("there is no launcher")
		}
	}
}

// children lists the reaper's children.
func (w *world) children() (pids []int) {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(w.cmd.Process.Pid) + "/task/*/children")
	for _, file := range files {
		data, _ := os.ReadFile(file)
		pids = appendPIDs(pids, data)
	}
	return pids
}

// zombies lists those of them that have ended.
func (w *world) zombies() (pids []int) {
	for _, pid := range w.children() {
		if state(pid) == 'Z' {
			pids = append(pids, pid)
		}
	}
	return pids
}

// state is the process state letter, 0 when there is no such process.
func state(pid int) byte {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if end := bytes.LastIndexByte(stat, ')'); err == nil && end > 0 && end+2 < len(stat) {
		return stat[end+2]
	}
	return 0
}

// fds counts the reaper's descriptors.
func (w *world) fds() int {
	w.t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(w.cmd.Process.Pid) + "/fd")
	if err != nil {
		w.t.Fatal(err)
	}
	return len(entries)
}

// newInit starts a reaper that is PID 1 of a PID namespace. Pids that the
// supervisor tells are of that namespace: nothing here may signal them.
func newInit(t *testing.T) *world {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return newWorldWith(t, exe, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", exe, "role-reaper")
}

// listed is the list of children without the word that it is whole.
func listed(pids []int, _ bool) []int { return pids }

// limit leaves the reaper room for so many more descriptors; negative: as it was.
func (w *world) limit(free int) {
	w.t.Helper()
	pid := w.cmd.Process.Pid
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		w.t.Fatal(err)
	}
	next := unix.Rlimit{Cur: was.Max, Max: was.Max}
	if free >= 0 {
		for next.Cur = 0; ; next.Cur++ {
			if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, next.Cur)); err == nil {
				continue
			}
			if free == 0 {
				break
			}
			free--
		}
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &next, nil); err != nil {
		w.t.Fatal(err)
	}
}

// answering waits for a supervisor that lives and answers, and gives what it and
// those before it, which did not, were told.
func (w *world) answering() (h *hello, exits []Exit) {
	w.t.Helper()
	for {
		h = w.next()
		exits = append(exits, h.Exits...)
		if _, ok := w.tell(order{Do: "stats"}); ok {
			return h, exits
		}
	}
}
